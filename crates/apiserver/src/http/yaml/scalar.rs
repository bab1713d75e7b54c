//! How a text stands in YAML: as it is, quoted, or as a block of lines.

use std::fmt::Write as _;

/// The form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// The form that a text has, as a value or as a key.
pub(super) fn style(text: &str, is_key: bool) -> Style {
    let found = Findings::of(text);
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if means_something_else(text) {
        Style::Double
    } else {
        Style::Plain
    };
    match wanted {
        Style::Literal if is_key || found.special || found.trailing_space => Style::Double,
        Style::Plain if found.special => Style::Double,
        Style::Plain if found.indicators || found.leading_space || found.trailing_space => {
            Style::Single
        }
        other => other,
    }
}

#[derive(Default)]
struct Findings {
    /// Something that YAML reads as its own at that place.
    indicators: bool,
    /// A character that must be escaped, or spaces before the end of a line.
    special: bool,
    leading_space: bool,
    trailing_space: bool,
}

impl Findings {
    fn of(text: &str) -> Self {
        let mut found = Self {
            indicators: text.starts_with("---") || text.starts_with("..."),
            leading_space: text.starts_with(' '),
            trailing_space: text.ends_with(' '),
            special: text.contains(" \n"),
        };
        let mut before_is_space = true;
        let mut chars = text.chars().peekable();
        let mut is_first = true;
        while let Some(c) = chars.next() {
            let after_is_space = chars.peek().is_none_or(|c| matches!(c, ' ' | '\t' | '\n'));
            found.indicators |= match c {
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                | '@' | '`' => is_first,
                '?' | '-' => is_first && after_is_space,
                ':' => after_is_space,
                '#' => before_is_space,
                _ => false,
            };
            found.special |= !is_printable(c);
            before_is_space = matches!(c, ' ' | '\t' | '\n');
            is_first = false;
        }
        found
    }
}

/// What may stand unescaped; upstream's writer escapes all beyond the basic plane.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

/// The form of a character between double quotes.
pub(super) fn escaped(c: char) -> String {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ => "",
    };
    if !short.is_empty() {
        return short.to_owned();
    }
    if is_printable(c) {
        return c.to_string();
    }
    let mut text = String::new();
    let code = u32::from(c);
    let written = match code {
        0..=0xff => write!(text, "\\x{code:02X}"),
        0x100..=0xffff => write!(text, "\\u{code:04X}"),
        _ => write!(text, "\\U{code:08X}"),
    };
    written.expect("writing to a string");
    text
}

const WORDS: [&str; 39] = [
    "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on",
    "On", "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan",
    ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
];

/// Whether a YAML 1.1 reader would take the bare text for no text.
fn means_something_else(text: &str) -> bool {
    if WORDS.contains(&text) {
        return true;
    }
    let starts_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    starts_number && (is_integer(text) || is_float(text) || is_base_60(text) || is_timestamp(text))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn is_integer(text: &str) -> bool {
    if text.starts_with('.') {
        return false;
    }
    let plain = text.replace('_', "");
    let digits = unsigned(&plain);
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (&digits[2..], 16),
        Some("0b" | "0B") => (&digits[2..], 2),
        Some("0o" | "0O") => (&digits[2..], 8),
        _ if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        _ => (digits, 10),
    };
    !digits.is_empty()
        && digits.chars().all(|c| c.is_digit(radix))
        && u64::from_str_radix(digits, radix).is_ok()
}

fn is_float(text: &str) -> bool {
    let plain = text.replace('_', "");
    let rest = unsigned(&plain);
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(unsigned(&rest[at + 1..]))),
        None => (rest, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    has_digits
        && all_digits(whole)
        && all_digits(fraction)
        && exponent.is_none_or(|digits| !digits.is_empty() && all_digits(digits))
        && plain.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `12:30:45.6`: a number of YAML 1.1.
fn is_base_60(text: &str) -> bool {
    let mut parts = unsigned(text).split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest: Vec<&str> = parts.collect();
    let Some(last) = rest.last_mut() else {
        return false;
    };
    *last = last.split('.').next().unwrap_or_default();
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    first.starts_with(|c: char| c.is_ascii_digit())
        && is_number(first)
        && rest
            .iter()
            .all(|part| part.len() <= 2 && part.parse::<u8>().is_ok_and(|number| number < 60))
}

/// A date, or a date with a time.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let numbers = |part: &str, separator: char| -> Option<Vec<u32>> {
        part.split(separator)
            .map(|number| {
                let is_short = matches!(number.len(), 1 | 2 | 4);
                number.parse().ok().filter(|_| is_short)
            })
            .collect()
    };
    let is_date = date.find('-') == Some(4)
        && matches!(numbers(date, '-').as_deref(), Some([_, 1..=12, 1..=31]));
    let Some(time) = time.filter(|_| is_date) else {
        return is_date;
    };
    let clock = time.find(['Z', '+', '-']).map_or(time, |at| &time[..at]);
    let clock = clock.split('.').next().unwrap_or_default();
    matches!(
        numbers(clock, ':').as_deref(),
        Some([0..=23, 0..=59, 0..=59])
    )
}
