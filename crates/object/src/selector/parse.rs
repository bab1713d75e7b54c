//! The grammar of label selectors in queries, as `apimachinery/pkg/labels`
//! reads it: every text that it accepts and every complaint that it makes.

use super::{Operator, Requirement, SelectorError};
use crate::names::{is_label_value, is_qualified_name};
use std::iter::Peekable;
use std::vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    Comma,
    Open,
    Close,
    Not,
    /// `=`, `==`, `!=`, `<`, `>`, and the words `in` and `notin`.
    Relation,
    Identifier,
    Unknown,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
}

const SPECIAL: &str = "=!(),<>";

fn special_kind(text: &str) -> Option<Kind> {
    Some(match text {
        ")" => Kind::Close,
        "(" => Kind::Open,
        "," => Kind::Comma,
        "!" => Kind::Not,
        "=" | "==" | "!=" | "<" | ">" => Kind::Relation,
        _ => return None,
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Splits into tokens; symbols are as long as they can be.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let length = if SPECIAL.contains(first) {
            let is_pair = rest
                .get(..2)
                .is_some_and(|pair| special_kind(pair).is_some());
            1 + usize::from(is_pair)
        } else {
            rest.find(|c| SPECIAL.contains(c) || is_space(c))
                .unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(length);
        let kind = match word {
            "in" | "notin" => Kind::Relation,
            _ if SPECIAL.contains(first) => special_kind(word).unwrap_or(Kind::Unknown),
            _ => Kind::Identifier,
        };
        tokens.push(Token {
            kind,
            text: word.to_owned(),
        });
        rest = after.trim_start_matches(is_space);
    }
    tokens
}

struct Parser {
    tokens: Peekable<vec::IntoIter<Token>>,
}

/// Reads a whole selector.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        tokens: tokens(text).into_iter().peekable(),
    };
    let mut requirements = Vec::new();
    loop {
        let (kind, found) = parser.peek();
        match kind {
            Kind::End => return Ok(requirements),
            Kind::Identifier | Kind::Not => {}
            _ => {
                return Err(SelectorError::Invalid(format!(
                    "found '{found}', expected: !, identifier, or 'end of string'"
                )));
            }
        }
        requirements.push(parser.requirement().map_err(SelectorError::Parse)?);
        let (kind, found) = parser.next();
        match kind {
            Kind::End => return Ok(requirements),
            Kind::Comma => {
                let (kind, found) = parser.peek();
                if !matches!(kind, Kind::Identifier | Kind::Not) {
                    return Err(SelectorError::Invalid(format!(
                        "found '{found}', expected: identifier after ','"
                    )));
                }
            }
            _ => {
                return Err(SelectorError::Invalid(format!(
                    "found '{found}', expected: ',' or 'end of string'"
                )));
            }
        }
    }
}

/// Where a value may stand, the words `in` and `notin` are values.
fn as_value(kind: Kind, text: &str) -> Kind {
    match text {
        "in" | "notin" => Kind::Identifier,
        _ => kind,
    }
}

impl Parser {
    fn peek(&mut self) -> (Kind, String) {
        match self.tokens.peek() {
            Some(token) => (as_value(token.kind, &token.text), token.text.clone()),
            None => (Kind::End, String::new()),
        }
    }

    fn next(&mut self) -> (Kind, String) {
        match self.tokens.next() {
            Some(token) => (as_value(token.kind, &token.text), token.text),
            None => (Kind::End, String::new()),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut kind, mut key) = self.next();
        let negated = kind == Kind::Not;
        if negated {
            (kind, key) = self.next();
        }
        if kind != Kind::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        check("<nil>", &key, is_qualified_name(&key))?;
        let ends = matches!(self.peek().0, Kind::End | Kind::Comma);
        let (operator, values) = match (negated, ends) {
            (true, _) => (Operator::DoesNotExist, Vec::new()),
            (false, true) => (Operator::Exists, Vec::new()),
            (false, false) => self.relation()?,
        };
        checked(key, operator, values)
    }

    fn relation(&mut self) -> Result<(Operator, Vec<String>), String> {
        let found = self.tokens.next().map(|token| token.text);
        let found = found.unwrap_or_default();
        let operator = match found.as_str() {
            "in" => return Ok((Operator::In, self.set()?)),
            "notin" => return Ok((Operator::NotIn, self.set()?)),
            "=" | "==" => Operator::In,
            "!=" => Operator::NotIn,
            ">" => Operator::Gt,
            "<" => Operator::Lt,
            _ => {
                return Err(format!(
                    "found '{found}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        if matches!(self.peek().0, Kind::End | Kind::Comma) {
            return Ok((operator, vec![String::new()]));
        }
        match self.next() {
            (Kind::Identifier, value) => Ok((operator, vec![value])),
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        let (kind, found) = self.next();
        if kind != Kind::Open {
            return Err(format!("found '{found}' expected: '('"));
        }
        let (kind, found) = self.peek();
        let mut values = match kind {
            Kind::Identifier | Kind::Comma => self.identifiers()?,
            Kind::Close => vec![String::new()],
            _ => return Err(format!("found '{found}', expected: ',', ')' or identifier")),
        };
        // The list ends before the parenthesis, or it was an error.
        self.next();
        values.sort();
        values.dedup();
        Ok(values)
    }

    /// Values between parentheses; nothing before or after a comma is the empty value.
    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                (Kind::Identifier, value) => {
                    values.push(value);
                    match self.peek() {
                        (Kind::Comma, _) => {}
                        (Kind::Close, _) => return Ok(values),
                        (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Kind::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek().0 {
                        Kind::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Kind::Comma => {
                            self.next();
                            values.push(String::new());
                        }
                        _ => {}
                    }
                }
                (_, found) => {
                    return Err(format!("found '{found}', expected: ',', or identifier"));
                }
            }
        }
    }
}

fn check(path: &str, value: &str, complaints: Vec<String>) -> Result<(), String> {
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{path}: Invalid value: {value:?}: {}",
        complaints.join("; ")
    ))
}

/// A requirement whose values are such as labels can have.
fn checked(key: String, operator: Operator, values: Vec<String>) -> Result<Requirement, String> {
    let mut complaints = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let is_number = value.parse::<i64>().is_ok();
        if matches!(operator, Operator::Gt | Operator::Lt) && !is_number {
            complaints.push(format!(
                "values[{index}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
    }
    for (index, value) in values.iter().enumerate() {
        let path = format!("values[{index}][{key}]");
        complaints.extend(check(&path, value, is_label_value(value)).err());
    }
    match &complaints[..] {
        [] => Ok(Requirement {
            key,
            operator,
            values,
        }),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use crate::LabelSelector;

    #[test]
    fn complaints_have_the_words_of_upstream() {
        let key = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let bad_key = format!("unable to parse requirement: <nil>: Invalid value: \"@\": {key}");
        let rows = [
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            (
                "=x",
                "found '=', expected: !, identifier, or 'end of string'",
            ),
            (
                "!",
                "unable to parse requirement: found '', expected: identifier",
            ),
            (
                "a===",
                "unable to parse requirement: found '=', expected: identifier",
            ),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (
                "n in a",
                "unable to parse requirement: found 'a' expected: '('",
            ),
            (
                "n in (a",
                "unable to parse requirement: found '', expected: ',' or ')'",
            ),
            (
                "n in (!",
                "unable to parse requirement: found '!', expected: ',', ')' or identifier",
            ),
            (
                "n>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
            ("@=1", &bad_key),
        ];
        for (text, complaint) in rows {
            let error = LabelSelector::parse(text).expect_err(text);
            assert_eq!(error.to_string(), complaint, "{text}");
        }
    }

    #[test]
    fn odd_but_accepted_texts_mean_what_upstream_takes_them_for() {
        let rows = [
            ("a in ()", "a="),
            ("a in (,b)", "a in (,b)"),
            ("a in (b,,c)", "a in (,b,c)"),
            ("a in (b,)", "a in (,b)"),
            ("in in (in,notin)", "in in (in,notin)"),
            (" a  =  b , ! c ", "a=b,!c"),
            ("a==b", "a=b"),
            ("!a=b", "error"),
        ];
        for (text, printed) in rows {
            match LabelSelector::parse(text) {
                Ok(selector) => assert_eq!(selector.to_string(), printed, "{text}"),
                Err(error) => assert_eq!(printed, "error", "{text}: {error}"),
            }
        }
    }
}
