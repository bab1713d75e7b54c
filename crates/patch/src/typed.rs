//! Objects beside their schema: which fields an object sets, how two differ,
//! how an applied object merges into a live one. The rules are those of
//! structured merge, KEP-555: atomic values are leaves, list maps are matched
//! by their keys, sets by their values.

mod compare;
mod merge;
mod remove;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use kontiki_schema::ListType;
use kontiki_schema::node::{Node, Shape};
use serde_json::{Map, Value};

use crate::fields::{FieldSet, Step};

pub use compare::{Comparison, compare};
pub use merge::merge_typed;
pub use remove::remove;
pub use validate::validate;

/// Whether two objects differ, numbers compared as JSON means them.
pub(crate) fn differ(left: &Value, right: &Value) -> bool {
    !compare::same(left, right)
}

/// What a position is, once the value there is known as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A leaf: scalars and atomic values.
    Leaf,
    /// Members or entries with owners of their own.
    Map,
    /// Items with owners of their own.
    List,
}

/// The kind of position for one or two values; `null` takes any form.
pub(crate) fn kind(node: Node<'_>, values: &[Option<&Value>]) -> Kind {
    let some = |test: fn(&Value) -> bool| values.iter().flatten().any(|value| test(value));
    match node.shape() {
        Shape::Scalar => Kind::Leaf,
        Shape::List if node.list_type() == ListType::Atomic => Kind::Leaf,
        Shape::List => Kind::List,
        Shape::Struct | Shape::Map if node.is_atomic() => Kind::Leaf,
        Shape::Struct | Shape::Map => Kind::Map,
        // Unknown values are told by what they are; their lists are atomic.
        Shape::Unknown if !node.is_atomic() && some(Value::is_object) => Kind::Map,
        Shape::Unknown => Kind::Leaf,
    }
}

/// The step that names a list item: by its keys, else by its value.
pub(crate) fn item_step(node: Node<'_>, item: &Value) -> Option<Step> {
    if node.list_type() == ListType::Set {
        return Some(Step::value(item));
    }
    let mut keys = Map::new();
    for name in node.list_map_keys() {
        let value = match item.get(name) {
            Some(value) => value.clone(),
            None => node
                .item()
                .member(name)
                .and_then(Node::default_value)
                .unwrap_or(Value::Null),
        };
        keys.insert(name.to_owned(), value);
    }
    let given = keys.values().any(|value| !value.is_null());
    keys.retain(|_, value| !value.is_null());
    given.then(|| Step::key(&keys))
}

/// The steps of a list's items; items that have none are left out.
pub(crate) fn item_steps<'v>(node: Node<'_>, items: &'v [Value]) -> Vec<(Step, &'v Value)> {
    items
        .iter()
        .filter_map(|item| Some((item_step(node, item)?, item)))
        .collect()
}

/// Every field that an object sets.
#[must_use]
pub fn field_set(node: Node<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(node, value, &mut Vec::new(), &mut set);
    set
}

fn collect(node: Node<'_>, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    match (kind(node, &[Some(value)]), value) {
        (Kind::Map, Value::Object(members)) => {
            for (name, value) in members {
                let declared = node.declares(name);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                path.push(Step::field(name));
                collect(
                    crate::fields::next(node, &Step::field(name)),
                    value,
                    path,
                    set,
                );
                if empty || !declared {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Kind::List, Value::Array(items)) => {
            let steps = item_steps(node, items);
            let mut seen = HashSet::new();
            let twice: HashSet<&Step> = steps
                .iter()
                .map(|(step, _)| step)
                .filter(|step| !seen.insert(*step))
                .collect();
            for (step, item) in &steps {
                path.push(step.clone());
                if !twice.contains(step) {
                    collect(node.item(), item, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        (Kind::Map | Kind::List, _) => {}
        (Kind::Leaf, _) => set.insert(path),
    }
}
