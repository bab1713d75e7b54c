//! YAML as upstream writes it: JSON trees in block style, keys in natural
//! order, lines folded after 80 columns, and every text quoted that a YAML 1.1
//! reader would take for something else.

mod scalar;

use kontiki_object::Value;
use scalar::Style;
use std::cmp::Ordering;

/// Lines are folded at the first space after this column.
const WIDTH: usize = 80;
/// Longer keys stand on a line of their own, after a question mark.
const SIMPLE_KEY_BYTES_MAX: usize = 128;

/// Writes a document.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.node(value, 0, true);
    writer.line_end();
    writer.out.into_bytes()
}

#[derive(Default)]
struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line_end(&mut self) {
        if self.column > 0 {
            self.break_line();
        }
    }

    fn break_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// Goes to column `indent`, on a new line if need be.
    fn indent(&mut self, indent: usize) {
        if self.column > indent {
            self.break_line();
        }
        while self.column < indent {
            self.put(" ");
        }
    }

    /// A value whose collection begins at `indent`; `fresh` if the present
    /// line has room for its first line (the document's start, after a dash).
    fn node(&mut self, value: &Value, indent: usize, fresh: bool) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                if !fresh {
                    self.line_end();
                }
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|(a, _), (b, _)| natural(a, b));
                for (key, value) in members {
                    self.indent(indent);
                    self.member(key, value, indent);
                    self.line_end();
                }
            }
            Value::Array(items) if !items.is_empty() => {
                if !fresh {
                    self.line_end();
                }
                for item in items {
                    self.indent(indent);
                    self.put("-");
                    self.entry(item, indent + 2);
                    self.line_end();
                }
            }
            other => self.scalar(other, indent),
        }
    }

    fn member(&mut self, key: &str, value: &Value, indent: usize) {
        let is_simple = key.len() <= SIMPLE_KEY_BYTES_MAX && !key.contains('\n');
        if !is_simple {
            self.put("?");
            self.entry(&Value::String(key.to_owned()), indent + 2);
            self.indent(indent);
            self.put(":");
            self.entry(value, indent + 2);
            return;
        }
        self.text(key, indent + 2, true);
        self.put(":");
        match value {
            // Items stand below their key, not further in.
            Value::Array(items) if !items.is_empty() => self.node(value, indent, false),
            other => self.node(other, indent + 2, false),
        }
    }

    /// What follows a dash, a question mark or its colon.
    fn entry(&mut self, value: &Value, indent: usize) {
        let is_collection = match value {
            Value::Object(members) => !members.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        };
        if is_collection {
            self.indent(indent);
        }
        self.node(value, indent, true);
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        if self.column > 0 {
            self.put(" ");
        }
        match value {
            Value::String(text) => self.text(text, indent, false),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            other => self.put(&other.to_string()),
        }
    }

    /// A text; further lines of it begin at `indent`.
    fn text(&mut self, text: &str, indent: usize, is_key: bool) {
        match scalar::style(text, is_key) {
            Style::Plain => self.folded(text, indent, is_key, str::to_owned, false),
            Style::Single => {
                self.put("'");
                let double = |part: &str| part.replace('\'', "''");
                self.folded(text, indent, is_key, double, true);
                self.put("'");
            }
            Style::Double => self.double_quoted(text, indent, is_key),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Words; a line that has become long ends at a single space between two of them.
    fn folded(
        &mut self,
        text: &str,
        indent: usize,
        is_key: bool,
        escape: impl Fn(&str) -> String,
        is_quoted: bool,
    ) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (at, c) in chars.iter().enumerate() {
            if *c != ' ' {
                self.put(&escape(c.encode_utf8(&mut [0; 4])));
                after_space = false;
                continue;
            }
            let at_edge = is_quoted && (at == 0 || at + 1 == chars.len());
            let next_is_space = chars.get(at + 1) == Some(&' ');
            let folds = !is_key && !after_space && self.column > WIDTH && !next_is_space;
            if folds && !at_edge {
                self.break_line();
                self.indent(indent);
            } else {
                self.put(" ");
            }
            after_space = true;
        }
    }

    fn double_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (at, c) in chars.iter().enumerate() {
            if *c != ' ' {
                self.put(&scalar::escaped(*c));
                after_space = false;
                continue;
            }
            let inside = at > 0 && at + 1 < chars.len();
            if !is_key && !after_space && self.column > WIDTH && inside {
                self.break_line();
                self.indent(indent);
                if chars[at + 1] == ' ' {
                    self.put("\\");
                }
            } else {
                self.put(" ");
            }
            after_space = true;
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        if !text.ends_with('\n') {
            self.put("-");
        } else if text == "\n" || text.ends_with("\n\n") {
            self.put("+");
        }
        self.break_line();
        for line in text.split_inclusive('\n') {
            let content = line.strip_suffix('\n').unwrap_or(line);
            if !content.is_empty() {
                self.indent(indent);
                self.put(content);
            }
            if line.ends_with('\n') {
                self.break_line();
            }
        }
    }
}

/// The order of keys: numbers inside of names by their value, letters last.
fn natural(left: &str, right: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let Some(at) = (0..a.len().min(b.len())).find(|at| a[*at] != b[*at]) else {
        return a.len().cmp(&b.len());
    };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Zeros that lead a number do not count; those inside of one do.
    let mut start = 0_u64;
    if a[at] == '0' || b[at] == '0' {
        let digits = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
        start = u64::from(digits.into_iter().any(|c| *c != '0'));
    }
    let number = |chars: &[char]| {
        let digits: Vec<u64> = chars[at..]
            .iter()
            .map_while(|c| c.to_digit(10).map(u64::from))
            .collect();
        let fold = |n: u64, d: &u64| n.saturating_mul(10).saturating_add(*d);
        (digits.iter().fold(start, fold), digits.len())
    };
    number(&a).cmp(&number(&b)).then(a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value, expected: &str) {
        let written = String::from_utf8(to_vec(value)).expect("is text");
        assert_eq!(written, expected);
        let read: Value = serde_yaml_ng::from_str(&written).expect("reads back");
        assert_eq!(&read, value, "{written}");
    }

    #[test]
    fn collections_stand_as_upstream_lays_them_out() {
        let value = json!({
            "a": {"b": [{"x": 1, "y": []}, [1, [2]], {}], "n": null, "t": true},
            "k:{\"port\":80}": {".": {}, "f:x": {}},
        });
        check(
            &value,
            "a:\n  b:\n  - x: 1\n    \"y\": []\n  - - 1\n    - - 2\n  - {}\n  \"n\": null\n  t: true\nk:{\"port\":80}:\n  .: {}\n  f:x: {}\n",
        );
        check(&json!([]), "[]\n");
        check(&json!("x"), "x\n");
    }

    #[test]
    fn texts_that_mean_something_else_are_quoted() {
        let rows = [
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("null", "\"null\""),
            ("5", "\"5\""),
            ("0x1f", "\"0x1f\""),
            ("1.5e3", "\"1.5e3\""),
            ("1_000", "\"1_000\""),
            ("12:30", "\"12:30\""),
            ("2024-01-02T03:04:05Z", "\"2024-01-02T03:04:05Z\""),
            ("a: b", "'a: b'"),
            ("it's: so", "'it''s: so'"),
            ("#x", "'#x'"),
            ("- x", "'- x'"),
            (" x", "' x'"),
            ("a\tb", "\"a\\tb\""),
            ("\u{1f600}", "\"\\U0001F600\""),
            ("é", "é"),
            ("1.2.3", "1.2.3"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n", "|\n  a"),
            (" a\nb\n\n", "|2+\n   a\n  b\n"),
            ("a \nb", "\"a \\nb\""),
        ];
        for (text, form) in rows {
            check(&json!({"k": text}), &format!("k: {form}\n"));
        }
    }

    #[test]
    fn long_lines_are_folded_at_a_space() {
        let long = format!("{} {}", "x".repeat(90), "y z");
        let expected = format!("k: {}\n  y z\n", "x".repeat(90));
        check(&json!({"k": long}), &expected);
        let quoted = format!("a: {} {}", "x".repeat(90), "y");
        let expected = format!("k: 'a: {}\n  y'\n", "x".repeat(90));
        check(&json!({"k": quoted}), &expected);
        let key = "k".repeat(129);
        check(&json!({&key: {"a": 1}}), &format!("? {key}\n: a: 1\n"));
    }

    #[test]
    fn keys_are_in_natural_order() {
        let mut keys = vec!["a10", "a9", "b", "a", ".", "_x", "10", "9"];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(keys, [".", "_x", "9", "10", "a", "a9", "a10", "b"]);
    }
}
