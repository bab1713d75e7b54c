//! Regular expressions of schemas: Go's RE2, whose complaints clients know.

use regex_syntax::ast::{Error, ErrorKind};

/// What is wrong with a pattern, in Go's words.
pub(crate) fn complaint(pattern: &str) -> Option<String> {
    let why = match regex_syntax::ast::parse::Parser::new().parse(pattern) {
        Err(error) => told(&error, pattern),
        Ok(_) => match regex::Regex::new(pattern) {
            Ok(_) => return None,
            Err(regex::Error::CompiledTooBig(_)) => "expression too large".to_owned(),
            Err(error) => format!("invalid escape sequence: `{error}`"),
        },
    };
    Some(format!("error parsing regexp: {why}"))
}

fn told(error: &Error, pattern: &str) -> String {
    let span = error.span();
    let rest = pattern.get(span.start.offset..).unwrap_or_default();
    let part = pattern
        .get(span.start.offset..span.end.offset)
        .unwrap_or_default();
    match error.kind() {
        ErrorKind::ClassUnclosed => format!("missing closing ]: `{rest}`"),
        ErrorKind::ClassRangeInvalid => format!("invalid character class range: `{part}`"),
        ErrorKind::GroupUnclosed => format!("missing closing ): `{pattern}`"),
        ErrorKind::GroupUnopened => format!("unexpected ): `{pattern}`"),
        ErrorKind::RepetitionMissing => {
            format!("missing argument to repetition operator: `{part}`")
        }
        ErrorKind::RepetitionCountInvalid => format!("invalid repeat count: `{part}`"),
        ErrorKind::EscapeUnexpectedEof => "trailing backslash at end of expression: ``".to_owned(),
        ErrorKind::EscapeUnrecognized => format!("invalid escape sequence: `{part}`"),
        ErrorKind::UnsupportedLookAround => {
            let end = rest.find(['=', '!']).map_or(rest.len(), |at| at + 1);
            format!("invalid or unsupported Perl syntax: `{}`", &rest[..end])
        }
        ErrorKind::UnsupportedBackreference => format!("invalid escape sequence: `{part}`"),
        _ => format!("invalid or unsupported Perl syntax: `{part}`"),
    }
}
