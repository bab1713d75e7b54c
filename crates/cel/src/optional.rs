//! Members of values that need not be there: `a.?b` and `a[?b]`.

use crate::rewrite::OPTIONAL;
use crate::value::optional;
use kube_cel::cel::objects::{Key, OptionalValue};
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};

/// Makes the function known that such members are rewritten to.
pub(crate) fn install(context: &mut Context<'_>) {
    context.add_function(OPTIONAL, |value: Value, key: Value| member(&value, &key));
}

fn member(value: &Value, key: &Value) -> ResolveResult {
    let found = match value {
        Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(held) => match held.value() {
                Some(value) => return member(value, key),
                None => None,
            },
            None => return Err(ExecutionError::NoSuchOverload),
        },
        Value::Map(map) => {
            let key = match key {
                Value::String(text) => Key::String(text.clone()),
                Value::Int(number) => Key::Int(*number),
                Value::UInt(number) => Key::Uint(*number),
                Value::Bool(on) => Key::Bool(*on),
                _ => return Err(ExecutionError::NoSuchOverload),
            };
            map.map.get(&key).cloned()
        }
        Value::List(items) => {
            let at = match key {
                Value::Int(at) => usize::try_from(*at).ok(),
                Value::UInt(at) => usize::try_from(*at).ok(),
                _ => return Err(ExecutionError::NoSuchOverload),
            };
            at.and_then(|at| items.get(at).cloned())
        }
        Value::Null => None,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(optional(found))
}
