//! Rules for the keys and values of labels, with apimachinery's texts.

/// The regular expression of a DNS subdomain.
pub const DNS1123_SUBDOMAIN: &str =
    "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
/// What a DNS subdomain is.
pub const DNS1123_SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
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

/// Whether a byte may stand in a DNS label beside a dash.
#[must_use]
pub fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether a text has the form of a DNS label, whatever its length.
#[must_use]
pub fn is_label_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if is_lower_alnum(*a) && is_lower_alnum(*b))
        && bytes.iter().all(|b| is_lower_alnum(*b) || *b == b'-')
}

/// Whether a text has the form of a DNS subdomain, whatever its length.
#[must_use]
pub fn is_subdomain_form(text: &str) -> bool {
    text.split('.').all(is_label_form)
}

fn is_key_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
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
