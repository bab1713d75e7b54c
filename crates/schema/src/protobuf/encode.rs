//! Objects to bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::ProtobufError;
use super::wire::{FIXED64, put_bytes, put_message, put_number, put_tag};
use crate::table::{Form, Schema, Type, TypeRef, ValueType, WireContent, WireField};

type Out = Vec<u8>;
type Done = Result<(), ProtobufError>;

/// Encodes the members of `value`, without tag or length.
pub(super) fn message(ty: TypeRef, value: &Value, out: &mut Out) -> Done {
    special(ty, ty.short_name(), value, out)
}

fn mismatch(member: &'static str, expected: &'static str) -> ProtobufError {
    ProtobufError::Mismatch { member, expected }
}

fn members(ty: &Type, wire: &[WireField], object: &Map<String, Value>, out: &mut Out) -> Done {
    for field in wire {
        match &field.what {
            WireContent::Member(at) => {
                let member = &ty.fields[*at];
                match object.get(member.name) {
                    None | Some(Value::Null) => {}
                    Some(content) => value(field.tag, member.name, &member.ty, content, out)?,
                }
            }
            WireContent::Embedded(inner) => {
                let start = out.len();
                put_message(out, field.tag, |out| members(ty, inner, object, out))?;
                // Nothing of the embedded struct is set: tag and length only.
                if out.len() == start + tag_len(field.tag) + 1 {
                    out.truncate(start);
                }
            }
        }
    }
    Ok(())
}

fn tag_len(tag: u32) -> usize {
    if tag < 16 { 1 } else { 2 }
}

fn value(tag: u32, name: &'static str, ty: &ValueType, content: &Value, out: &mut Out) -> Done {
    match ty {
        ValueType::Bool => {
            let on = content
                .as_bool()
                .ok_or_else(|| mismatch(name, "a boolean"))?;
            put_number(out, tag, i64::from(on));
        }
        ValueType::Int32 | ValueType::Int64 => {
            let number = integer(content).ok_or_else(|| mismatch(name, "an integer"))?;
            put_number(out, tag, number);
        }
        ValueType::Double => {
            let number = content.as_f64().ok_or_else(|| mismatch(name, "a number"))?;
            put_tag(out, tag, FIXED64);
            out.extend_from_slice(&number.to_le_bytes());
        }
        ValueType::String => {
            let text = content.as_str().ok_or_else(|| mismatch(name, "a string"))?;
            put_bytes(out, tag, text.as_bytes());
        }
        ValueType::Bytes => {
            let text = content
                .as_str()
                .ok_or_else(|| mismatch(name, "a base64 string"))?;
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| mismatch(name, "a base64 string"))?;
            put_bytes(out, tag, &bytes);
        }
        ValueType::Any => return Err(mismatch(name, "a value that protobuf knows")),
        ValueType::Type(inner) => put_message(out, tag, |out| special(*inner, name, content, out))?,
        ValueType::List(inner) => {
            let items = content.as_array().ok_or_else(|| mismatch(name, "a list"))?;
            for item in items {
                element(tag, name, inner, item, out)?;
            }
        }
        ValueType::WrappedList(inner) => {
            let items = content.as_array().ok_or_else(|| mismatch(name, "a list"))?;
            put_message(out, tag, |out| {
                items
                    .iter()
                    .try_for_each(|item| element(1, name, inner, item, out))
            })?;
        }
        ValueType::Map(inner) => {
            let entries = content.as_object().ok_or_else(|| mismatch(name, "a map"))?;
            for (key, item) in entries {
                put_message(out, tag, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    element(2, name, inner, item, out)
                })?;
            }
        }
    }
    Ok(())
}

/// An item of a list or map: `null` is the zero value, which keeps its place.
fn element(tag: u32, name: &'static str, ty: &ValueType, item: &Value, out: &mut Out) -> Done {
    if !item.is_null() {
        return value(tag, name, ty, item, out);
    }
    match ty {
        ValueType::Bool | ValueType::Int32 | ValueType::Int64 => put_number(out, tag, 0),
        ValueType::Double => value(tag, name, ty, &Value::from(0.0), out)?,
        _ => put_bytes(out, tag, b""),
    }
    Ok(())
}

/// JSON numbers that are whole, however they are spelled.
fn integer(content: &Value) -> Option<i64> {
    if let Some(number) = content.as_i64() {
        return Some(number);
    }
    let number = content.as_f64()?;
    (number.fract() == 0.0 && number.abs() < 9.0e18).then_some(number as i64)
}

fn special(ty: TypeRef, name: &'static str, content: &Value, out: &mut Out) -> Done {
    match ty.form {
        Form::Object => {
            let object = content
                .as_object()
                .ok_or_else(|| mismatch(name, "an object"))?;
            let ty: &Type = &ty;
            members(ty, &ty.wire, object, out)
        }
        Form::Time | Form::MicroTime => time(ty.form, name, content, out),
        Form::Quantity => match content {
            Value::String(text) => {
                put_bytes(out, 1, text.as_bytes());
                Ok(())
            }
            Value::Number(number) => {
                put_bytes(out, 1, number.to_string().as_bytes());
                Ok(())
            }
            _ => Err(mismatch(name, "a quantity")),
        },
        Form::IntOrString => int_or_string(name, content, out),
        Form::RawExtension | Form::Json | Form::FieldsV1 => {
            let bytes = serde_json::to_vec(content).map_err(|_| mismatch(name, "JSON"))?;
            put_bytes(out, 1, &bytes);
            Ok(())
        }
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
            schema_or(ty.form, name, content, out)
        }
        Form::Any => Err(mismatch(name, "a value that protobuf knows")),
    }
}

/// Times are stored in whole seconds, micro times with nanoseconds.
fn time(form: Form, name: &'static str, content: &Value, out: &mut Out) -> Done {
    if content.is_null() {
        return Ok(());
    }
    let time = content
        .as_str()
        .and_then(kontiki_object::time::parse)
        .ok_or_else(|| mismatch(name, "a time"))?;
    let mut seconds = time.as_second();
    let mut nanos = time.subsec_nanosecond();
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    put_number(out, 1, seconds);
    let nanos = if form == Form::MicroTime {
        nanos / 1_000 * 1_000
    } else {
        0
    };
    put_number(out, 2, i64::from(nanos));
    Ok(())
}

fn int_or_string(name: &'static str, content: &Value, out: &mut Out) -> Done {
    let (kind, number, text) = match content {
        Value::String(text) => (1, 0, text.as_str()),
        other => (
            0,
            integer(other).ok_or_else(|| mismatch(name, "an integer or a string"))?,
            "",
        ),
    };
    put_number(out, 1, kind);
    put_number(out, 2, number);
    put_bytes(out, 3, text.as_bytes());
    Ok(())
}

/// `JSONSchemaPropsOrArray` and its siblings: the schema has tag 1 or 2, the
/// alternative the other.
fn schema_or(form: Form, name: &'static str, content: &Value, out: &mut Out) -> Done {
    let schema = Schema::get()
        .type_by_name(super::decode::SCHEMA_PROPS)
        .expect("the table has JSONSchemaProps");
    let put_schema = |out: &mut Out, tag, content: &Value| {
        put_message(out, tag, |out| special(schema, name, content, out))
    };
    match (form, content) {
        (Form::SchemaOrBool, Value::Bool(allows)) => put_number(out, 1, i64::from(*allows)),
        (Form::SchemaOrBool, Value::Object(_)) => {
            put_number(out, 1, 1);
            put_schema(out, 2, content)?;
        }
        (Form::SchemaOrArray, Value::Array(items)) => {
            for item in items {
                put_schema(out, 2, item)?;
            }
        }
        (Form::SchemaOrStrings, Value::Array(items)) => {
            for item in items {
                put_bytes(
                    out,
                    2,
                    item.as_str()
                        .ok_or_else(|| mismatch(name, "a list of strings"))?
                        .as_bytes(),
                );
            }
        }
        (Form::SchemaOrArray | Form::SchemaOrStrings, Value::Object(_)) => {
            put_schema(out, 1, content)?
        }
        _ => return Err(mismatch(name, "a JSON schema or its alternative")),
    }
    Ok(())
}
