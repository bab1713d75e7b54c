//! Merging what an expression says an object shall have into the object.

use crate::registry::schema_node;
use kontiki_kinds::Kind;
use kontiki_object::Value;
use kontiki_patch::typed::{merge_typed, validate};
use kontiki_schema::ListType;
use kontiki_schema::node::{Node, Shape};

/// Merges; who owns what is not tracked.
///
/// # Errors
/// What does not fit the type, or would take unnamed fields away.
pub(super) fn merge(kind: &Kind, object: &Value, mut applied: Value) -> Result<Value, String> {
    for field in ["apiVersion", "kind"] {
        if let Some(applied) = applied.as_object_mut() {
            applied.insert(field.to_owned(), object[field].clone());
        }
    }
    let node = schema_node(kind);
    validate(node, &applied)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut atomics = Vec::new();
    find_atomics(node, &applied, "", &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    Ok(merge_typed(node, object, &applied))
}

/// Values that are replaced as a whole: what an expression does not repeat
/// would be lost.
fn find_atomics(node: Node<'_>, value: &Value, path: &str, out: &mut Vec<String>) {
    match (node.shape(), value) {
        (Shape::Struct | Shape::Map, Value::Object(members)) => {
            if node.is_atomic() {
                out.push(path.to_owned());
            }
            for (name, value) in members {
                if node.declares(name)
                    && let Some(inner) = node.member(name)
                {
                    find_atomics(inner, value, &format!("{path}.{name}"), out);
                }
            }
        }
        (Shape::List, Value::Array(items)) => {
            if node.list_type() == ListType::Atomic {
                out.push(path.to_owned());
            }
            for (at, item) in items.iter().enumerate() {
                find_atomics(node.item(), item, &format!("{path}[{at}]"), out);
            }
        }
        _ => {}
    }
}
