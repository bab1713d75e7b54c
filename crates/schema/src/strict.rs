//! Reading JSON strictly: unknown and duplicate members, and values of a wrong
//! type, in the words that clients know from Go's decoder.

mod types;

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::node::{Node, Shape};
use crate::table::{Schema, TypeRef};

pub use types::check_types;

/// No more problems than this are told.
pub const PROBLEMS_MAX: usize = 100;

/// A member that strict decoding does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such member; the path to it.
    UnknownField(String),
    /// The member occurs twice; the path to it.
    DuplicateField(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField(path) => write!(f, "unknown field {path:?}"),
            Self::DuplicateField(path) => write!(f, "duplicate field {path:?}"),
        }
    }
}

/// The message that lists the problems: `strict decoding error: …`.
#[must_use]
pub fn message(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    format!("strict decoding error: {}", texts.join(", "))
}

/// Reads JSON and notes, in the order of the text, every unknown or duplicate
/// member. The last of duplicate members counts.
///
/// # Errors
/// When the text is no JSON.
pub fn parse(bytes: &[u8], node: Node<'_>) -> Result<(Value, Vec<Problem>), serde_json::Error> {
    let mut walk = Walk {
        path: String::new(),
        problems: Vec::new(),
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed {
        node: Some(node),
        walk: &mut walk,
    }
    .deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, walk.problems))
}

/// The paths of members that the type does not have.
#[must_use]
pub fn unknown_fields(ty: TypeRef, value: &Value) -> Vec<String> {
    unknown_members(Node::of(ty), value)
}

/// The paths of members that are not in the schema at `node`.
#[must_use]
pub fn unknown_members(node: Node<'_>, value: &Value) -> Vec<String> {
    let mut walk = Walk {
        path: String::new(),
        problems: Vec::new(),
    };
    walk_value(node, value, &mut walk);
    walk.problems
        .into_iter()
        .map(|problem| match problem {
            Problem::UnknownField(path) | Problem::DuplicateField(path) => path,
        })
        .collect()
}

struct Walk {
    path: String,
    problems: Vec<Problem>,
}

impl Walk {
    /// Runs `inside` with the path one member longer.
    fn within<T>(&mut self, name: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = inside(self);
        self.path.truncate(length);
        result
    }

    fn within_item<T>(&mut self, at: usize, inside: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        write!(self.path, "[{at}]").expect("writing to a string");
        let result = inside(self);
        self.path.truncate(length);
        result
    }

    fn note(&mut self, problem: fn(String) -> Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem(self.path.clone()));
        }
    }
}

fn walk_value(node: Node<'_>, value: &Value, walk: &mut Walk) {
    match value {
        Value::Object(members) => {
            if opaque(node) {
                return;
            }
            for (name, value) in members {
                walk.within(name, |walk| match node.member(name) {
                    Some(node) => walk_value(node, value, walk),
                    None if node.shape() == Shape::Struct => walk.note(Problem::UnknownField),
                    None => {}
                });
            }
        }
        Value::Array(items) => {
            let node = item_node(node);
            for (at, item) in items.iter().enumerate() {
                walk.within_item(at, |walk| walk_value(node, item, walk));
            }
        }
        _ => {}
    }
}

/// Embedded JSON of built-in types is kept unread.
fn opaque(node: Node<'_>) -> bool {
    node.type_ref()
        .is_some_and(|ty| ty.form != crate::Form::Object && schema_node(node).is_none())
}

/// `JSONSchemaPropsOr…` hold schemas, whose members are known.
fn schema_node(node: Node<'_>) -> Option<Node<'static>> {
    use crate::Form::{SchemaOrArray, SchemaOrBool, SchemaOrStrings};
    let form = node.type_ref()?.form;
    if !matches!(form, SchemaOrArray | SchemaOrBool | SchemaOrStrings) {
        return None;
    }
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    Schema::get().type_by_name(name).map(Node::of)
}

fn item_node(node: Node<'_>) -> Node<'_> {
    schema_node(node).unwrap_or_else(|| node.item())
}

/// Reads one value; without a node, whatever it is, unread.
struct Seed<'n, 'w> {
    node: Option<Node<'n>>,
    walk: &'w mut Walk,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self.node {
            Some(node) if !opaque(node) => reader.deserialize_any(Content {
                node,
                walk: self.walk,
            }),
            _ => serde::Deserialize::deserialize(reader),
        }
    }
}

struct Content<'n, 'w> {
    node: Node<'n>,
    walk: &'w mut Walk,
}

impl<'de> Visitor<'de> for Content<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number =
            serde_json::Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let node = item_node(self.node);
        let walk = self.walk;
        let mut items = Vec::new();
        while let Some(item) = walk.within_item(items.len(), |walk| {
            list.next_element_seed(Seed {
                node: Some(node),
                walk,
            })
        })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let walk = self.walk;
        let node = schema_node(self.node).unwrap_or(self.node);
        let closed = node.shape() == Shape::Struct;
        let mut members = Map::new();
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = walk.within(&name, |walk| {
                let member = node.member(&name);
                if member.is_none() && closed {
                    walk.note(Problem::UnknownField);
                } else if !seen.insert(name.clone()) {
                    walk.note(Problem::DuplicateField);
                }
                map.next_value_seed(Seed { node: member, walk })
            });
            members.insert(name, value?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
