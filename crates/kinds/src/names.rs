//! Rules for names, labels and other identifiers, with apimachinery's texts.

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1123_LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const DNS1123_SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_LABEL_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A text that names a rule's regular expression and examples that follow it.
#[must_use]
pub fn regex_text(text: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{regex}')");
    }
    let quoted: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{text} (e.g. {}regex used for validation is '{regex}')",
        quoted.join(" or ")
    )
}

/// The text for a value that is longer than `max` bytes.
#[must_use]
pub fn max_length_text(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// The same for names, of which upstream counts characters.
#[must_use]
pub fn max_characters_text(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if is_lower_alnum(*a) && is_lower_alnum(*b))
        && bytes.iter().all(|b| is_lower_alnum(*b) || *b == b'-')
}

fn is_subdomain_form(text: &str) -> bool {
    text.split('.').all(is_label_form)
}

fn is_key_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A DNS label (RFC 1123).
#[must_use]
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 63 {
        texts.push(max_characters_text(63));
    }
    if !is_label_form(value) {
        texts.push(if is_subdomain_form(value) {
            "must not contain dots".to_owned()
        } else {
            regex_text(DNS1123_LABEL_TEXT, DNS1123_LABEL, &["my-name", "123-abc"])
        });
    }
    texts
}

/// A DNS subdomain (RFC 1123).
#[must_use]
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 253 {
        texts.push(max_characters_text(253));
    }
    if !is_subdomain_form(value) {
        texts.push(regex_text(
            DNS1123_SUBDOMAIN_TEXT,
            DNS1123_SUBDOMAIN,
            &["example.com"],
        ));
    }
    texts
}

/// A DNS subdomain that may begin with a wildcard label.
#[must_use]
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 253 {
        texts.push(max_characters_text(253));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain_form) {
        texts.push(regex_text(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{DNS1123_SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    texts
}

/// A DNS label that starts with a letter (RFC 1035).
#[must_use]
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 63 {
        texts.push(max_characters_text(63));
    }
    if !(is_label_form(value) && value.as_bytes()[0].is_ascii_lowercase()) {
        texts.push(regex_text(
            DNS1035_LABEL_TEXT,
            DNS1035_LABEL,
            &["my-name", "abc-123"],
        ));
    }
    texts
}

/// A label key, also called a qualified name: an optional DNS subdomain and a name.
#[must_use]
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        ["", name] => {
            texts.push("prefix part must be non-empty".to_owned());
            name
        }
        [prefix, name] => {
            if prefix.len() > 253 {
                texts.push(format!("prefix part {}", max_length_text(253)));
            }
            if !is_subdomain_form(prefix) {
                let form = regex_text(DNS1123_SUBDOMAIN_TEXT, DNS1123_SUBDOMAIN, &["example.com"]);
                texts.push(format!("prefix part {form}"));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_text(LABEL_KEY_TEXT, LABEL_KEY, &examples)
            )];
        }
    };
    if name.is_empty() {
        texts.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        texts.push(format!("name part {}", max_length_text(63)));
    }
    if !is_key_form(name) {
        texts.push(format!(
            "name part {}",
            regex_text(LABEL_KEY_TEXT, LABEL_KEY, &examples)
        ));
    }
    texts
}

/// A qualified name whose domain must be there, as finalizers and signers need it.
#[must_use]
pub fn is_domain_prefixed(value: &str) -> bool {
    value.contains('/') && is_qualified_name(value).is_empty()
}

/// A label value.
#[must_use]
pub fn is_label_value(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 63 {
        texts.push(max_length_text(63));
    }
    if !value.is_empty() && !is_key_form(value) {
        texts.push(regex_text(
            LABEL_VALUE_TEXT,
            LABEL_VALUE,
            &["MyValue", "my_value", "12345"],
        ));
    }
    texts
}

/// A port name (an IANA service name).
#[must_use]
pub fn is_port_name(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 15 {
        texts.push(max_characters_text(15));
    }
    if !value.bytes().all(|b| is_lower_alnum(b) || b == b'-') || value.is_empty() {
        texts.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        texts.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        texts.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        texts.push("must not begin or end with a hyphen".into());
    }
    texts
}

/// A port number.
#[must_use]
pub fn is_port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// The name of an environment variable: printable ASCII but for `=`.
#[must_use]
pub fn is_env_var_name(value: &str) -> Vec<String> {
    if !value.is_empty()
        && value
            .bytes()
            .all(|b| (0x20..0x7f).contains(&b) && b != b'=')
    {
        Vec::new()
    } else {
        vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
    }
}

/// A key of a config map or secret.
#[must_use]
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if value.len() > 253 {
        texts.push(max_characters_text(253));
    }
    let fine = !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !fine {
        texts.push(regex_text(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => texts.push("must not be '.'".into()),
        ".." => texts.push("must not be '..'".into()),
        _ if value.starts_with("..") => texts.push("must not start with '..'".into()),
        _ => {}
    }
    texts
}

/// A percentage such as `30%`.
#[must_use]
pub fn is_percent(value: &str) -> bool {
    value
        .strip_suffix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A name that ends in a dash stands for one that goes on.
fn masked(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() && name.is_ascii() => {
            format!("{}a", &rest[..rest.len() - 1])
        }
        _ => name.to_owned(),
    }
}

/// [`crate::NameRule`]: a DNS subdomain.
#[must_use]
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    is_dns1123_subdomain(&masked(name, prefix))
}

/// [`crate::NameRule`]: a DNS label (RFC 1123).
#[must_use]
pub fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    is_dns1123_label(&masked(name, prefix))
}

/// [`crate::NameRule`]: a DNS label that starts with a letter (RFC 1035).
#[must_use]
pub fn dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    is_dns1035_label(&masked(name, prefix))
}

/// [`crate::NameRule`]: whatever fits into a path.
#[must_use]
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|bad| name.contains(bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_and_refused_as_upstream_does() {
        type Rule = fn(&str) -> Vec<String>;
        let cases: [(&str, Rule, &[&str], &[&str]); 6] = [
            (
                "label",
                is_dns1123_label,
                &["a", "a-b", "1a"],
                &["", "A", "-a", "a-", "a.b"],
            ),
            (
                "subdomain",
                is_dns1123_subdomain,
                &["a", "a.b-c.d"],
                &["", "a..b", ".a", "a_b"],
            ),
            ("1035", is_dns1035_label, &["a", "a1"], &["1a", "", "A"]),
            (
                "key",
                is_qualified_name,
                &["a", "a.b/c_D", "A"],
                &["", "/a", "a/", "a/b/c", "A/b", "-a"],
            ),
            (
                "value",
                is_label_value,
                &["", "a", "A_b.c"],
                &["-a", "a b", "a-"],
            ),
            (
                "port",
                is_port_name,
                &["http", "p-1"],
                &["", "123", "a--b", "-a", "HTTP", "a-very-long-port"],
            ),
        ];
        for (what, rule, good, bad) in cases {
            for name in good {
                assert!(rule(name).is_empty(), "{what} {name:?} was refused");
            }
            for name in bad {
                assert!(!rule(name).is_empty(), "{what} {name:?} was accepted");
            }
        }
    }

    #[test]
    fn texts_carry_the_rule_and_its_examples() {
        assert_eq!(
            is_dns1123_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
    }

    #[test]
    fn a_prefix_may_end_in_a_dash() {
        assert!(dns_label("abc-", true).is_empty());
        assert!(!dns_label("abc-", false).is_empty());
        assert!(!dns_label("-", true).is_empty());
    }
}
