//! The table's types and look-ups.

use std::ops::Deref;
use std::sync::OnceLock;

use crate::load;

/// All types that this API serves, by name and by kind.
#[derive(Debug)]
pub struct Schema {
    pub(crate) types: Vec<Type>,
    /// Sorted by group, version and kind.
    pub(crate) kinds: Vec<(GroupVersionKind, TypeRef)>,
}

/// A type of the [`Schema`]; dereferences to [`Type`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeRef(pub(crate) u16);

/// A message of the API, such as `io.k8s.api.core.v1.PodSpec`.
#[derive(Debug)]
pub struct Type {
    /// The name that OpenAPI documents use.
    pub name: &'static str,
    /// How the type is written in JSON and protobuf.
    pub form: Form,
    /// Members, sorted by their JSON name.
    pub fields: Vec<Field>,
    /// The kinds that this type is the schema of.
    pub kinds: Vec<GroupVersionKind>,
    /// Whether appliers own the whole value (`+structType=atomic`).
    pub atomic: bool,
    /// Whether a protobuf form is known.
    pub has_protobuf: bool,
    /// The protobuf members, sorted by tag.
    pub(crate) wire: Vec<WireField>,
    /// The members, by index, that JSON shows even when nothing set them.
    pub(crate) always: Vec<usize>,
}

/// A member of a type.
#[derive(Debug)]
pub struct Field {
    /// The JSON name.
    pub name: &'static str,
    /// The type of the value.
    pub ty: ValueType,
    /// The protobuf tags that lead to it: one, or more where Go embeds a
    /// struct that JSON shows flat; none for members that only JSON has.
    pub tags: Vec<u32>,
    /// When JSON shows the member.
    pub presence: Presence,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// How appliers merge a list.
    pub list_type: Option<ListType>,
    /// The keys of a list that merges as a map.
    pub list_map_keys: Vec<&'static str>,
    /// How appliers merge a map or struct.
    pub map_type: Option<MapType>,
    /// The key by which strategic merge patches find list items.
    pub patch_merge_key: Option<&'static str>,
    /// What strategic merge patches do with the member.
    pub patch_strategies: Strategies,
    /// The default, as JSON.
    pub default: Option<&'static str>,
}

/// A group, a version and a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Bool,
    /// A number of 32 bits.
    Int32,
    /// A number of 64 bits.
    Int64,
    /// A floating point number.
    Double,
    /// Text.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// Any JSON.
    Any,
    /// A message or one of the special forms.
    Type(TypeRef),
    /// A list.
    List(Box<ValueType>),
    /// A list that protobuf wraps in a message of its own.
    WrappedList(Box<ValueType>),
    /// A map with text keys.
    Map(Box<ValueType>),
}

/// How a type is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON object with known members.
    Object,
    /// A time in whole seconds.
    Time,
    /// A time in microseconds.
    MicroTime,
    /// A quantity such as `100m`.
    Quantity,
    /// A number or text.
    IntOrString,
    /// An object of another API, kept as it is.
    RawExtension,
    /// Any JSON value, kept as it is.
    Json,
    /// A set of field paths.
    FieldsV1,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of texts.
    SchemaOrStrings,
    /// Any JSON without a protobuf form.
    Any,
}

/// When JSON shows a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// When it is set, even to its zero value (a Go pointer).
    Pointer,
    /// When it is not zero or empty (`omitempty`).
    OmitEmpty,
    /// Always; an unset list, map or pointer shows as `null`.
    Always,
    /// Always, as `{}` when nothing in it is set (a Go struct).
    Value,
    /// Always; an unset time shows as `null`.
    NullableTime,
}

/// How appliers merge a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// One owner for the whole list.
    Atomic,
    /// Items are owned by their value.
    Set,
    /// Items are owned by their keys.
    Map,
}

/// How appliers merge a map or struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// One owner for the whole value.
    Atomic,
    /// Each entry has its owners.
    Granular,
}

/// What a strategic merge patch does with a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategies {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// The value is replaced.
    pub replace: bool,
    /// `$retainKeys` says which keys stay.
    pub retain_keys: bool,
}

/// A protobuf member: a JSON member, or an embedded message whose members are
/// members of this type in JSON.
#[derive(Debug)]
pub(crate) struct WireField {
    pub tag: u32,
    pub what: WireContent,
}

#[derive(Debug)]
pub(crate) enum WireContent {
    /// Index into [`Type::fields`].
    Member(usize),
    Embedded(Vec<WireField>),
}

impl Schema {
    /// The table of Kubernetes' own types.
    #[must_use]
    pub fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(load::load)
    }

    /// The type of an OpenAPI name such as `io.k8s.api.core.v1.Pod`.
    #[must_use]
    pub fn type_by_name(&self, name: &str) -> Option<TypeRef> {
        let at = self.types.binary_search_by(|ty| ty.name.cmp(name)).ok()?;
        Some(TypeRef(
            u16::try_from(at).expect("the table has fewer types than u16 can count"),
        ))
    }

    /// The type of a kind; `group` is empty for the core group. The options
    /// kinds (`DeleteOptions`, `CreateOptions`, …), `Status`, `WatchEvent` and
    /// `Table` belong to every group version.
    #[must_use]
    pub fn type_for(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef> {
        let found = self.kinds.binary_search_by(|(gvk, _)| {
            (gvk.group, gvk.version, gvk.kind).cmp(&(group, version, kind))
        });
        match found {
            Ok(at) => Some(self.kinds[at].1),
            Err(_)
                if kind.ends_with("Options")
                    || matches!(
                        kind,
                        "Status"
                            | "WatchEvent"
                            | "PartialObjectMetadata"
                            | "PartialObjectMetadataList"
                    ) =>
            {
                self.type_by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
            }
            Err(_) => None,
        }
    }

    /// The type of an object by its `apiVersion` and `kind`.
    #[must_use]
    pub fn type_for_api_version(&self, api_version: &str, kind: &str) -> Option<TypeRef> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.type_for(group, version, kind)
    }

    /// Every type, sorted by name.
    pub fn types(&self) -> impl Iterator<Item = TypeRef> {
        (0..self.types.len()).map(|at| {
            TypeRef(u16::try_from(at).expect("the table has fewer types than u16 can count"))
        })
    }

    /// Every kind with its type, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = (GroupVersionKind, TypeRef)> {
        self.kinds.iter().copied()
    }
}

impl Deref for TypeRef {
    type Target = Type;

    fn deref(&self) -> &'static Type {
        &Schema::get().types[usize::from(self.0)]
    }
}

impl Type {
    /// The member of that JSON name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self
            .fields
            .binary_search_by(|field| field.name.cmp(name))
            .ok()?;
        Some(&self.fields[at])
    }

    /// The last part of the name: `PodSpec`.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

impl Field {
    /// The protobuf tag, if protobuf knows the member directly.
    #[must_use]
    pub fn tag(&self) -> Option<u32> {
        self.tags.last().copied()
    }

    /// Whether Go embeds the struct that has this member.
    #[must_use]
    pub fn inline(&self) -> bool {
        self.tags.len() > 1
    }
}

impl ValueType {
    /// The type of a message or special form.
    #[must_use]
    pub fn as_type(&self) -> Option<TypeRef> {
        match self {
            Self::Type(ty) => Some(*ty),
            _ => None,
        }
    }

    /// The type of a list's items or a map's values.
    #[must_use]
    pub fn element(&self) -> Option<&Self> {
        match self {
            Self::List(inner) | Self::WrappedList(inner) | Self::Map(inner) => Some(inner),
            _ => None,
        }
    }
}
