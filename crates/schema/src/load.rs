//! Reads the table that the build script wrote. Its columns are described
//! there; a line that does not fit is a fault of this crate's build.

use crate::table::{
    Field, Form, GroupVersionKind, ListType, MapType, Presence, Schema, Strategies, Type, TypeRef,
    ValueType, WireContent, WireField,
};

static TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/table.tsv"));

/// Builds the schema from the table.
pub(crate) fn load() -> Schema {
    let mut types: Vec<Type> = Vec::new();
    for line in TABLE.lines() {
        let mut columns = line.split('\t');
        match columns.next() {
            Some("T") => types.push(read_type(&mut columns)),
            _ => types
                .last_mut()
                .expect("a type precedes its fields")
                .fields
                .push(read_field(&mut columns)),
        }
    }
    for ty in &mut types {
        ty.wire = wire_fields(&ty.fields);
        ty.always = (0..ty.fields.len())
            .filter(|at| {
                !matches!(
                    ty.fields[*at].presence,
                    Presence::Pointer | Presence::OmitEmpty
                )
            })
            .collect();
    }
    let mut kinds: Vec<(GroupVersionKind, TypeRef)> = types
        .iter()
        .enumerate()
        .flat_map(|(at, ty)| {
            let at =
                TypeRef(u16::try_from(at).expect("the table has fewer types than u16 can count"));
            ty.kinds.iter().map(move |kind| (*kind, at))
        })
        .collect();
    kinds.sort_unstable();
    Schema { types, kinds }
}

fn next<'a>(columns: &mut impl Iterator<Item = &'a str>) -> &'a str {
    columns
        .next()
        .expect("the build script writes every column")
}

fn read_type(columns: &mut impl Iterator<Item = &'static str>) -> Type {
    let name = next(columns);
    let form = match next(columns) {
        "object" => Form::Object,
        "time" => Form::Time,
        "microtime" => Form::MicroTime,
        "quantity" => Form::Quantity,
        "intorstring" => Form::IntOrString,
        "raw" => Form::RawExtension,
        "json" => Form::Json,
        "fieldsv1" => Form::FieldsV1,
        "schemaorarray" => Form::SchemaOrArray,
        "schemaorbool" => Form::SchemaOrBool,
        "schemaorstrings" => Form::SchemaOrStrings,
        _ => Form::Any,
    };
    let atomic = next(columns) == "atomic";
    let has_protobuf = next(columns) == "wire";
    let kinds = list(next(columns))
        .filter_map(|kind| {
            let mut parts = kind.split('/');
            Some(GroupVersionKind {
                group: parts.next()?,
                version: parts.next()?,
                kind: parts.next()?,
            })
        })
        .collect();
    Type {
        name,
        form,
        fields: Vec::new(),
        kinds,
        atomic,
        has_protobuf,
        wire: Vec::new(),
        always: Vec::new(),
    }
}

fn read_field(columns: &mut impl Iterator<Item = &'static str>) -> Field {
    let name = next(columns);
    let ty = value_type(next(columns));
    let tags = next(columns)
        .split('.')
        .filter_map(|tag| tag.parse().ok())
        .collect();
    let presence = match next(columns) {
        "p" => Presence::Pointer,
        "a" => Presence::Always,
        "v" => Presence::Value,
        "n" => Presence::NullableTime,
        _ => Presence::OmitEmpty,
    };
    let required = next(columns) == "r";
    let list_type = match next(columns) {
        "atomic" => Some(ListType::Atomic),
        "set" => Some(ListType::Set),
        "map" => Some(ListType::Map),
        _ => None,
    };
    let list_map_keys = list(next(columns)).collect();
    let map_type = match next(columns) {
        "atomic" => Some(MapType::Atomic),
        "granular" => Some(MapType::Granular),
        _ => None,
    };
    let patch_merge_key = some(next(columns));
    let strategies = next(columns);
    let has = |word: &str| strategies.split(',').any(|strategy| strategy == word);
    let patch_strategies = Strategies {
        merge: has("merge"),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
    };
    let default = some(next(columns));
    Field {
        name,
        ty,
        tags,
        presence,
        required,
        list_type,
        list_map_keys,
        map_type,
        patch_merge_key,
        patch_strategies,
        default,
    }
}

fn some(text: &'static str) -> Option<&'static str> {
    (!text.is_empty()).then_some(text)
}

fn list(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn value_type(code: &str) -> ValueType {
    let inner = |code: &str| Box::new(value_type(code));
    let rest = code.get(1..).unwrap_or_default();
    match code.as_bytes().first() {
        Some(b'b') => ValueType::Bool,
        Some(b'i') => ValueType::Int32,
        Some(b'l') => ValueType::Int64,
        Some(b'd') => ValueType::Double,
        Some(b's') => ValueType::String,
        Some(b'y') => ValueType::Bytes,
        Some(b'[') => ValueType::List(inner(rest)),
        Some(b'w') => ValueType::WrappedList(inner(rest)),
        Some(b'{') => ValueType::Map(inner(rest)),
        Some(b'#') => ValueType::Type(TypeRef(
            rest.parse().expect("the build script numbers types"),
        )),
        _ => ValueType::Any,
    }
}

/// The protobuf members in tag order, with embedded messages as trees.
fn wire_fields(fields: &[Field]) -> Vec<WireField> {
    let mut wire = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        insert(&mut wire, &field.tags, at);
    }
    sort(&mut wire);
    wire
}

fn insert(wire: &mut Vec<WireField>, tags: &[u32], at: usize) {
    match tags {
        [] => {}
        [tag] => wire.push(WireField {
            tag: *tag,
            what: WireContent::Member(at),
        }),
        [tag, rest @ ..] => {
            let embedded = wire.iter_mut().find_map(|field| match &mut field.what {
                WireContent::Embedded(inner) if field.tag == *tag => Some(inner),
                _ => None,
            });
            match embedded {
                Some(inner) => insert(inner, rest, at),
                None => {
                    let mut inner = Vec::new();
                    insert(&mut inner, rest, at);
                    wire.push(WireField {
                        tag: *tag,
                        what: WireContent::Embedded(inner),
                    });
                }
            }
        }
    }
}

fn sort(wire: &mut [WireField]) {
    wire.sort_by_key(|field| field.tag);
    for field in wire {
        if let WireContent::Embedded(inner) = &mut field.what {
            sort(inner);
        }
    }
}
