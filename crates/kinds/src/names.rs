//! Rules for names, labels and other identifiers, with apimachinery's texts.

use kontiki_object::names::{
    DNS1123_SUBDOMAIN, DNS1123_SUBDOMAIN_TEXT, is_label_form, is_lower_alnum, is_subdomain_form,
};
pub use kontiki_object::names::{
    is_label_value, is_qualified_name, max_characters_text, max_length_text, regex_text,
};

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_LABEL_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";

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

/// A DNS subdomain whose labels may contain underscores, as search domains have.
#[must_use]
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    const TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
    const REGEX: &str = "[a-z0-9_]([-_a-z0-9]*[a-z0-9])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9])?)*";
    let mut texts = Vec::new();
    if value.len() > 253 {
        texts.push(max_characters_text(253));
    }
    let is_label = |label: &str| {
        let inside = |b: u8| is_lower_alnum(b) || matches!(b, b'-' | b'_');
        let bytes = label.as_bytes();
        let first = bytes
            .first()
            .is_some_and(|b| is_lower_alnum(*b) || *b == b'_');
        let last = bytes.last().is_some_and(|b| is_lower_alnum(*b)) || label == "_";
        first && last && label.bytes().all(inside)
    };
    if !value.split('.').all(is_label) {
        texts.push(regex_text(TEXT, REGEX, &["example.com"]));
    }
    texts
}

/// The name of an HTTP header.
#[must_use]
pub fn is_http_header_name(value: &str) -> Vec<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-');
    if !value.is_empty() && value.bytes().all(fine) {
        Vec::new()
    } else {
        vec![regex_text(
            "a valid HTTP header must consist of alphanumeric characters or '-'",
            "[-A-Za-z0-9]+",
            &["X-Header-Name"],
        )]
    }
}

/// An identifier of the C language.
#[must_use]
pub fn is_c_identifier(value: &str) -> Vec<String> {
    let starts = value
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if starts && value.bytes().all(inside) {
        Vec::new()
    } else {
        vec![regex_text(
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
            "[A-Za-z_][A-Za-z0-9_]*",
            &["my_name", "MY_NAME", "MyName"],
        )]
    }
}

/// A name that fits into a path: [`path_segment`] as a plain rule.
#[must_use]
pub fn is_path_segment(value: &str) -> Vec<String> {
    path_segment(value, false)
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

/// A qualified name whose domain must be there, as finalizers and signers need it.
#[must_use]
pub fn is_domain_prefixed(value: &str) -> bool {
    value.contains('/') && is_qualified_name(value).is_empty()
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
