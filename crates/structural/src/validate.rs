//! Values against their schema: the checks of kube-openapi's validator, in its
//! order and with its texts.

use crate::formats;
use crate::schema::{Additional, Checks, Form, ListType, Structural};
use kontiki_kinds::{ErrorKind, FieldError, FieldErrors, Path};
use kontiki_object::{Map, Value};

/// Complaints that are told at most.
const COMPLAINTS_MAX: usize = 1000;

/// Complaints about an object. What is equal to its counterpart in `old` is
/// not complained about.
#[must_use]
pub fn object(schema: &Structural, value: &Value, old: Option<&Value>) -> FieldErrors {
    let mut complaints = FieldErrors::new();
    check(schema, value, old, "", &mut complaints);
    complaints
}

/// Complaints about a value below `path`.
pub(crate) fn check(
    schema: &Structural,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    out: &mut FieldErrors,
) {
    if out.len() >= COMPLAINTS_MAX || old.is_some_and(|old| same(old, value)) {
        return;
    }
    check_type(schema, value, path, out);
    if value.is_null() {
        check_allowed(&schema.checks, value, path, out);
        return;
    }
    check_alternatives(&schema.checks, value, old, path, out);
    match value {
        Value::String(text) => check_text(&schema.checks, text, path, out),
        Value::Number(_) => check_number(schema, value, path, out),
        Value::Array(items) => check_items(schema, items, old, path, out),
        _ => {}
    }
    check_allowed(&schema.checks, value, path, out);
    if let Value::Object(members) = value {
        check_members(schema, members, old, path, out);
    }
}

/// Equality of JSON, numbers by their value.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(a, b))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, a)| right.get(name).is_some_and(|b| same(a, b)))
        }
        (left, right) => left == right,
    }
}

fn at(path: &str) -> Path {
    Path::new(path.trim_start_matches('.'))
}

/// The path of a member; the validator's own paths are texts.
pub(crate) fn member_path(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn complain(out: &mut FieldErrors, path: &str, value: impl Into<Value>, text: &str) {
    out.push(FieldError::invalid(
        &at(path),
        value,
        format!("{path} in body {text}"),
    ));
}

/// A complaint without a place of its own.
fn complain_nowhere(out: &mut FieldErrors, text: &str) {
    out.push(FieldError::invalid(&Path::root(), "", text));
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_whole(number.as_f64()) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_whole(number: Option<f64>) -> bool {
    number.is_some_and(|number| number.fract() == 0.0)
}

fn check_type(schema: &Structural, value: &Value, path: &str, out: &mut FieldErrors) {
    let wanted = if schema.is_int_or_string {
        "integer,string"
    } else {
        schema.type_name()
    };
    if wanted.is_empty() || (value.is_null() && schema.nullable) {
        return;
    }
    let found = type_of(value);
    let fits = wanted
        .split(',')
        .any(|wanted| wanted == found || (wanted == "number" && found == "integer"));
    if !fits {
        let text = format!("{path} in body must be of type {wanted}: \"{found}\"");
        out.push(FieldError::type_invalid(&at(path), found, text));
    }
}

fn check_alternatives(
    checks: &Checks,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    out: &mut FieldErrors,
) {
    let of = |schema: &Structural| {
        let mut found = FieldErrors::new();
        check(schema, value, old, path, &mut found);
        found
    };
    if !checks.any_of.is_empty() {
        let results: Vec<FieldErrors> = checks.any_of.iter().map(of).collect();
        if !results.iter().any(Vec::is_empty) {
            complain_nowhere(
                out,
                &format!("\"{path}\" must validate at least one schema (anyOf)"),
            );
            out.extend(results.into_iter().next().unwrap_or_default());
        }
    }
    if !checks.one_of.is_empty() {
        let results: Vec<FieldErrors> = checks.one_of.iter().map(of).collect();
        let valid = results.iter().filter(|found| found.is_empty()).count();
        if valid != 1 {
            let how_many = match valid {
                0 => "Found none valid".to_owned(),
                valid => format!("Found {valid} valid alternatives"),
            };
            complain_nowhere(
                out,
                &format!("\"{path}\" must validate one and only one schema (oneOf). {how_many}"),
            );
            if valid == 0 {
                out.extend(results.into_iter().next().unwrap_or_default());
            }
        }
    }
    let mut valid = 0;
    for schema in &checks.all_of {
        let found = of(schema);
        valid += usize::from(found.is_empty());
        out.extend(found);
    }
    if valid < checks.all_of.len() {
        let none = if valid == 0 { ". None validated" } else { "" };
        complain_nowhere(
            out,
            &format!("\"{path}\" must validate all the schemas (allOf){none}"),
        );
    }
    if let Some(not) = &checks.not
        && of(not).is_empty()
    {
        complain_nowhere(
            out,
            &format!("\"{path}\" must not validate the schema (not)"),
        );
    }
}

fn check_text(checks: &Checks, text: &str, path: &str, out: &mut FieldErrors) {
    let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    if let Some(max) = checks.max_length.filter(|max| length > *max) {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        out.push(FieldError::too_long(&at(path), max));
    }
    if let Some(min) = checks.min_length.filter(|min| length < *min) {
        complain(
            out,
            path,
            text,
            &format!("should be at least {min} chars long"),
        );
    }
    if let Some((pattern, Some(regex))) = &checks.pattern
        && !regex.is_match(text)
    {
        complain(out, path, text, &format!("should match '{pattern}'"));
    }
    if formats::fits(&checks.format, text) == Some(false) {
        let format = &checks.format;
        let detail = format!(
            "{path} in body must be of type {format}: {}",
            kontiki_kinds::field::quote(text)
        );
        out.push(FieldError::type_invalid(&at(path), text, detail));
    }
}

fn check_number(schema: &Structural, value: &Value, path: &str, out: &mut FieldErrors) {
    let checks = &schema.checks;
    let Some(number) = value.as_f64() else {
        return;
    };
    if schema.form == Some(Form::Integer) {
        let (bits, shown) = match &*checks.format {
            "int32" => (31, "with format int32"),
            "int64" => (63, "with format int64"),
            _ => (63, "(default format)"),
        };
        let limit = 2f64.powi(bits);
        if !is_whole(Some(number)) || number >= limit || number < -limit {
            complain_nowhere(
                out,
                &format!("Checked value must be of type integer {shown} in {path}"),
            );
        }
    }
    if let Some(factor) = checks.multiple_of {
        let times = number / factor;
        if !is_whole(Some(times)) {
            let text = format!("should be a multiple of {factor}");
            complain(out, path, value.clone(), &text);
        }
    }
    if let Some(max) = checks.maximum {
        if checks.exclusive_maximum && number >= max {
            complain(
                out,
                path,
                value.clone(),
                &format!("should be less than {max}"),
            );
        } else if number > max {
            let text = format!("should be less than or equal to {max}");
            complain(out, path, value.clone(), &text);
        }
    }
    if let Some(min) = checks.minimum {
        if checks.exclusive_minimum && number <= min {
            let text = format!("should be greater than {min}");
            complain(out, path, value.clone(), &text);
        } else if number < min {
            let text = format!("should be greater than or equal to {min}");
            complain(out, path, value.clone(), &text);
        }
    }
}

fn check_items(
    schema: &Structural,
    items: &[Value],
    old: Option<&Value>,
    path: &str,
    out: &mut FieldErrors,
) {
    if let Some(inner) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let old = old_item(schema, item, old);
            check(inner, item, old, &format!("{path}[{index}]"), out);
        }
    }
    let count = items.len();
    let checks = &schema.checks;
    let size = u64::try_from(count).unwrap_or(u64::MAX);
    if let Some(min) = checks.min_items.filter(|min| size < *min) {
        complain(
            out,
            path,
            size,
            &format!("should have at least {min} items"),
        );
    }
    if let Some(max) = checks.max_items.filter(|max| size > *max) {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        out.push(FieldError::too_many(&at(path), count, max));
    }
}

/// The item of the old list that a new one stands for: list maps have such.
pub(crate) fn old_item<'a>(
    schema: &Structural,
    item: &Value,
    old: Option<&'a Value>,
) -> Option<&'a Value> {
    if schema.list_type != ListType::Map {
        return None;
    }
    let inner = schema.items.as_deref();
    let key = |item: &Value| -> Vec<Value> {
        let default = |name: &String| {
            inner
                .and_then(|inner| inner.properties.get(name))
                .and_then(|property| property.default.clone())
        };
        let keys = schema.list_map_keys.iter();
        keys.map(|name| {
            let own = item.get(name).cloned();
            own.or_else(|| default(name)).unwrap_or_default()
        })
        .collect()
    };
    let wanted = key(item);
    let old = old?.as_array()?;
    old.iter().find(|old| key(old) == wanted)
}

fn check_allowed(checks: &Checks, value: &Value, path: &str, out: &mut FieldErrors) {
    let Some(allowed) = &checks.allowed else {
        return;
    };
    if allowed.iter().any(|allowed| same(allowed, value)) {
        return;
    }
    let shown: Vec<String> = allowed
        .iter()
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    out.push(FieldError::not_supported(&at(path), value.clone(), &shown));
}

fn check_members(
    schema: &Structural,
    members: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    out: &mut FieldErrors,
) {
    let checks = &schema.checks;
    let size = u64::try_from(members.len()).unwrap_or(u64::MAX);
    if let Some(min) = checks.min_properties.filter(|min| size < *min) {
        complain(
            out,
            path,
            size,
            &format!("should have at least {min} properties"),
        );
    }
    if let Some(max) = checks.max_properties.filter(|max| size > *max) {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        out.push(FieldError::too_many(&at(path), members.len(), max));
    }
    for name in &checks.required {
        if !members.contains_key(name) {
            out.push(FieldError::required(&at(&member_path(path, name)), ""));
        }
    }
    for (name, value) in members {
        let inner = match (schema.properties.get(name), &schema.additional) {
            (Some(inner), _) => inner,
            (None, Additional::Schema(inner)) => inner,
            _ => continue,
        };
        let old = old.and_then(|old| old.get(name));
        check(inner, value, old, &member_path(path, name), out);
    }
}

/// Whether a complaint is about a type, which rules must not be asked about.
#[must_use]
pub fn blocks_rules(complaint: &FieldError) -> bool {
    matches!(
        complaint.kind,
        ErrorKind::Required | ErrorKind::TooLong | ErrorKind::TooMany | ErrorKind::TypeInvalid
    )
}
