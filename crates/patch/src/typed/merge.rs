//! Merging an applied object into a live one: the applied side wins, and its
//! order decides the order of items that both have.

use std::collections::HashMap;

use kontiki_schema::node::Node;
use serde_json::{Map, Value};

use super::{Kind, item_steps, kind};
use crate::fields::{Step, next};

/// Merges `applied` into a copy of `live`.
#[must_use]
pub fn merge_typed(node: Node<'_>, live: &Value, applied: &Value) -> Value {
    values(node, Some(live), Some(applied)).unwrap_or(Value::Null)
}

fn values(node: Node<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let winner = || applied.or(live).cloned();
    match kind(node, &[live, applied]) {
        Kind::Leaf => winner(),
        Kind::Map => {
            let (left, right) = (
                live.and_then(Value::as_object),
                applied.and_then(Value::as_object),
            );
            if left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty) {
                return winner();
            }
            let mut merged = Map::new();
            let names = left.into_iter().chain(right).flat_map(Map::keys);
            for name in names {
                if !merged.contains_key(name) {
                    let inner = next(node, &Step::field(name));
                    let (left, right) = (
                        left.and_then(|m| m.get(name)),
                        right.and_then(|m| m.get(name)),
                    );
                    if let Some(value) = values(inner, left, right) {
                        merged.insert(name.clone(), value);
                    }
                }
            }
            Some(Value::Object(merged))
        }
        Kind::List => {
            let (left, right) = (
                live.and_then(Value::as_array),
                applied.and_then(Value::as_array),
            );
            if left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty) {
                return winner();
            }
            let (left, right) = (
                left.map_or(&[][..], Vec::as_slice),
                right.map_or(&[][..], Vec::as_slice),
            );
            Some(Value::Array(items(node, left, right)))
        }
    }
}

/// Merges lists: applied items in their order, live items that are not applied
/// in theirs, each as near as possible to where it stood.
fn items(node: Node<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let left = item_steps(node, live);
    let right = item_steps(node, applied);
    let in_left: HashMap<&Step, &Value> = left
        .iter()
        .rev()
        .map(|(step, item)| (step, *item))
        .collect();
    let in_right: HashMap<&Step, &Value> = right
        .iter()
        .rev()
        .map(|(step, item)| (step, *item))
        .collect();
    let mut shared = right
        .iter()
        .map(|(step, _)| step)
        .filter(|step| in_left.contains_key(step));
    let mut next_shared = shared.next();
    let mut merged = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((left_step, _)), Some((right_step, right_item))) = (left.get(l), right.get(r))
        {
            if left_step == right_step {
                merged.extend(values(
                    node.item(),
                    in_left.get(left_step).copied(),
                    Some(right_item),
                ));
                l += 1;
                r += 1;
                next_shared = shared.next();
                continue;
            }
            if in_right.contains_key(left_step) && next_shared.is_some_and(|next| next != left_step)
            {
                l += 1;
                continue;
            }
        }
        if let Some((step, item)) = left.get(l) {
            if !in_right.contains_key(step) {
                merged.push((*item).clone());
                l += 1;
                continue;
            }
            if r >= right.len() {
                l += 1;
                continue;
            }
        }
        if let Some((step, item)) = right.get(r) {
            merged.extend(values(node.item(), in_left.get(step).copied(), Some(item)));
            r += 1;
            if next_shared == Some(step) {
                next_shared = shared.next();
            }
        }
    }
    merged
}
