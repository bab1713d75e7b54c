//! The types of variables and fields, with the bounds that schemas set.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type of CEL.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Whatever the value turns out to be.
    Dyn,
    /// `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `uint`.
    Uint,
    /// `double`.
    Double,
    /// `string`, at most so many characters long.
    String(Option<u64>),
    /// `bytes`.
    Bytes,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `list`, with at most so many items.
    List(Box<Type>, Option<u64>),
    /// `map` with text keys, with at most so many entries.
    Map(Box<Type>, Option<u64>),
    /// An object with known fields.
    Object(Arc<ObjectType>),
    /// A value that may be absent.
    Optional(Box<Type>),
}

/// An object with known fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectType {
    /// How complaints call it.
    pub name: String,
    /// Its fields by their escaped names.
    pub fields: BTreeMap<String, Type>,
}

impl Type {
    /// Whether nothing is known before the value is.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    /// The type without its bounds.
    #[must_use]
    pub fn unbounded(&self) -> Self {
        match self {
            Self::String(_) => Self::String(None),
            Self::List(item, _) => Self::List(item.clone(), None),
            Self::Map(value, _) => Self::Map(value.clone(), None),
            other => other.clone(),
        }
    }

    /// Whether values of both types may stand on the two sides of `==`.
    #[must_use]
    pub fn is_comparable_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (
                Self::Null,
                Self::Object(_) | Self::Optional(_) | Self::Duration | Self::Timestamp,
            )
            | (
                Self::Object(_) | Self::Optional(_) | Self::Duration | Self::Timestamp,
                Self::Null,
            ) => true,
            (Self::List(left, _), Self::List(right, _))
            | (Self::Map(left, _), Self::Map(right, _))
            | (Self::Optional(left), Self::Optional(right)) => left.is_comparable_with(right),
            (Self::Object(left), Self::Object(right)) => left.name == right.name,
            (Self::Map(..), Self::Object(_)) | (Self::Object(_), Self::Map(..)) => false,
            (left, right) => left.unbounded() == right.unbounded(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String(_) => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(item, _) => write!(f, "list({item})"),
            Self::Map(value, _) => write!(f, "map(string, {value})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
        }
    }
}
