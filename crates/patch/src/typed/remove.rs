//! Taking fields out of an object.

use kontiki_schema::node::Node;
use serde_json::{Map, Value};

use super::{Kind, item_step, kind};
use crate::fields::{FieldSet, Step, next};

/// A copy of the object without those fields.
#[must_use]
pub fn remove(node: Node<'_>, value: &Value, fields: &FieldSet) -> Value {
    match (kind(node, &[Some(value)]), value) {
        (Kind::Map, Value::Object(members)) => Value::Object(
            members
                .iter()
                .filter_map(|(name, value)| {
                    let step = Step::field(name);
                    let value = below(next(node, &step), value, fields, &step)?;
                    Some((name.clone(), value))
                })
                .collect::<Map<_, _>>(),
        ),
        (Kind::List, Value::Array(items)) => Value::Array(
            items
                .iter()
                .filter_map(|item| match item_step(node, item) {
                    Some(step) => below(node.item(), item, fields, &step),
                    None => Some(item.clone()),
                })
                .collect(),
        ),
        _ => value.clone(),
    }
}

/// What is left of one member or item; nothing if it is taken out, or if all
/// that was in it is.
fn below(node: Node<'_>, value: &Value, fields: &FieldSet, step: &Step) -> Option<Value> {
    if fields.has(step) {
        return None;
    }
    let Some(inner) = fields.below(step) else {
        return Some(value.clone());
    };
    let left = remove(node, value, inner);
    let emptied = |value: &Value| {
        value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
    };
    if emptied(&left) && !emptied(value) {
        return Some(Value::Null);
    }
    Some(left)
}
