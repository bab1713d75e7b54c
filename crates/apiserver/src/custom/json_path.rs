//! The JSONPath of printer columns, as `kubectl` knows it: members, indexes,
//! wildcards and filters on equality.

use kontiki_object::Value;

/// Values that a path may lead to at most.
const FOUND_MAX: usize = 1000;

/// A path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    All,
    /// `[?(@.a=="b")]`: the path below the item, whether equal, and the value.
    Filter(JsonPath, bool, Option<Value>),
    /// `..name`.
    Deep(String),
}

impl JsonPath {
    /// Parses a path, such as `.spec.replicas`; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, left) = step(rest)?;
            steps.push(step);
            rest = left;
        }
        Some(Self { steps })
    }

    /// The values that the path leads to.
    #[must_use]
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                apply(step, value, &mut next);
                next.truncate(FOUND_MAX);
            }
            found = next;
        }
        found
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("..") {
        let (name, rest) = name(rest);
        return Some((Step::Deep(name), rest));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let end = closing(rest)?;
        let step = bracket(rest[..end].trim())?;
        return Some((step, &rest[end + 1..]));
    }
    let rest = text.strip_prefix('.').unwrap_or(text);
    if rest.starts_with('[') {
        return step(rest);
    }
    let (name, rest) = name(rest);
    match name.as_str() {
        "" => None,
        "*" => Some((Step::All, rest)),
        _ => Some((Step::Member(name), rest)),
    }
}

/// A member's name; dots in it are escaped.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            '.' | '[' => return (name, &text[at..]),
            letter => name.push(letter),
        }
    }
    (name, "")
}

/// Where the bracket that is open at the start closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    let unquoted = |text: &str| {
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.to_owned())
    };
    if let Some(name) = unquoted(text) {
        return Some(Step::Member(name));
    }
    let condition = text.strip_prefix("?(")?.strip_suffix(')')?.trim();
    let (left, is_equal, right) = match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((left, right)), _) => (left, true, Some(right)),
        (None, Some((left, right))) => (left, false, Some(right)),
        _ => (condition, true, None),
    };
    let path = JsonPath::parse(left.trim().strip_prefix('@')?)?;
    let value = match right.map(str::trim) {
        None => None,
        Some(text) => Some(match unquoted(text) {
            Some(text) => Value::String(text),
            None => serde_json::from_str(text).ok()?,
        }),
    };
    Some(Step::Filter(path, is_equal, value))
}

fn apply<'v>(step: &Step, value: &'v Value, out: &mut Vec<&'v Value>) {
    match (step, value) {
        (Step::Member(name), Value::Object(members)) => out.extend(members.get(name)),
        (Step::Index(at), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *at < 0 { length + at } else { *at };
            out.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
        }
        (Step::All, Value::Array(items)) => out.extend(items),
        (Step::All, Value::Object(members)) => out.extend(members.values()),
        (Step::Filter(path, is_equal, wanted), Value::Array(items)) => {
            out.extend(items.iter().filter(|item| {
                let found = path.find(item);
                match wanted {
                    None => !found.is_empty(),
                    Some(wanted) => found.iter().any(|value| (*value == wanted) == *is_equal),
                }
            }));
        }
        (Step::Deep(name), value) => deep(name, value, out),
        _ => {}
    }
}

fn deep<'v>(name: &str, value: &'v Value, out: &mut Vec<&'v Value>) {
    if out.len() >= FOUND_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            out.extend(members.get(name));
            members.values().for_each(|value| deep(name, value, out));
        }
        Value::Array(items) => items.iter().for_each(|value| deep(name, value, out)),
        _ => {}
    }
}
