//! What upstream says about text that is not JSON.

/// The complaint of Go's decoder about `text`, of which serde says `error`.
pub(crate) fn problem(text: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    if error.is_data() {
        let kind = match text.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "bool",
            Some(b'n') => "null",
            _ => "number",
        };
        return format!(
            "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        );
    }
    let line = error.line().saturating_sub(1);
    let start: usize = text
        .split(|b| *b == b'\n')
        .take(line)
        .map(|l| l.len() + 1)
        .sum();
    let at = start + error.column().saturating_sub(1);
    let found = text.get(at).map(|b| char::from(*b)).unwrap_or_default();
    let shown = match found {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => format!("'{c}'"),
    };
    let before = text[..at.min(text.len())].iter().rev();
    let before = before.copied().find(|b| !b.is_ascii_whitespace());
    let context = match before {
        Some(b'{') => "looking for beginning of object key string",
        Some(b'[' | b':') | None => "looking for beginning of value",
        Some(b',') if is_in_object(&text[..at.min(text.len())]) => {
            "looking for beginning of object key string"
        }
        Some(b',') => "looking for beginning of value",
        Some(b'"') if !after_colon(&text[..at.min(text.len())]) => "after object key",
        Some(_) if is_in_object(&text[..at.min(text.len())]) => "after object key:value pair",
        Some(_) if depth(&text[..at.min(text.len())]) > 0 => "after array element",
        Some(_) => "after top-level value",
    };
    format!("invalid character {shown} {context}")
}

fn brackets(text: &[u8]) -> Vec<u8> {
    let mut open = Vec::new();
    let (mut in_text, mut escaped) = (false, false);
    for b in text {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => open.push(*b),
            b'}' | b']' if !in_text => {
                open.pop();
            }
            _ => {}
        }
    }
    open
}

fn depth(text: &[u8]) -> usize {
    brackets(text).len()
}

fn is_in_object(text: &[u8]) -> bool {
    brackets(text).last() == Some(&b'{')
}

/// Whether the last thing in an object is a value rather than a key.
fn after_colon(text: &[u8]) -> bool {
    let (mut last, mut in_text, mut escaped) = (0_u8, false, false);
    for b in text {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b':' | b',' | b'{' | b'[' if !in_text => last = *b,
            _ => {}
        }
    }
    last == b':' || !is_in_object(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tree;

    #[test]
    fn what_is_no_json_is_told_as_go_tells_it() {
        for (text, expected) in [
            (
                "{{",
                "invalid character '{' looking for beginning of object key string",
            ),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 2}",
                "invalid character '2' after object key:value pair",
            ),
            ("{", "unexpected end of JSON input"),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
        ] {
            let error = serde_json::from_str::<Tree>(text).expect_err(text);
            assert_eq!(problem(text.as_bytes(), &error), expected, "{text}");
        }
    }
}
