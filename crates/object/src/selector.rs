//! Label and field selectors: the string forms of the query parameters and the
//! structured form of `LabelSelector` fields.

mod parse;

use crate::{Object, Value};
use std::fmt;
use thiserror::Error;

/// Why a selector could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SelectorError {
    /// The text does not follow the grammar.
    #[error("unable to parse requirement: {0}")]
    Parse(String),
    /// The structured form is malformed.
    #[error("{0}")]
    Invalid(String),
}

/// How a requirement relates a label to its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the API's own and say it all")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The relation.
    pub operator: Operator,
    /// The values; empty for existence.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether a label with this value (or its absence) satisfies the condition.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let compare = |holds: fn(i64, i64) -> bool| {
            let pair =
                value.and_then(|v| Some((v.parse().ok()?, self.values.first()?.parse().ok()?)));
            pair.is_some_and(|(have, want)| holds(have, want))
        };
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(|have, want| have > want),
            Operator::Lt => compare(|have, want| have < want),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match (self.operator, &self.values[..]) {
            (Operator::In, [one]) => write!(f, "{key}={one}"),
            (Operator::NotIn, [one]) => write!(f, "{key}!={one}"),
            (Operator::In, many) => write!(f, "{key} in ({})", many.join(",")),
            (Operator::NotIn, many) => write!(f, "{key} notin ({})", many.join(",")),
            (Operator::Exists, _) => f.write_str(key),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::Gt, values) => write!(f, "{key}>{}", values.join(",")),
            (Operator::Lt, values) => write!(f, "{key}<{}", values.join(",")),
        }
    }
}

/// A conjunction of conditions on labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: false,
        }
    }

    /// Selects nothing: what an absent `LabelSelector` field means.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// From requirements.
    #[must_use]
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self {
            requirements,
            nothing: false,
        }
    }

    /// Selects exactly the labels of a map, as Service selectors do.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let requirement = |(key, value): (K, V)| Requirement {
            key: key.into(),
            operator: Operator::In,
            values: vec![value.into()],
        };
        Self::new(pairs.into_iter().map(requirement).collect())
    }

    /// From the query parameter's grammar, for instance `a=b,c!=d,e in (f,g),!h`.
    ///
    /// # Errors
    /// If the text does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self::new)
    }

    /// From a `LabelSelector` field's tree (`matchLabels`, `matchExpressions`).
    /// An absent one selects nothing, an empty one everything.
    ///
    /// # Errors
    /// If an operator is unknown or its values do not fit it.
    pub fn from_field(field: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(field) = field.filter(|field| !field.is_null()) else {
            return Ok(Self::nothing());
        };
        let pairs = field
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let mut selector =
            Self::from_pairs(pairs.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default())));
        let expressions = field
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for expression in expressions {
            selector
                .requirements
                .push(expression_requirement(expression)?);
        }
        Ok(selector)
    }

    /// The conditions.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether labels, looked up by `label`, satisfy every condition.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Whether the object's labels satisfy every condition.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_with(|key| object.label(key))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.requirements.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |name: &str| {
        expression
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let values: Vec<String> = expression
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        other => {
            return Err(SelectorError::Invalid(format!(
                "{other:?} is not a valid label selector operator"
            )));
        }
    };
    let wants_values = !matches!(operator, Operator::Exists | Operator::DoesNotExist);
    if wants_values == values.is_empty() {
        return Err(SelectorError::Invalid(format!(
            "the values of a requirement with operator {} must {}be empty",
            text("operator"),
            if wants_values { "not " } else { "" }
        )));
    }
    Ok(Requirement {
        key: text("key").to_owned(),
        operator,
        values,
    })
}

/// A conjunction of (in)equalities on fields. Which fields a kind offers is the
/// kind's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    /// `(path, equal, value)` for each condition.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// From the query parameter's grammar: `a.b=c,d!=e`; `\` escapes `,`, `=` and `\`.
    ///
    /// # Errors
    /// If a term has no operator or an escape is malformed.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        let mut parts = split_unescaped(text);
        parts.sort_unstable();
        for term in parts {
            if term.is_empty() {
                continue;
            }
            let (path, equal, value) = ["!=", "==", "="]
                .iter()
                .filter_map(|op| Some((term.find(op)?, *op)))
                .min_by_key(|(at, op)| (*at, std::cmp::Reverse(op.len())))
                .map(|(at, op)| (&term[..at], op != "!=", &term[at + op.len()..]))
                .ok_or_else(|| {
                    SelectorError::Invalid(format!(
                        "invalid selector: '{text}'; can't understand '{term}'"
                    ))
                })?;
            terms.push((path.to_owned(), equal, unescape(value)?));
        }
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether fields, looked up by `field` (absent fields read as empty), satisfy every condition.
    pub fn matches_with(&self, mut field: impl FnMut(&str) -> String) -> bool {
        self.terms
            .iter()
            .all(|(path, equal, value)| (field(path) == *value) == *equal)
    }

    /// The value that a field must have exactly, if a condition says so.
    #[must_use]
    pub fn requires(&self, path: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|(p, equal, _)| *equal && p == path)
            .map(|(_, _, value)| value.as_str())
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let refused = |why: String| SelectorError::Invalid(format!("invalid field selector: {why}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(refused(format!("invalid escape sequence: {sequence}")));
                }
            },
            // Upstream tells the character by its number.
            ',' | '=' => {
                let code = u32::from(c);
                return Err(refused(format!("unescaped character in value: {code}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let parsed = LabelSelector::parse(selector).expect("valid selector");
        assert_eq!(
            parsed.matches_with(|key| labels.get(key).copied()),
            expected,
            "{selector} on {labels:?}"
        );
    }

    #[test]
    fn label_selectors_select() {
        check("", &[], true);
        check("a=b", &[("a", "b")], true);
        check("a==b,c!=d", &[("a", "b")], true);
        check("a in (x, y)", &[("a", "y")], true);
        check("a notin (x,y)", &[], true);
        check("a notin (x,y)", &[("a", "x")], false);
        check("!a", &[("a", "")], false);
        check("a", &[("a", "")], true);
        check("a=", &[("a", "")], true);
        check("n>5", &[("n", "6")], true);
        check("n<5", &[("n", "6")], false);
        check("k8s.io/x-y_z=1", &[("k8s.io/x-y_z", "1")], true);
    }

    #[test]
    fn malformed_label_selectors_are_refused() {
        for text in ["a b", "=x", "a in x", "a in (x", "a,", "(a)", "a=b c=d"] {
            assert!(LabelSelector::parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_printed_selector_reads_back_as_itself() {
        for text in [
            "a=b",
            "a!=b",
            "a in (b,c)",
            "a notin (b,c)",
            "a",
            "!a",
            "n>5",
        ] {
            let parsed = LabelSelector::parse(text).expect("valid");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn an_absent_selector_field_selects_nothing_and_an_empty_one_everything() {
        assert!(
            !LabelSelector::from_field(None)
                .expect("valid")
                .matches_with(|_| None)
        );
        assert!(
            LabelSelector::from_field(Some(&json!({})))
                .expect("valid")
                .is_everything()
        );
        let field = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::from_field(Some(&field)).expect("valid");
        assert!(selector.matches_with(|key| (key == "a").then_some("b")));
        assert!(!selector.matches_with(|_| Some("b")));
    }

    #[test]
    fn field_selectors_select() {
        let selector =
            FieldSelector::parse("metadata.name=a,status.phase!=Running").expect("valid");
        assert_eq!(selector.requires("metadata.name"), Some("a"));
        assert!(selector.matches_with(|path| if path == "metadata.name" {
            "a".into()
        } else {
            "Pending".into()
        }));
        assert!(!selector.matches_with(|_| "Running".into()));
        assert_eq!(
            FieldSelector::parse(r"a=x\,y")
                .expect("valid")
                .requires("a"),
            Some("x,y")
        );
        assert!(FieldSelector::parse("nonsense").is_err());
    }
}
