//! What Go's decoder says of a text that is no JSON: clients know these words.

/// The first complaint about a text; `None` if it is well-formed.
#[must_use]
pub fn complaint(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.document().err()
}

/// The complaint about a text that could not be read as JSON.
#[must_use]
pub fn explain(text: &[u8], error: &serde_json::Error) -> String {
    complaint(text).unwrap_or_else(|| error.to_string())
}

/// Values may nest this deep, as Go's decoder has it.
const DEPTH_MAX: usize = 10_000;

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

enum Open {
    Array,
    Object,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self
            .peek()
            .ok_or_else(|| "unexpected end of JSON input".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            if self.value(&mut open)? {
                continue;
            }
            // A value has ended: what may follow depends on what it is in.
            loop {
                self.space();
                let Some(inside) = open.last() else {
                    return match self.peek() {
                        None => Ok(()),
                        Some(byte) => Err(unexpected(byte, "after top-level value")),
                    };
                };
                match (inside, self.next()?) {
                    (Open::Array, b',') => break,
                    (Open::Object, b',') => {
                        self.space();
                        self.key()?;
                        break;
                    }
                    (Open::Array, b']') | (Open::Object, b'}') => {
                        open.pop();
                    }
                    (Open::Array, byte) => return Err(unexpected(byte, "after array element")),
                    (Open::Object, byte) => {
                        return Err(unexpected(byte, "after object key:value pair"));
                    }
                }
            }
        }
    }

    /// Reads a value, or the start of one: then the answer is whether a value
    /// inside of it comes next.
    fn value(&mut self, open: &mut Vec<Open>) -> Result<bool, String> {
        self.space();
        match self.next()? {
            b'{' => {
                self.space();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(false);
                }
                self.key()?;
                self.nest(open, Open::Object)
            }
            b'[' => {
                self.space();
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(false);
                }
                self.nest(open, Open::Array)
            }
            b'"' => self.string().map(|()| false),
            b't' => self.word("true").map(|()| false),
            b'f' => self.word("false").map(|()| false),
            b'n' => self.word("null").map(|()| false),
            byte @ (b'-' | b'0'..=b'9') => self.number(byte).map(|()| false),
            byte => Err(unexpected(byte, "looking for beginning of value")),
        }
    }

    fn nest(&self, open: &mut Vec<Open>, what: Open) -> Result<bool, String> {
        if open.len() >= DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        open.push(what);
        Ok(true)
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), String> {
        match self.next()? {
            b'"' => self.string()?,
            byte => {
                return Err(unexpected(
                    byte,
                    "looking for beginning of object key string",
                ));
            }
        }
        self.space();
        match self.next()? {
            b':' => Ok(()),
            byte => Err(unexpected(byte, "after object key")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                let place = "in \\u hexadecimal character escape";
                                return Err(unexpected(byte, place));
                            }
                        }
                    }
                    byte => return Err(unexpected(byte, "in string escape code")),
                },
                byte if byte < 0x20 => return Err(unexpected(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let place = format!("in literal {word} (expecting {})", quoted(expected));
                return Err(unexpected(byte, &place));
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn digit(&mut self, place: &str) -> Result<u8, String> {
        let byte = self.next()?;
        if byte.is_ascii_digit() {
            return Ok(byte);
        }
        Err(unexpected(byte, place))
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let first = match first {
            b'-' => self.digit("in numeric literal")?,
            digit => digit,
        };
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }
}

fn unexpected(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quoted(byte))
}

/// A byte as Go quotes the character of that number.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_the_words_of_gos_decoder() {
        let rows: [(&[u8], &str); 16] = [
            (b"", "unexpected end of JSON input"),
            (b"{\"a\":", "unexpected end of JSON input"),
            (
                b"not json",
                "invalid character 'o' in literal null (expecting 'u')",
            ),
            (
                b"\x81x",
                "invalid character '\\u0081' looking for beginning of value",
            ),
            (
                b"{a}",
                "invalid character 'a' looking for beginning of object key string",
            ),
            (
                b"{{",
                "invalid character '{' looking for beginning of object key string",
            ),
            (b"{\"a\" 1}", "invalid character '1' after object key"),
            (
                b"{\"a\":1 2}",
                "invalid character '2' after object key:value pair",
            ),
            (b"[1 2]", "invalid character '2' after array element"),
            (b"[1]x", "invalid character 'x' after top-level value"),
            (b"\"a\nb\"", "invalid character '\\n' in string literal"),
            (b"\"\\x\"", "invalid character 'x' in string escape code"),
            (
                b"\"\\u12g\"",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            (b"-x", "invalid character 'x' in numeric literal"),
            (
                b"1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            (
                b"1e'",
                "invalid character '\\'' in exponent of numeric literal",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(complaint(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn whatever_is_json_is_accepted_and_nothing_else() {
        let texts = [
            "{}",
            "[]",
            "null",
            " [1, -0.5e+3, {\"a\": [true, false]}, \"\\u00e9\\n\"] ",
            "01",
            "[1,]",
            "{\"a\":1,}",
            "+1",
            "nul",
            "[",
            "\"",
            "1 1",
            "{\"a\":{\"b\":[[]]}}",
            ".5",
        ];
        for text in texts {
            let accepted = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(complaint(text.as_bytes()).is_none(), accepted, "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert_eq!(
            complaint(deep.as_bytes()).as_deref(),
            Some("exceeded max depth")
        );
    }
}
