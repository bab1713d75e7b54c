//! A position in the schema of an object, built-in or custom, so that pruning,
//! patching and applying are written once for both.

use serde_json::{Map, Value};

use crate::table::{Field, Form, ListType, MapType, Schema, Strategies, TypeRef, ValueType};

/// What kind of value a position holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object with known members.
    Struct,
    /// An object with any keys.
    Map,
    /// A list.
    List,
    /// Anything without members.
    Scalar,
    /// Whatever the value turns out to be.
    Unknown,
}

/// A position in a schema.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    at: At<'a>,
}

#[derive(Clone, Copy, Debug)]
enum At<'a> {
    /// A type of the table, at the root of an object or in a list or map.
    Type(&'static ValueType),
    Root(TypeRef),
    /// A member, which carries merge rules of its own.
    Member(&'static Field),
    /// A structural schema; `resource` where it describes a whole object.
    Custom {
        schema: &'a Map<String, Value>,
        resource: bool,
    },
    /// Below a preserved part of a custom object.
    Untyped,
    /// A value that has one owner, whatever is in it.
    Atomic,
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl<'a> Node<'a> {
    /// The root of a built-in type.
    #[must_use]
    pub fn of(ty: TypeRef) -> Self {
        Self { at: At::Root(ty) }
    }

    /// The root of a custom type: the `openAPIV3Schema` of its version.
    #[must_use]
    pub fn custom(schema: &'a Value) -> Self {
        match schema.as_object() {
            Some(schema) => Self {
                at: At::Custom {
                    schema,
                    resource: true,
                },
            },
            None => Self::untyped(),
        }
    }

    /// A position that nothing is known of: lists are atomic, maps are not.
    #[must_use]
    pub fn untyped() -> Self {
        Self { at: At::Untyped }
    }

    fn value_type(self) -> Option<&'static ValueType> {
        match self.at {
            At::Type(ty) => Some(ty),
            At::Member(field) => Some(&field.ty),
            _ => None,
        }
    }

    /// The built-in type here, if it is a message or special form.
    #[must_use]
    pub fn type_ref(self) -> Option<TypeRef> {
        match self.at {
            At::Root(ty) => Some(ty),
            _ => self.value_type()?.as_type(),
        }
    }

    /// The type of a plain scalar here; custom `integer`s are `Int64`.
    #[must_use]
    pub fn scalar_type(self) -> Option<&'static ValueType> {
        if let At::Custom { schema, .. } = self.at {
            return match schema.get("type").and_then(Value::as_str)? {
                "integer" => Some(&ValueType::Int64),
                "number" => Some(&ValueType::Double),
                "string" => Some(&ValueType::String),
                "boolean" => Some(&ValueType::Bool),
                _ => None,
            };
        }
        self.value_type()
            .filter(|ty| ty.element().is_none() && ty.as_type().is_none())
    }

    /// What kind of value belongs here.
    #[must_use]
    pub fn shape(self) -> Shape {
        if let At::Custom { schema, .. } = self.at {
            return custom_shape(schema);
        }
        if let Some(ty) = self.type_ref() {
            return match ty.form {
                Form::Object => Shape::Struct,
                Form::RawExtension | Form::Json | Form::FieldsV1 | Form::Any => Shape::Unknown,
                Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => Shape::Unknown,
                _ => Shape::Scalar,
            };
        }
        match self.value_type() {
            Some(ValueType::List(_) | ValueType::WrappedList(_)) => Shape::List,
            Some(ValueType::Map(_)) => Shape::Map,
            Some(ValueType::Any) | None => Shape::Unknown,
            Some(_) => Shape::Scalar,
        }
    }

    /// The position of a member or map entry; `None` if there is no such
    /// member.
    #[must_use]
    pub fn member(self, name: &str) -> Option<Self> {
        match self.at {
            At::Untyped => return Some(self),
            At::Atomic => return Some(self),
            At::Custom { schema, resource } => return custom_member(schema, resource, name),
            _ => {}
        }
        if let Some(ty) = self.type_ref() {
            return match ty.form {
                Form::Object => {
                    let ty: &'static crate::Type = type_of(ty);
                    ty.field(name).map(|field| Self {
                        at: At::Member(field),
                    })
                }
                _ => Some(Self { at: At::Atomic }),
            };
        }
        match self.value_type() {
            Some(ValueType::Map(inner)) => Some(Self {
                at: At::Type(inner),
            }),
            Some(ValueType::Any) => Some(Self { at: At::Atomic }),
            _ => None,
        }
    }

    /// Whether the schema names that member, rather than letting any in.
    #[must_use]
    pub fn declares(self, name: &str) -> bool {
        match self.at {
            At::Custom { schema, resource } => {
                let standard = resource && matches!(name, "apiVersion" | "kind" | "metadata");
                standard
                    || schema
                        .get("properties")
                        .is_some_and(|properties| properties.get(name).is_some())
            }
            _ => self.type_ref().is_some_and(|ty| ty.field(name).is_some()),
        }
    }

    /// The position of a list's items.
    #[must_use]
    pub fn item(self) -> Self {
        match self.at {
            At::Custom { schema, .. } => match schema.get("items").and_then(Value::as_object) {
                Some(schema) => custom_node(schema),
                None => Self::untyped(),
            },
            _ => match self.value_type().and_then(ValueType::element) {
                Some(inner) => Self {
                    at: At::Type(inner),
                },
                None => Self { at: At::Atomic },
            },
        }
    }

    /// How appliers merge the list here.
    #[must_use]
    pub fn list_type(self) -> ListType {
        match self.at {
            At::Member(field) => field.list_type.unwrap_or(ListType::Atomic),
            At::Custom { schema, .. } => {
                match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                    Some("set") => ListType::Set,
                    Some("map") => ListType::Map,
                    _ => ListType::Atomic,
                }
            }
            _ => ListType::Atomic,
        }
    }

    /// The keys of items in a list that merges as a map.
    #[must_use]
    pub fn list_map_keys(self) -> Vec<&'a str> {
        match self.at {
            At::Member(field) => field.list_map_keys.clone(),
            At::Custom { schema, .. } => schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the map or struct here has one owner.
    #[must_use]
    pub fn is_atomic(self) -> bool {
        // Embedded objects have one owner, whatever is in them.
        let of_type = self
            .type_ref()
            .is_some_and(|ty| ty.atomic || ty.form != Form::Object);
        match self.at {
            At::Atomic => true,
            At::Member(field) => of_type || field.map_type == Some(MapType::Atomic),
            At::Custom { schema, .. } => {
                schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic")
            }
            _ => of_type,
        }
    }

    /// The key by which strategic merge patches find items.
    #[must_use]
    pub fn patch_merge_key(self) -> Option<&'static str> {
        match self.at {
            At::Member(field) => field.patch_merge_key,
            _ => None,
        }
    }

    /// What strategic merge patches do here.
    #[must_use]
    pub fn patch_strategies(self) -> Strategies {
        match self.at {
            At::Member(field) => field.patch_strategies,
            _ => Strategies::default(),
        }
    }

    /// The default of the value here.
    #[must_use]
    pub fn default_value(self) -> Option<Value> {
        match self.at {
            At::Member(field) => serde_json::from_str(field.default?).ok(),
            At::Custom { schema, .. } => schema.get("default").cloned(),
            _ => None,
        }
    }

    /// Whether unknown members stay.
    #[must_use]
    pub fn preserves_unknown(self) -> bool {
        match self.at {
            At::Custom { schema, .. } => preserves(schema),
            At::Untyped | At::Atomic => true,
            _ => self.shape() == Shape::Unknown,
        }
    }
}

/// A [`TypeRef`] always names a type of the one table.
fn type_of(ty: TypeRef) -> &'static crate::Type {
    &Schema::get().types[usize::from(ty.0)]
}

fn preserves(schema: &Map<String, Value>) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn custom_node(schema: &Map<String, Value>) -> Node<'_> {
    let resource = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    Node {
        at: At::Custom { schema, resource },
    }
}

fn custom_shape(schema: &Map<String, Value>) -> Shape {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return Shape::Scalar;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object")
            if schema
                .get("additionalProperties")
                .is_some_and(|more| *more != Value::Bool(false)) =>
        {
            Shape::Map
        }
        Some("object") => Shape::Struct,
        Some("array") => Shape::List,
        Some(_) => Shape::Scalar,
        None => Shape::Unknown,
    }
}

fn custom_member<'a>(
    schema: &'a Map<String, Value>,
    resource: bool,
    name: &str,
) -> Option<Node<'a>> {
    let property = schema
        .get("properties")
        .and_then(|properties| properties.get(name));
    if resource {
        match name {
            "metadata" => {
                let meta = Schema::get()
                    .type_by_name(OBJECT_META)
                    .expect("the table has ObjectMeta");
                return Some(Node::of(meta));
            }
            "apiVersion" | "kind" => {
                return Some(Node {
                    at: At::Type(&ValueType::String),
                });
            }
            _ => {}
        }
    }
    if let Some(property) = property.and_then(Value::as_object) {
        return Some(custom_node(property));
    }
    match schema.get("additionalProperties") {
        Some(Value::Object(more)) => return Some(custom_node(more)),
        Some(Value::Bool(true)) => return Some(Node::untyped()),
        _ => {}
    }
    (preserves(schema) || !schema.contains_key("type")).then(Node::untyped)
}
