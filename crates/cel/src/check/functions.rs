//! The functions of the dialect: which there are, and what they come to.

use super::UNBOUNDED_ITEMS;
use crate::cost::{Cost, of_text};
use crate::ty::Type;

/// What a call comes to.
pub(super) enum Found {
    /// A value of this type.
    Type(Type),
    /// The function exists, but takes other arguments.
    NoOverload,
    /// There is no such function.
    Nothing,
}

const NAMESPACES: [&str; 8] = [
    "optional",
    "sets",
    "math",
    "base64",
    "format",
    "strings",
    "jsonpatch",
    "cel",
];

/// Whether a name stands for a family of functions.
pub(super) fn is_namespace(name: &str) -> bool {
    NAMESPACES.contains(&name) || matches!(name, "ip" | "lists" | "regex" | "json")
}

/// `sets.contains(…)` and its like.
pub(super) fn in_namespace(space: &str, name: &str, arguments: &[Type]) -> Found {
    let text = Type::String(None);
    let first = arguments.first().cloned().unwrap_or(Type::Dyn);
    Found::Type(match (space, name) {
        ("optional", "of" | "ofNonZeroValue") => Type::Optional(Box::new(first)),
        ("optional", "none") => Type::Optional(Box::new(Type::Dyn)),
        ("sets", "contains" | "intersects" | "equivalent") => Type::Bool,
        ("math", "isNaN" | "isInf" | "isFinite") => Type::Bool,
        ("math", _) => Type::Dyn,
        ("base64", "encode") => text,
        ("base64", "decode") => Type::Bytes,
        ("strings", "quote") | ("jsonpatch", "escapeKey") => text,
        ("ip", "isCanonical") => Type::Bool,
        ("lists", "range") => Type::List(Box::new(Type::Int), None),
        ("format", _) => Type::Optional(Box::new(Type::Dyn)),
        _ => return Found::Nothing,
    })
}

/// A plain call, or one on a target.
pub(super) fn result(name: &str, target: Option<&Type>, arguments: &[Type]) -> Found {
    match target {
        None => global(name, arguments),
        Some(target) => method(name, target, arguments),
    }
}

fn global(name: &str, arguments: &[Type]) -> Found {
    let first = arguments.first().unwrap_or(&Type::Dyn);
    let only_text = matches!(first, Type::Dyn | Type::String(_));
    let ty = match name {
        "size" => {
            return match first {
                Type::Dyn | Type::String(_) | Type::Bytes | Type::List(..) | Type::Map(..) => {
                    Found::Type(Type::Int)
                }
                _ => Found::NoOverload,
            };
        }
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String(None),
        "bytes" => Type::Bytes,
        "bool" => Type::Bool,
        "dyn" | "type" => Type::Dyn,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "matches" => Type::Bool,
        "quantity" | "url" | "ip" | "cidr" | "semver" if only_text => Type::Dyn,
        "isQuantity" | "isURL" | "isIP" | "isCIDR" | "isSemver" if only_text => Type::Bool,
        "quantity" | "url" | "ip" | "cidr" | "semver" | "isQuantity" | "isURL" | "isIP"
        | "isCIDR" | "isSemver" => return Found::NoOverload,
        _ => return Found::Nothing,
    };
    Found::Type(ty)
}

fn method(name: &str, target: &Type, arguments: &[Type]) -> Found {
    if target.is_dynamic() {
        return dynamic(name);
    }
    let text = || Type::String(None);
    let texts = || Type::List(Box::new(Type::String(None)), None);
    let ty = match (target, name) {
        (Type::String(_), "contains" | "startsWith" | "endsWith" | "matches") => {
            let fits = matches!(arguments, [Type::String(_) | Type::Dyn]);
            return if fits {
                Found::Type(Type::Bool)
            } else {
                Found::NoOverload
            };
        }
        (Type::String(_), "indexOf" | "lastIndexOf" | "size") => Type::Int,
        (
            Type::String(_),
            "charAt" | "lowerAscii" | "upperAscii" | "replace" | "substring" | "trim" | "reverse"
            | "format" | "find",
        ) => text(),
        (Type::String(_), "split" | "findAll") => texts(),
        (Type::Bytes | Type::List(..) | Type::Map(..), "size") => Type::Int,
        (Type::List(..), "isSorted") => Type::Bool,
        (Type::List(..), "indexOf" | "lastIndexOf") => Type::Int,
        (Type::List(item, _), "sum" | "min" | "max") => (**item).clone(),
        (Type::List(..), "join") => text(),
        (Type::List(item, _), "first" | "last") => Type::Optional(item.clone()),
        (Type::List(..), "slice" | "distinct" | "sort" | "reverse") => target.clone(),
        (Type::List(..), "flatten" | "sortBy") => Type::List(Box::new(Type::Dyn), None),
        (Type::Optional(_), "hasValue") => Type::Bool,
        (Type::Optional(inner), "value" | "orValue") => (**inner).clone(),
        (Type::Optional(_), "or") => target.clone(),
        (Type::Timestamp | Type::Duration, name) if name.starts_with("get") => Type::Int,
        _ => {
            return match dynamic(name) {
                Found::Type(_) => Found::NoOverload,
                other => other,
            };
        }
    };
    Found::Type(ty)
}

/// A method of a value whose type is not known before it is.
fn dynamic(name: &str) -> Found {
    Found::Type(match name {
        "contains"
        | "startsWith"
        | "endsWith"
        | "matches"
        | "isSorted"
        | "hasValue"
        | "isInteger"
        | "isGreaterThan"
        | "isLessThan"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "containsIP"
        | "containsCIDR"
        | "allowed"
        | "errored" => Type::Bool,
        "size" | "indexOf" | "lastIndexOf" | "sign" | "asInteger" | "compareTo" | "family"
        | "prefixLength" | "major" | "minor" | "patch" => Type::Int,
        "asApproximateFloat" => Type::Double,
        "charAt" | "lowerAscii" | "upperAscii" | "replace" | "substring" | "trim" | "join"
        | "format" | "find" | "getScheme" | "getHost" | "getHostname" | "getPort"
        | "getEscapedPath" | "reason" | "error" => Type::String(None),
        "split" | "findAll" => Type::List(Box::new(Type::String(None)), None),
        "getFullYear" | "getMonth" | "getDate" | "getDayOfMonth" | "getDayOfWeek"
        | "getDayOfYear" | "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds" => {
            Type::Int
        }
        "validate" => Type::Optional(Box::new(Type::List(Box::new(Type::String(None)), None))),
        "add" | "sub" | "sum" | "min" | "max" | "first" | "last" | "slice" | "distinct"
        | "sort" | "sortBy" | "reverse" | "flatten" | "value" | "orValue" | "or" | "getQuery"
        | "ip" | "masked" | "path" | "group" | "resource" | "serviceAccount" | "namespace"
        | "name" | "subresource" | "fieldSelector" | "labelSelector" | "check" => Type::Dyn,
        _ => return Found::Nothing,
    })
}

/// What a call costs beside its arguments.
pub(super) fn cost(name: &str, target: Option<&Type>, arguments: &[Type]) -> Cost {
    let subject = target.or(arguments.first());
    let length = |ty: Option<&Type>| match ty {
        Some(Type::String(max)) => max.unwrap_or(2 * UNBOUNDED_ITEMS),
        Some(Type::List(_, max) | Type::Map(_, max)) => max.unwrap_or(UNBOUNDED_ITEMS),
        Some(Type::Dyn) => 2 * UNBOUNDED_ITEMS,
        _ => 1,
    };
    match name {
        "contains" | "startsWith" | "endsWith" | "lowerAscii" | "upperAscii" | "trim"
        | "charAt" | "substring" | "split" | "replace" | "quantity" | "url" | "ip" | "cidr"
        | "isQuantity" | "isURL" | "isIP" | "isCIDR" | "indexOf" | "lastIndexOf" => {
            of_text(Some(length(subject)))
        }
        "matches" | "find" | "findAll" => {
            let pattern = match arguments.last() {
                Some(Type::String(Some(max))) => *max,
                _ => 1024,
            };
            of_text(Some(length(subject))) * pattern.div_ceil(4).max(1)
        }
        "isSorted" | "sum" | "min" | "max" | "join" | "distinct" | "sort" | "flatten" => {
            Cost(length(subject))
        }
        "equivalent" | "intersects" => Cost(length(arguments.first())) * length(arguments.get(1)),
        _ => Cost(0),
    }
}
