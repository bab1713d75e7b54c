//! Field paths and complaints about fields, with the texts of apimachinery's
//! `field.Error`.

use kontiki_object::{Cause, Value};
use std::fmt;

/// The path of a field, for instance `spec.containers[0].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at a top-level field, or at several of them in dotted form.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The root, which prints as `<nil>` as upstream's does.
    #[must_use]
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The field `name` of this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self::new(name)
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    /// What this is a field or entry of; the root of a top-level field.
    #[must_use]
    pub fn parent(&self) -> Self {
        let end = self.0.rfind(['.', '[']).unwrap_or_default();
        Self(self.0[..end].to_owned())
    }

    /// The entry `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something that the field names does not exist.
    NotFound,
    /// The field must be set.
    Required,
    /// The value may occur once only.
    Duplicate,
    /// The value is malformed or out of bounds.
    Invalid,
    /// The value is not one of an enumeration.
    NotSupported,
    /// The value is not allowed here and now.
    Forbidden,
    /// The value is too long to be shown.
    TooLong,
    /// The value is too short.
    TooShort,
    /// The list has too many items.
    TooMany,
    /// The list has too few items.
    TooFew,
    /// The value has the wrong type.
    TypeInvalid,
    /// Nothing that the caller did.
    Internal,
}

impl ErrorKind {
    /// The `reason` of the cause in a `Status`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }
}

/// One complaint about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where.
    pub field: String,
    /// The text without the field's path.
    pub message: String,
}

/// All complaints about one object, in the order in which they were found.
pub type FieldErrors = Vec<FieldError>;

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => crate::go_form::escaped(other.to_string()),
    }
}

/// A text in quotes, escaped as Go's `%q` does.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl FieldError {
    fn build(kind: ErrorKind, path: &Path, value: Option<String>, detail: &str) -> Self {
        let mut message = kind.text().to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            message.push_str(&value);
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        Self {
            kind,
            field: path.to_string(),
            message,
        }
    }

    /// The field must be set.
    #[must_use]
    pub fn required(path: &Path, detail: impl AsRef<str>) -> Self {
        Self::build(ErrorKind::Required, path, None, detail.as_ref())
    }

    /// The value is malformed or out of bounds.
    #[must_use]
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl AsRef<str>) -> Self {
        let value = shown(&value.into());
        Self::build(ErrorKind::Invalid, path, Some(value), detail.as_ref())
    }

    /// The value has the wrong type.
    #[must_use]
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl AsRef<str>) -> Self {
        let value = shown(&value.into());
        Self::build(ErrorKind::TypeInvalid, path, Some(value), detail.as_ref())
    }

    /// The value is not one of `supported`, which are named in the order given.
    #[must_use]
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let values: Vec<String> = supported.iter().map(|value| quote(value)).collect();
        let detail = if values.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", values.join(", "))
        };
        let value = shown(&value.into());
        Self::build(ErrorKind::NotSupported, path, Some(value), &detail)
    }

    /// The value may occur once only.
    #[must_use]
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::build(ErrorKind::Duplicate, path, Some(shown(&value.into())), "")
    }

    /// Something that the field names does not exist.
    #[must_use]
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::build(ErrorKind::NotFound, path, Some(shown(&value.into())), "")
    }

    /// The value is not allowed here and now.
    #[must_use]
    pub fn forbidden(path: &Path, detail: impl AsRef<str>) -> Self {
        Self::build(ErrorKind::Forbidden, path, None, detail.as_ref())
    }

    /// The text is longer than `max` bytes.
    #[must_use]
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {max} {unit}");
        Self::build(ErrorKind::TooLong, path, None, &detail)
    }

    /// The list has `actual` items, which is more than `max`.
    #[must_use]
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::build(ErrorKind::TooMany, path, Some(actual.to_string()), &detail)
    }

    /// The list has `actual` items, which is less than `min`.
    #[must_use]
    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        let unit = if min == 1 { "item" } else { "items" };
        let detail = format!("must have at least {min} {unit}");
        Self::build(ErrorKind::TooFew, path, Some(actual.to_string()), &detail)
    }

    /// The same complaint with a reason that its kind has no room for.
    #[must_use]
    pub fn because(mut self, detail: &str) -> Self {
        self.message.push_str(": ");
        self.message.push_str(detail);
        self
    }

    /// The value is shown as it is given, in the form of the server's own types.
    #[must_use]
    pub fn invalid_shown(path: &Path, shown: String, detail: impl AsRef<str>) -> Self {
        Self::build(ErrorKind::Invalid, path, Some(shown), detail.as_ref())
    }

    /// The same for a value that may occur once only.
    #[must_use]
    pub fn duplicate_shown(path: &Path, shown: String) -> Self {
        Self::build(ErrorKind::Duplicate, path, Some(shown), "")
    }

    /// Nothing that the caller did.
    #[must_use]
    pub fn internal(path: &Path, detail: impl AsRef<str>) -> Self {
        Self::build(ErrorKind::Internal, path, None, detail.as_ref())
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl From<FieldError> for Cause {
    fn from(error: FieldError) -> Self {
        Self {
            reason: error.kind.reason().to_owned(),
            message: error.message,
            field: error.field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn complaints_read_as_apimachinery_writes_them() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        let ports = Path::new("spec").child("ports").key("a");
        for (error, text) in [
            (
                FieldError::required(&path, ""),
                "spec.containers[0].name: Required value",
            ),
            (
                FieldError::required(&path, "why"),
                "spec.containers[0].name: Required value: why",
            ),
            (
                FieldError::invalid(&path, "a\"b", "no"),
                "spec.containers[0].name: Invalid value: \"a\\\"b\": no",
            ),
            (
                FieldError::invalid(&path, json!({"a": [1]}), "no"),
                "spec.containers[0].name: Invalid value: {\"a\":[1]}: no",
            ),
            (
                FieldError::not_supported(&ports, "x", &["TCP", "UDP"]),
                "spec.ports[a]: Unsupported value: \"x\": supported values: \"TCP\", \"UDP\"",
            ),
            (
                FieldError::duplicate(&ports, 7),
                "spec.ports[a]: Duplicate value: 7",
            ),
            (
                FieldError::too_long(&ports, 253),
                "spec.ports[a]: Too long: may not be more than 253 bytes",
            ),
            (
                FieldError::forbidden(&Path::root(), "no"),
                "<nil>: Forbidden: no",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
