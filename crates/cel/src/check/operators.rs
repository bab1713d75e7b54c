//! What operators accept and come to.

use super::UNBOUNDED_ITEMS;
use crate::cost::{Cost, of_text};
use crate::ty::Type;
use kube_cel::cel::common::ast::operators as op;

/// The type that an operator comes to: `None` if it is no operator,
/// `Some(None)` if it does not take these operands.
pub(super) fn result(name: &str, operands: &[Type]) -> Option<Option<Type>> {
    Some(match (name, operands) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [left, right]) => {
            (is_bool(left) && is_bool(right)).then_some(Type::Bool)
        }
        (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [operand]) => {
            is_bool(operand).then_some(Type::Bool)
        }
        (op::CONDITIONAL, [condition, yes, no]) => conditional(condition, yes, no),
        (op::EQUALS | op::NOT_EQUALS, [left, right]) => {
            left.is_comparable_with(right).then_some(Type::Bool)
        }
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [left, right]) => {
            is_ordered(left, right).then_some(Type::Bool)
        }
        (op::ADD, [left, right]) => add(left, right),
        (op::SUBSTRACT, [left, right]) => subtract(left, right),
        (op::MULTIPLY | op::DIVIDE, [left, right]) => arithmetic(left, right, true),
        (op::MODULO, [left, right]) => arithmetic(left, right, false),
        (op::NEGATE, [operand]) => match operand {
            Type::Dyn | Type::Int | Type::Double => Some(operand.clone()),
            _ => None,
        },
        (op::IN, [item, container]) => contains(item, container),
        (op::INDEX, [container, index]) => indexed(container, index),
        _ => return None,
    })
}

/// What an operator costs beside its operands.
pub(super) fn cost(name: &str, operands: &[Type]) -> Cost {
    match (name, operands) {
        (op::IN, [_, Type::List(_, max)]) => Cost(max.unwrap_or(UNBOUNDED_ITEMS)),
        (op::ADD, [Type::String(left), Type::String(right)]) => of_text(*left) + of_text(*right),
        (
            op::EQUALS
            | op::NOT_EQUALS
            | op::LESS
            | op::LESS_EQUALS
            | op::GREATER
            | op::GREATER_EQUALS,
            [Type::String(left), Type::String(right)],
        ) => {
            let shorter = left.unwrap_or(u64::MAX).min(right.unwrap_or(u64::MAX));
            of_text(Some(shorter.min(2 * UNBOUNDED_ITEMS)))
        }
        _ => Cost(0),
    }
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Dyn)
}

fn conditional(condition: &Type, yes: &Type, no: &Type) -> Option<Type> {
    if !is_bool(condition) {
        return None;
    }
    match (yes, no) {
        (Type::Dyn, other) | (other, Type::Dyn) => Some(other.clone()),
        (Type::List(item, _), other @ Type::List(..)) if item.is_dynamic() => Some(other.clone()),
        (yes, no) if yes.is_comparable_with(no) => Some(yes.clone()),
        _ => None,
    }
}

fn is_ordered(left: &Type, right: &Type) -> bool {
    const fn is_number(ty: &Type) -> bool {
        matches!(ty, Type::Int | Type::Uint | Type::Double)
    }
    match (left, right) {
        (Type::Dyn, _) | (_, Type::Dyn) => true,
        (left, right) if is_number(left) && is_number(right) => true,
        (Type::Bool, Type::Bool)
        | (Type::String(_), Type::String(_))
        | (Type::Bytes, Type::Bytes)
        | (Type::Duration, Type::Duration)
        | (Type::Timestamp, Type::Timestamp) => true,
        _ => false,
    }
}

fn arithmetic(left: &Type, right: &Type, with_double: bool) -> Option<Type> {
    match (left, right) {
        (Type::Dyn, other) | (other, Type::Dyn) => match other {
            Type::Dyn | Type::Int | Type::Uint | Type::Double => Some(other.clone()),
            _ => None,
        },
        (Type::Int, Type::Int) => Some(Type::Int),
        (Type::Uint, Type::Uint) => Some(Type::Uint),
        (Type::Double, Type::Double) if with_double => Some(Type::Double),
        _ => None,
    }
}

fn add(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Dyn, other) | (other, Type::Dyn) => match other {
            Type::Bool | Type::Null | Type::Map(..) | Type::Object(_) => None,
            _ => Some(Type::Dyn),
        },
        (Type::String(left), Type::String(right)) => {
            let length = left
                .zip(*right)
                .map(|(left, right)| left.saturating_add(right));
            Some(Type::String(length))
        }
        (Type::Bytes, Type::Bytes) => Some(Type::Bytes),
        (Type::List(left, first), Type::List(right, second)) => {
            let item = match (&**left, &**right) {
                (Type::Dyn, other) => other.clone(),
                (left, right) if left.is_comparable_with(right) => left.clone(),
                _ => return None,
            };
            let length = first.zip(*second).map(|(a, b)| a.saturating_add(b));
            Some(Type::List(Box::new(item), length))
        }
        (Type::Duration, Type::Duration) => Some(Type::Duration),
        (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => {
            Some(Type::Timestamp)
        }
        _ => arithmetic(left, right, true),
    }
}

fn subtract(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Duration, Type::Duration) | (Type::Timestamp, Type::Timestamp) => {
            Some(Type::Duration)
        }
        (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
        (Type::Dyn, Type::Duration | Type::Timestamp)
        | (Type::Duration | Type::Timestamp, Type::Dyn) => Some(Type::Dyn),
        _ => arithmetic(left, right, true),
    }
}

fn contains(item: &Type, container: &Type) -> Option<Type> {
    let fits = match container {
        Type::Dyn => true,
        Type::List(inner, _) => inner.is_comparable_with(item),
        Type::Map(..) => matches!(item, Type::Dyn | Type::String(_)),
        _ => false,
    };
    fits.then_some(Type::Bool)
}

fn indexed(container: &Type, index: &Type) -> Option<Type> {
    match (container, index) {
        (Type::Dyn, _) => Some(Type::Dyn),
        (Type::Optional(inner), index) => match indexed(inner, index)? {
            Type::Optional(inner) => Some(Type::Optional(inner)),
            other => Some(Type::Optional(Box::new(other))),
        },
        (Type::List(item, _), Type::Int | Type::Dyn) => Some((**item).clone()),
        (Type::Map(value, _), Type::String(_) | Type::Dyn) => Some((**value).clone()),
        _ => None,
    }
}
