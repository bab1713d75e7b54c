//! Bytes to objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::wire::{BYTES, FIXED64, Member, Reader, VARINT};
use super::{DEPTH_MAX, ProtobufError};
use crate::normal;
use crate::table::{Form, Presence, Schema, Type, TypeRef, ValueType, WireContent, WireField};

pub(super) const SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

type Decoded = Result<Value, ProtobufError>;

/// How much may still be made: a message of two bytes can become a tree of
/// kilobytes, so messages are counted against the length of the input.
struct Budget {
    messages: usize,
    depth: usize,
}

/// Decodes a bare message.
pub(super) fn message(ty: TypeRef, bytes: &[u8]) -> Decoded {
    let mut budget = Budget {
        messages: 1_000 + bytes.len() / 8,
        depth: DEPTH_MAX,
    };
    special(ty, ty.short_name(), bytes, &mut budget)
}

fn object(ty: TypeRef, bytes: &[u8], budget: &mut Budget) -> Decoded {
    budget.messages = budget
        .messages
        .checked_sub(1)
        .ok_or(ProtobufError::Unreasonable)?;
    budget.depth = budget
        .depth
        .checked_sub(1)
        .ok_or(ProtobufError::Unreasonable)?;
    let ty: &Type = &ty;
    let mut object = Map::new();
    members(ty, &ty.wire, bytes, &mut object, budget)?;
    normal::complete(ty, &mut object);
    budget.depth += 1;
    Ok(Value::Object(object))
}

fn members(
    ty: &Type,
    wire: &[WireField],
    bytes: &[u8],
    object: &mut Map<String, Value>,
    budget: &mut Budget,
) -> Result<(), ProtobufError> {
    let mut reader = Reader::new(bytes);
    while let Some(member) = reader.next()? {
        let Ok(at) = wire.binary_search_by_key(&member.tag, |field| field.tag) else {
            continue;
        };
        match &wire[at].what {
            WireContent::Embedded(inner) => {
                expect(&member, BYTES, ty.short_name())?;
                members(ty, inner, member.bytes, object, budget)?;
            }
            WireContent::Member(at) => {
                let field = &ty.fields[*at];
                read(field.name, &field.ty, &member, object, budget)?;
                if field.presence == Presence::OmitEmpty
                    && object.get(field.name).is_some_and(normal::is_empty)
                {
                    object.remove(field.name);
                }
            }
        }
    }
    Ok(())
}

/// Reads one occurrence of a member into the object.
fn read(
    name: &'static str,
    ty: &ValueType,
    member: &Member<'_>,
    object: &mut Map<String, Value>,
    budget: &mut Budget,
) -> Result<(), ProtobufError> {
    match ty {
        ValueType::List(inner) => {
            let list = object
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else {
                return Ok(());
            };
            if member.wire_type == BYTES
                && matches!(
                    **inner,
                    ValueType::Bool | ValueType::Int32 | ValueType::Int64
                )
            {
                let mut packed = Reader::new(member.bytes);
                while !packed.is_empty() {
                    items.push(number(inner, packed.varint()?));
                }
            } else {
                items.push(single(name, inner, member, budget)?);
            }
        }
        ValueType::Map(inner) => {
            expect(member, BYTES, name)?;
            let (key, value) = entry(name, inner, member.bytes, budget)?;
            let map = object
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        }
        _ => {
            let value = single(name, ty, member, budget)?;
            object.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn entry(
    name: &'static str,
    ty: &ValueType,
    bytes: &[u8],
    budget: &mut Budget,
) -> Result<(String, Value), ProtobufError> {
    let mut key = String::new();
    let mut value = None;
    let mut reader = Reader::new(bytes);
    while let Some(member) = reader.next()? {
        match member.tag {
            1 => key = text(name, &member)?,
            2 => value = Some(single(name, ty, &member, budget)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => zero(name, ty, budget)?,
    };
    Ok((key, value))
}

fn zero(name: &'static str, ty: &ValueType, budget: &mut Budget) -> Decoded {
    Ok(match ty {
        ValueType::Type(ty) => special(*ty, name, &[], budget)?,
        ValueType::Bytes => Value::String(String::new()),
        other => normal::zero(other),
    })
}

fn expect(member: &Member<'_>, wire_type: u8, name: &'static str) -> Result<(), ProtobufError> {
    if member.wire_type == wire_type {
        return Ok(());
    }
    Err(ProtobufError::WrongWireType {
        member: name,
        wire_type: member.wire_type,
    })
}

fn number(ty: &ValueType, number: u64) -> Value {
    match ty {
        ValueType::Bool => Value::Bool(number != 0),
        ValueType::Int32 => Value::from(number as u32 as i32),
        _ => Value::from(number as i64),
    }
}

fn text(name: &'static str, member: &Member<'_>) -> Result<String, ProtobufError> {
    expect(member, BYTES, name)?;
    std::str::from_utf8(member.bytes)
        .map(str::to_owned)
        .map_err(|_| ProtobufError::Invalid {
            member: name,
            what: "UTF-8",
        })
}

fn single(name: &'static str, ty: &ValueType, member: &Member<'_>, budget: &mut Budget) -> Decoded {
    match ty {
        ValueType::Bool | ValueType::Int32 | ValueType::Int64 => {
            expect(member, VARINT, name)?;
            Ok(number(ty, member.number))
        }
        ValueType::Double => {
            expect(member, FIXED64, name)?;
            Ok(Value::from(f64::from_bits(member.number)))
        }
        ValueType::String => text(name, member).map(Value::String),
        ValueType::Bytes => {
            expect(member, BYTES, name)?;
            Ok(Value::String(STANDARD.encode(member.bytes)))
        }
        ValueType::Type(ty) => {
            expect(member, BYTES, name)?;
            special(*ty, name, member.bytes, budget)
        }
        ValueType::WrappedList(inner) => {
            expect(member, BYTES, name)?;
            let mut items = Vec::new();
            let mut reader = Reader::new(member.bytes);
            while let Some(item) = reader.next()? {
                if item.tag == 1 {
                    items.push(single(name, inner, &item, budget)?);
                }
            }
            Ok(Value::Array(items))
        }
        // Lists of lists and the like do not exist in protobuf.
        ValueType::List(_) | ValueType::Map(_) | ValueType::Any => Ok(Value::Null),
    }
}

fn special(ty: TypeRef, name: &'static str, bytes: &[u8], budget: &mut Budget) -> Decoded {
    match ty.form {
        Form::Object => object(ty, bytes, budget),
        Form::Time | Form::MicroTime => time(ty.form, bytes),
        Form::Quantity => {
            let mut quantity = "0".to_owned();
            each(bytes, |member| {
                if member.tag == 1 {
                    let written = text(name, &member)?;
                    quantity = if written.is_empty() {
                        "0".to_owned()
                    } else {
                        written
                    };
                }
                Ok(())
            })?;
            Ok(Value::String(quantity))
        }
        Form::IntOrString => int_or_string(name, bytes),
        Form::RawExtension | Form::Json | Form::FieldsV1 | Form::Any => raw(name, bytes, budget),
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
            schema_or(ty.form, name, bytes, budget)
        }
    }
}

fn each<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(Member<'a>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    let mut reader = Reader::new(bytes);
    while let Some(member) = reader.next()? {
        visit(member)?;
    }
    Ok(())
}

fn time(form: Form, bytes: &[u8]) -> Decoded {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    each(bytes, |member| {
        match member.tag {
            1 => seconds = member.number as i64,
            2 => nanos = member.number as u32 as i32,
            _ => {}
        }
        Ok(())
    })?;
    let invalid = |_| ProtobufError::Invalid {
        member: "time",
        what: "time",
    };
    let time = Timestamp::new(seconds, nanos.clamp(0, 999_999_999)).map_err(invalid)?;
    Ok(Value::String(if form == Form::MicroTime {
        kontiki_object::time::format_micro(time)
    } else {
        kontiki_object::time::format(time)
    }))
}

fn int_or_string(name: &'static str, bytes: &[u8]) -> Decoded {
    let (mut kind, mut number, mut written) = (0, 0_i32, String::new());
    each(bytes, |member| {
        match member.tag {
            1 => kind = member.number,
            2 => number = member.number as u32 as i32,
            3 => written = text(name, &member)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if kind == 1 {
        Value::String(written)
    } else {
        Value::from(number)
    })
}

/// Embedded objects are JSON, or protobuf with an envelope of their own.
fn raw(name: &'static str, bytes: &[u8], budget: &mut Budget) -> Decoded {
    let mut content: &[u8] = b"";
    each(bytes, |member| {
        if member.tag == 1 {
            content = member.bytes;
        }
        Ok(())
    })?;
    if content.is_empty() {
        return Ok(Value::Null);
    }
    if super::has_envelope(content) {
        let envelope = super::open(content)?;
        budget.depth = budget
            .depth
            .checked_sub(1)
            .ok_or(ProtobufError::Unreasonable)?;
        let ty = Schema::get().type_for_api_version(&envelope.api_version, &envelope.kind);
        if let Some(ty) = ty {
            let mut value = special(ty, name, envelope.raw, budget)?;
            envelope.stamp(&mut value);
            budget.depth += 1;
            return Ok(value);
        }
    }
    serde_json::from_slice(content).map_err(|_| ProtobufError::Invalid {
        member: name,
        what: "JSON",
    })
}

fn schema_or(form: Form, name: &'static str, bytes: &[u8], budget: &mut Budget) -> Decoded {
    let schema = Schema::get()
        .type_by_name(SCHEMA_PROPS)
        .expect("the table has JSONSchemaProps");
    let mut props = None;
    let mut items = Vec::new();
    let mut allows = false;
    each(bytes, |member| {
        match (form, member.tag) {
            (Form::SchemaOrBool, 1) => allows = member.number != 0,
            (Form::SchemaOrBool, 2) | (Form::SchemaOrArray | Form::SchemaOrStrings, 1) => {
                expect(&member, BYTES, name)?;
                props = Some(special(schema, name, member.bytes, budget)?);
            }
            (Form::SchemaOrArray, 2) => {
                expect(&member, BYTES, name)?;
                items.push(special(schema, name, member.bytes, budget)?);
            }
            (Form::SchemaOrStrings, 2) => items.push(Value::String(text(name, &member)?)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match (props, form) {
        (Some(props), _) => props,
        (None, Form::SchemaOrBool) => Value::Bool(allows),
        (None, _) => Value::Array(items),
    })
}
