//! What changed from one object to another.

use std::collections::HashMap;

use kontiki_schema::node::Node;
use serde_json::{Map, Value};

use super::{Kind, item_steps, kind};
use crate::fields::{FieldSet, Step, next};

/// The fields in which two objects differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only the new object has them.
    pub added: FieldSet,
    /// Both have them, with other values.
    pub modified: FieldSet,
    /// Only the old object has them.
    pub removed: FieldSet,
}

impl Comparison {
    /// Leaves out fields that the writer cannot set, and what is below them.
    #[must_use]
    pub fn without(&self, ignored: &FieldSet) -> Self {
        Self {
            added: self.added.difference_below(ignored),
            modified: self.modified.difference_below(ignored),
            removed: self.removed.difference_below(ignored),
        }
    }
}

/// Compares two objects.
#[must_use]
pub fn compare(node: Node<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk {
        path: Vec::new(),
        found: Comparison::default(),
    };
    walk.values(node, Some(old), Some(new));
    walk.found
}

struct Walk {
    path: Vec<Step>,
    found: Comparison,
}

impl Walk {
    fn values(&mut self, node: Node<'_>, old: Option<&Value>, new: Option<&Value>) {
        match kind(node, &[old, new]) {
            Kind::Leaf => self.leaf(old, new),
            Kind::Map => {
                let (left, right) = (
                    old.and_then(Value::as_object),
                    new.and_then(Value::as_object),
                );
                // Two empty maps, or null and empty: the map is a leaf, so that
                // the difference between the two is kept.
                if left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty) {
                    self.leaf(old, new);
                } else {
                    self.members(node, left, right);
                    self.container(old, new);
                }
            }
            Kind::List => {
                let (left, right) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
                if left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty) {
                    self.leaf(old, new);
                } else {
                    self.items(
                        node,
                        left.map_or(&[][..], Vec::as_slice),
                        right.map_or(&[][..], Vec::as_slice),
                    );
                    self.container(old, new);
                }
            }
        }
    }

    fn container(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, Some(_)) => self.found.added.insert(&self.path),
            (Some(_), None) => self.found.removed.insert(&self.path),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (Some(old), Some(new)) if !same(old, new) => self.found.modified.insert(&self.path),
            _ => self.container(old, new),
        }
    }

    fn within(&mut self, step: Step, node: Node<'_>, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(step);
        self.values(node, old, new);
        self.path.pop();
    }

    fn members(
        &mut self,
        node: Node<'_>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) {
        for (name, value) in old.into_iter().flatten() {
            let step = Step::field(name);
            let inner = next(node, &step);
            self.within(step, inner, Some(value), new.and_then(|new| new.get(name)));
        }
        for (name, value) in new.into_iter().flatten() {
            if old.is_none_or(|old| !old.contains_key(name)) {
                let step = Step::field(name);
                let inner = next(node, &step);
                self.within(step, inner, None, Some(value));
            }
        }
    }

    fn items(&mut self, node: Node<'_>, old: &[Value], new: &[Value]) {
        let mut sides: HashMap<Step, [Vec<&Value>; 2]> = HashMap::new();
        for (side, list) in [old, new].into_iter().enumerate() {
            for (step, item) in item_steps(node, list) {
                sides.entry(step).or_default()[side].push(item);
            }
        }
        for (step, [old, new]) in sides {
            if old.len() < 2 && new.len() < 2 {
                self.within(
                    step,
                    node.item(),
                    old.first().copied(),
                    new.first().copied(),
                );
                continue;
            }
            // Items that occur twice are one leaf.
            self.path.push(step);
            match (old.is_empty(), new.is_empty()) {
                (true, _) => self.found.added.insert(&self.path),
                (_, true) => self.found.removed.insert(&self.path),
                _ if old != new => self.found.modified.insert(&self.path),
                _ => {}
            }
            self.path.pop();
        }
    }
}

/// Equality as JSON means it: 1 and 1.0 are one number.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}
