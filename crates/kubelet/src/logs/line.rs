//! One line of a log: `<time> <stream> <tags> <text>`.

use jiff::Timestamp;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written.
    pub time: Timestamp,
    /// The time as it stands in the file.
    pub time_text: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the next line of the stream continues this one.
    pub is_partial: bool,
    /// What was written, without the end of line.
    pub text: &'a [u8],
}

impl Line<'_> {
    /// What the container wrote: with an end of line, unless the next continues it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let mut content = self.text.to_vec();
        if !self.is_partial {
            content.push(b'\n');
        }
        content
    }
}

/// Takes a line apart; `None` if it is no such line.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time_text = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    if !matches!(stream, "stdout" | "stderr") {
        return None;
    }
    let is_partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line {
        time: time_text.parse().ok()?,
        time_text,
        stream,
        is_partial,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let time = "2026-01-02T03:04:05.678901234Z";
        for (rest, expected) in [
            (
                "stdout F hello world",
                Some(("stdout", false, "hello world")),
            ),
            ("stderr P half", Some(("stderr", true, "half"))),
            ("stdout F:x tagged", Some(("stdout", false, "tagged"))),
            ("stdout F ", Some(("stdout", false, ""))),
            ("stdout F", Some(("stdout", false, ""))),
            ("stdin F x", None),
            ("stdout", None),
        ] {
            let text = format!("{time} {rest}\n");
            let line = parse(text.as_bytes());
            let found = line.as_ref().map(|line| {
                (
                    line.stream,
                    line.is_partial,
                    std::str::from_utf8(line.text).expect("text"),
                )
            });
            assert_eq!(found, expected, "{rest}");
        }
        assert!(parse(b"yesterday stdout F x").is_none());
        assert!(parse(b"").is_none());
    }
}
