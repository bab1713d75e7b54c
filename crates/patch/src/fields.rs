//! Sets of field paths, and their `FieldsV1` form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kontiki_schema::node::Node;
use serde_json::{Map, Value};

/// A step of a path, as `FieldsV1` writes it: `f:name`, `k:{"name":"x"}`,
/// `v:"x"` or `i:0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step(String);

impl Step {
    /// The member of that name.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self(format!("f:{name}"))
    }

    /// The list item with those keys.
    #[must_use]
    pub fn key(keys: &Map<String, Value>) -> Self {
        let sorted: BTreeMap<&String, &Value> = keys.iter().collect();
        Self(format!(
            "k:{}",
            serde_json::to_string(&sorted).expect("texts are valid keys")
        ))
    }

    /// The list item that has that value.
    #[must_use]
    pub fn value(value: &Value) -> Self {
        Self(format!("v:{value}"))
    }

    /// The list item at that place.
    #[must_use]
    pub fn index(at: usize) -> Self {
        Self(format!("i:{at}"))
    }

    /// Reads a step and spells it in the one canonical way.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self(text.to_owned())),
            "i" => rest.parse().ok().map(Self::index),
            "v" => serde_json::from_str(rest)
                .ok()
                .map(|value| Self::value(&value)),
            "k" => match serde_json::from_str(rest) {
                Ok(Value::Object(keys)) => Some(Self::key(&keys)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The name, if this is a member.
    #[must_use]
    pub fn as_field(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    fn is_item(&self) -> bool {
        self.0.starts_with("k:") || self.0.starts_with("v:")
    }
}

impl fmt::Display for Step {
    /// As conflict messages show it: `.name`, `[name="x"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, rest) = self.0.split_at(2);
        match kind {
            "f:" => write!(f, ".{rest}"),
            "v:" => write!(f, "[={rest}]"),
            "k:" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let pairs: Vec<String> = keys
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(f, "[{}]", pairs.join(","))
            }
            _ => write!(f, "[{rest}]"),
        }
    }
}

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<Step>,
    children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of those paths, each a list of member names.
    #[must_use]
    pub fn of_members(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let steps: Vec<Step> = path.iter().map(|name| Step::field(name)).collect();
            set.insert(&steps);
        }
        set
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Whether the path of that one step is in it.
    #[must_use]
    pub fn has(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    /// What is below that step.
    #[must_use]
    pub fn below(&self, step: &Step) -> Option<&Self> {
        self.children.get(step).filter(|set| !set.is_empty())
    }

    /// Paths in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut set = self.clone();
        set.members.extend(other.members.iter().cloned());
        for (step, below) in &other.children {
            let merged = match set.children.get(step) {
                Some(own) => own.union(below),
                None => below.clone(),
            };
            set.children.insert(step.clone(), merged);
        }
        set
    }

    /// Paths in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let both = |step: &Step| {
            Some(
                self.children
                    .get(step)?
                    .intersection(other.children.get(step)?),
            )
        };
        let children = keep(
            self.children
                .keys()
                .filter_map(|step| Some((step.clone(), both(step)?))),
        );
        Self { members, children }
    }

    /// Paths that the other set lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = keep(self.children.iter().map(|(step, below)| {
            let rest = match other.children.get(step) {
                Some(theirs) => below.difference(theirs),
                None => below.clone(),
            };
            (step.clone(), rest)
        }));
        Self { members, children }
    }

    /// Paths that are neither in the other set nor below a path of it.
    #[must_use]
    pub fn difference_below(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = keep(
            self.children
                .iter()
                .filter(|(step, _)| !other.members.contains(*step))
                .map(|(step, below)| {
                    let rest = match other.children.get(step) {
                        Some(theirs) => below.difference_below(theirs),
                        None => below.clone(),
                    };
                    (step.clone(), rest)
                }),
        );
        Self { members, children }
    }

    /// Adds, for every path, the declared members on the way to it.
    #[must_use]
    pub fn with_named_members(&self, node: Node<'_>) -> Self {
        let mut set = Self {
            members: self.members.clone(),
            children: BTreeMap::new(),
        };
        for (step, below) in &self.children {
            if step.as_field().is_some_and(|name| node.declares(name)) {
                set.members.insert(step.clone());
            }
            set.children
                .insert(step.clone(), below.with_named_members(next(node, step)));
        }
        set
    }

    /// Every path, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<Step>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, at: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
        let steps: BTreeSet<&Step> = self.members.iter().chain(self.children.keys()).collect();
        for step in steps {
            at.push(step.clone());
            if self.members.contains(step) {
                paths.push(at.clone());
            }
            if let Some(below) = self.children.get(step) {
                below.collect(at, paths);
            }
            at.pop();
        }
    }

    /// The `FieldsV1` form.
    #[must_use]
    pub fn to_fields_v1(&self) -> Value {
        let mut fields = Map::new();
        for step in &self.members {
            fields.insert(step.0.clone(), Value::Object(Map::new()));
        }
        for (step, below) in self.children.iter().filter(|(_, below)| !below.is_empty()) {
            let mut inner = below.to_fields_v1();
            if let Value::Object(inner) = &mut inner
                && self.members.contains(step)
            {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            fields.insert(step.0.clone(), inner);
        }
        Value::Object(fields)
    }

    /// Reads the `FieldsV1` form; `None` when it is malformed.
    #[must_use]
    pub fn from_fields_v1(fields: &Value) -> Option<Self> {
        let mut set = Self::new();
        for (key, below) in fields.as_object()? {
            if key == "." {
                continue;
            }
            let step = Step::parse(key)?;
            let inner = below.as_object()?;
            if inner.is_empty() || inner.contains_key(".") {
                set.members.insert(step.clone());
            }
            let inner = Self::from_fields_v1(below)?;
            if !inner.is_empty() {
                set.children.insert(step, inner);
            }
        }
        Some(set)
    }
}

fn keep(children: impl Iterator<Item = (Step, FieldSet)>) -> BTreeMap<Step, FieldSet> {
    children.filter(|(_, below)| !below.is_empty()).collect()
}

/// The position one step on.
pub(crate) fn next<'a>(node: Node<'a>, step: &Step) -> Node<'a> {
    match step.as_field() {
        Some(name) => node.member(name).unwrap_or_else(Node::untyped),
        None if step.is_item() => node.item(),
        None => Node::untyped(),
    }
}

/// A path as messages show it.
#[must_use]
pub fn path_text(path: &[Step]) -> String {
    path.iter().map(Step::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(fields: Value) -> FieldSet {
        FieldSet::from_fields_v1(&fields).expect("well formed")
    }

    #[test]
    fn the_json_form_is_kept() {
        let fields = json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:name": {}}}, "f:args": {"i:0": {}}}});
        assert_eq!(set(fields.clone()).to_fields_v1(), fields);
        let spaced = json!({"f:l": {"k:{ \"protocol\":\"UDP\", \"port\":53 }": {}}});
        assert_eq!(
            set(spaced).to_fields_v1(),
            json!({"f:l": {"k:{\"port\":53,\"protocol\":\"UDP\"}": {}}})
        );
        assert_eq!(FieldSet::from_fields_v1(&json!({"nonsense": {}})), None);
    }

    #[test]
    fn set_operations_agree_with_sets_of_paths() {
        let samples = [
            set(json!({})),
            set(json!({"f:a": {}})),
            set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}})),
            set(json!({"f:a": {"f:b": {".": {}, "f:x": {}}}, "f:c": {".": {}, "f:d": {}}})),
            set(json!({"f:a": {}, "f:c": {"f:d": {}, "f:e": {}}})),
        ];
        let paths = |set: &FieldSet| set.paths().into_iter().collect::<BTreeSet<_>>();
        for left in &samples {
            for right in &samples {
                let (l, r) = (paths(left), paths(right));
                assert_eq!(paths(&left.union(right)), &l | &r);
                assert_eq!(paths(&left.intersection(right)), &l & &r);
                assert_eq!(paths(&left.difference(right)), &l - &r);
                let below = l
                    .iter()
                    .filter(|path| !r.iter().any(|other| path.starts_with(other)))
                    .cloned()
                    .collect();
                assert_eq!(paths(&left.difference_below(right)), below);
            }
        }
    }

    #[test]
    fn paths_read_as_clients_know_them() {
        let set = set(
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}}),
        );
        let texts: Vec<String> = set.paths().iter().map(|path| path_text(path)).collect();
        assert_eq!(
            texts,
            [
                ".metadata.finalizers[=\"x\"]",
                ".spec.containers[name=\"c\"].image"
            ]
        );
    }
}
