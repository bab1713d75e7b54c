//! Lists of a strategic merge patch.

use kontiki_schema::node::Node;
use serde_json::Value;

use super::{
    PATCH, go_format, has_directive, internal, members, unknown_directive, without_directives,
};
use crate::PatchError;

type Items = Vec<Value>;

/// How items of a list are told apart.
#[derive(Clone, Copy)]
enum Identity {
    /// By that member.
    Key(&'static str),
    /// By their value.
    Value,
}

impl Identity {
    fn of(node: Node<'_>) -> Self {
        node.patch_merge_key().map_or(Self::Value, Self::Key)
    }

    fn same(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Value => left == right,
            Self::Key(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        }
    }

    fn find(self, items: &[Value], wanted: &Value) -> Option<usize> {
        items.iter().position(|item| self.same(item, wanted))
    }
}

/// Merges a list; items of the patch stand in the patch's order.
pub(super) fn merge(node: Node<'_>, old: Items, patch: Items) -> Result<Items, PatchError> {
    let order: Items = patch
        .iter()
        .filter(|item| !has_directive(item))
        .cloned()
        .collect();
    merge_in_order(node, old, patch, &order)
}

/// Merges a list and puts it in the wanted order; items that the order does
/// not name stay where they were, relative to those that it does.
pub(super) fn merge_in_order(
    node: Node<'_>,
    old: Items,
    patch: Items,
    order: &[Value],
) -> Result<Items, PatchError> {
    let identity = Identity::of(node);
    let Some(merged) = merge_items(node, identity, old.clone(), patch)? else {
        return Ok(old);
    };
    let (merged, replaced) = merged;
    if replaced {
        return Ok(merged);
    }
    let (mut ordered, mut others): (Items, Items) = merged
        .into_iter()
        .partition(|item| identity.find(order, item).is_some());
    ordered.sort_by_key(|item| identity.find(order, item));
    others.sort_by_key(|item| identity.find(&old, item).unwrap_or(usize::MAX));
    Ok(interleave(identity, others, ordered, &old))
}

/// An item that only the server has precedes an ordered one if it did so
/// before; new items of the patch come first.
fn interleave(identity: Identity, others: Items, ordered: Items, old: &[Value]) -> Items {
    let mut result = Vec::with_capacity(others.len() + ordered.len());
    let mut others = others.into_iter().peekable();
    for item in ordered {
        let place = identity.find(old, &item);
        while let (Some(other), Some(place)) = (others.peek(), place) {
            if identity.find(old, other).is_none_or(|at| at > place) {
                break;
            }
            result.extend(others.next());
        }
        result.push(item);
    }
    result.extend(others);
    result
}

/// Merged items, and whether the patch replaced the whole list; `None` when
/// both sides are empty.
fn merge_items(
    node: Node<'_>,
    identity: Identity,
    old: Items,
    patch: Items,
) -> Result<Option<(Items, bool)>, PatchError> {
    if old.is_empty() && patch.is_empty() {
        return Ok(None);
    }
    let Identity::Key(key) = identity else {
        let mut merged = old;
        for item in patch {
            if !merged.contains(&item) {
                merged.push(item);
            }
        }
        return Ok(Some((merged, false)));
    };
    let mut merged = old;
    let mut replaced = false;
    let mut rest = Vec::with_capacity(patch.len());
    for item in patch {
        let Some(directive) = item.get(PATCH).cloned() else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let item = with_key(item, key)?;
                merged.retain(|old| !identity.same(old, &item));
            }
            Some("replace") => replaced = true,
            Some("merge") => {
                return Err(internal(
                    "merging in the same list is not supported with $patch: merge".to_owned(),
                ));
            }
            _ => {
                let patch = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(&directive, &patch));
            }
        }
    }
    if replaced {
        return Ok(Some((rest, true)));
    }
    for item in rest {
        let item = with_key(item, key)?;
        match identity.find(&merged, &item) {
            Some(at) => {
                let old = merged[at].as_object().cloned().unwrap_or_default();
                let new = item.as_object().cloned().unwrap_or_default();
                merged[at] = Value::Object(members(node.item(), old, new)?);
            }
            None => merged.push(without_directives(item)),
        }
    }
    Ok(Some((merged, false)))
}

fn with_key(item: Value, key: &str) -> Result<Value, PatchError> {
    if item.get(key).is_some() {
        return Ok(item);
    }
    Err(internal(format!(
        "map: {} does not contain declared merge key: {key}",
        go_format(&item)
    )))
}

/// What a patch says of a list that the original lacks.
pub(super) fn plain(patch: Items) -> Items {
    patch
        .into_iter()
        .filter(|item| !has_directive(item))
        .map(without_directives)
        .collect()
}

/// Every item of the patch has to be in the wanted order.
pub(super) fn check_order(
    node: Node<'_>,
    patch: &[Value],
    order: &[Value],
) -> Result<(), PatchError> {
    let identity = Identity::of(node);
    let listed = patch.iter().filter(|item| !has_directive(item));
    let mut from = 0;
    for item in listed {
        match identity.find(&order[from..], item) {
            Some(at) => from += at + 1,
            None => {
                return Err(internal(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    go_format(&Value::Array(patch.to_vec())),
                    go_format(&Value::Array(order.to_vec()))
                )));
            }
        }
    }
    Ok(())
}
