//! Schemas of a definition: allowed keywords, structure, defaults, rules.

use super::internal;
use crate::pattern;
use crate::rules::Rule;
use crate::schema::{Additional, ListType, Structural};
use crate::validate;
use kontiki_kinds::{FieldError, FieldErrors, Path};
use kontiki_object::Value;
use std::collections::HashSet;

/// What a rule may cost at most, by estimate.
const RULE_COST_MAX: u64 = 10_000_000;
/// How deeply a schema may be nested.
const DEPTH_MAX: usize = 64;
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Complaints about a schema.
pub(super) fn validate(schema: &Value, path: &Path) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if schema.is_null() {
        return errors;
    }
    keywords(schema, path, 0, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    structure(schema, path, Level::Root, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let parsed = Structural::parse(schema);
    defaults(&parsed, path, &mut errors);
    rules(&parsed, schema, path, None, 1, &mut errors);
    errors
}

/// Every place of a schema that holds another.
fn inner<'a>(schema: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let mut out = Vec::new();
    if schema["additionalProperties"].is_object() {
        let at = path.child("additionalProperties");
        out.push((&schema["additionalProperties"], at));
    }
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        out.push((value, path.child("properties").key(name)));
    }
    if schema["not"].is_object() {
        out.push((&schema["not"], path.child("not")));
    }
    for field in ["allOf", "oneOf", "anyOf"] {
        for (at, value) in schema[field].as_array().into_iter().flatten().enumerate() {
            out.push((value, path.child(field).index(at)));
        }
    }
    if schema["items"].is_object() {
        out.push((&schema["items"], path.child("items")));
    }
    out
}

fn keywords(schema: &Value, path: &Path, depth: usize, errors: &mut FieldErrors) {
    if depth > DEPTH_MAX {
        let why = format!("schemas may be nested {DEPTH_MAX} levels deep at most");
        errors.push(FieldError::forbidden(path, why));
        return;
    }
    unsupported(schema, path, errors);
    if schema["uniqueItems"] == true {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), why));
    }
    let has_properties = schema["properties"]
        .as_object()
        .is_some_and(|properties| !properties.is_empty());
    let additional = &schema["additionalProperties"];
    if has_properties && (additional.is_object() || *additional == false) {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(
            &path.child("additionalProperties"),
            why,
        ));
    }
    if let Some(ty) = schema["type"].as_str().filter(|ty| !ty.is_empty()) {
        if ty == "null" {
            let why = "type cannot be set to null, use nullable as an alternative";
            errors.push(FieldError::forbidden(&path.child("type"), why));
        } else if !TYPES.contains(&ty) {
            errors.push(FieldError::not_supported(&path.child("type"), ty, &TYPES));
        }
    }
    if let Some(text) = schema["pattern"].as_str()
        && let Some(why) = pattern::complaint(text)
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(&path.child("pattern"), text, why));
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&at, false, "must be true or undefined"));
    }
    list_type(schema, path, errors);
    map_type(schema, path, errors);
    for (value, path) in inner(schema, path) {
        keywords(value, &path, depth + 1, errors);
    }
}

fn unsupported(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in [
        "$ref",
        "id",
        "definitions",
        "dependencies",
        "patternProperties",
        "additionalItems",
        "$schema",
    ] {
        if !schema[field].is_null() {
            let why = format!("{field} is not supported");
            errors.push(FieldError::forbidden(&path.child(field), why));
        }
    }
    if schema["items"].is_array() {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), why));
    }
}

fn list_type(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    let keys: &[Value] = keys.map_or(&[], Vec::as_slice);
    let Some(ty) = schema["x-kubernetes-list-type"].as_str() else {
        if !keys.is_empty() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            errors.push(FieldError::required(
                &path.child("x-kubernetes-list-type"),
                why,
            ));
        }
        return;
    };
    let own_type = schema["type"].as_str().unwrap_or_default();
    if own_type != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        if own_type.is_empty() {
            errors.push(FieldError::required(&path.child("type"), why));
        } else {
            errors.push(FieldError::invalid(&path.child("type"), own_type, why));
        }
    }
    if !matches!(ty, "atomic" | "set" | "map") {
        errors.push(FieldError::not_supported(
            &path.child("x-kubernetes-list-type"),
            ty,
            &["atomic", "map", "set"],
        ));
        return;
    }
    if ty != "map" {
        if !keys.is_empty() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            let at = path.child("x-kubernetes-list-type");
            errors.push(FieldError::invalid(&at, ty, why));
        }
        return;
    }
    map_keys(schema, keys, path, errors);
}

fn map_keys(schema: &Value, keys: &[Value], path: &Path, errors: &mut FieldErrors) {
    let at_keys = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&at_keys, why));
        return;
    }
    let items = &schema["items"];
    let at_items = path.child("items");
    if items.is_null() {
        let why = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&at_items, why));
        return;
    }
    let item_type = items["type"].as_str().unwrap_or_default();
    if item_type != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&at_items.child("type"), item_type, why));
    }
    let mut seen = HashSet::new();
    for (at, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        let property = &items["properties"][key];
        let at_property = at_items.child("properties").key(key);
        if property.is_null() {
            let why = "entries must all be names of item properties";
            errors.push(FieldError::invalid(&at_keys, keys.to_vec(), why));
        } else if matches!(property["type"].as_str(), Some("array" | "object")) {
            let ty = property["type"].clone();
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&at_property.child("type"), ty, why));
        }
        if !seen.insert(key) {
            let why = "must not contain duplicate entries";
            errors.push(FieldError::invalid(&at_keys.index(at), key, why));
        }
        let required = items["required"].as_array();
        let is_required = required.is_some_and(|required| required.iter().any(|name| name == key));
        if !property.is_null() && !is_required && property["default"].is_null() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&at_property.child("default"), why));
        }
    }
}

fn map_type(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(ty) = schema["x-kubernetes-map-type"].as_str() else {
        return;
    };
    let own_type = schema["type"].as_str().unwrap_or_default();
    if own_type != "object" {
        let why = "must be object if x-kubernetes-map-type is specified";
        errors.push(FieldError::invalid(&path.child("type"), own_type, why));
    }
    if !matches!(ty, "atomic" | "granular") {
        errors.push(FieldError::not_supported(
            &path.child("x-kubernetes-map-type"),
            ty,
            &["atomic", "granular"],
        ));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// KEP-1693: every part has a type, and alternatives only narrow.
fn structure(schema: &Value, path: &Path, level: Level, errors: &mut FieldErrors) {
    let flag = |name: &str| schema[name] == true;
    let ty = schema["type"].as_str().unwrap_or_default();
    let at_type = path.child("type");
    if level == Level::Root {
        if ty != "object" && !ty.is_empty() {
            errors.push(FieldError::invalid(
                &at_type,
                ty,
                "must be object at the root",
            ));
        }
        if flag("nullable") {
            let why = "nullable cannot be true at the root";
            errors.push(FieldError::forbidden(&path.child("nullable"), why));
        }
    }
    let is_free =
        flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if ty.is_empty() && (!is_free || level == Level::Root) {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Field => "must not be empty for specified object fields",
            Level::Item => "must not be empty for specified array items",
        };
        errors.push(FieldError::required(&at_type, why));
    }
    if flag("x-kubernetes-int-or-string") && !ty.is_empty() {
        let why = "must be empty if x-kubernetes-int-or-string is true";
        errors.push(FieldError::forbidden(&at_type, why));
    }
    embedded(schema, ty, path, level, errors);
    if ty == "array" && schema["items"].is_null() {
        errors.push(FieldError::required(
            &path.child("items"),
            "must be specified",
        ));
    }
    alternatives(schema, path, errors);
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let at = path.child("properties").key(name);
        let is_metadata =
            name == "metadata" && (level == Level::Root || flag("x-kubernetes-embedded-resource"));
        structure(value, &at, Level::Field, errors);
        if is_metadata {
            metadata(value, &at, errors);
        }
    }
    if schema["additionalProperties"].is_object() {
        let at = path.child("additionalProperties");
        structure(&schema["additionalProperties"], &at, Level::Field, errors);
    }
    if schema["items"].is_object() {
        structure(&schema["items"], &path.child("items"), Level::Item, errors);
    }
}

fn embedded(schema: &Value, ty: &str, path: &Path, level: Level, errors: &mut FieldErrors) {
    if schema["x-kubernetes-embedded-resource"] != true || level == Level::Root {
        return;
    }
    if ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if ty.is_empty() {
            errors.push(FieldError::required(&path.child("type"), why));
        } else {
            errors.push(FieldError::invalid(&path.child("type"), ty, why));
        }
    }
    let is_empty = schema["properties"]
        .as_object()
        .is_none_or(|all| all.is_empty());
    if is_empty && schema["x-kubernetes-preserve-unknown-fields"] != true {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), why));
    }
}

/// Metadata is typed already; a schema may narrow names only.
fn metadata(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let allowed = ["type", "properties", "description", "title"];
    let only_names = schema["properties"].as_object().is_none_or(|properties| {
        properties
            .keys()
            .all(|name| name == "name" || name == "generateName")
    });
    let is_plain = schema
        .as_object()
        .is_none_or(|schema| schema.keys().all(|key| allowed.contains(&key.as_str())));
    if !only_names || !is_plain {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, why));
    }
}

/// What stands in `allOf` and its like only narrows what stands outside.
fn alternatives(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let is_int_or_string = schema["x-kubernetes-int-or-string"] == true;
    let mut each = |value: &Value, at: Path| narrow(value, schema, &at, is_int_or_string, errors);
    for field in ["allOf", "anyOf", "oneOf"] {
        for (at, value) in schema[field].as_array().into_iter().flatten().enumerate() {
            each(value, path.child(field).index(at));
        }
    }
    if schema["not"].is_object() {
        each(&schema["not"], path.child("not"));
    }
}

fn narrow(value: &Value, outside: &Value, path: &Path, may_type: bool, errors: &mut FieldErrors) {
    for field in [
        "type",
        "default",
        "nullable",
        "title",
        "description",
        "additionalProperties",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    ] {
        if value[field].is_null() || (field == "type" && may_type) {
            continue;
        }
        let why = "must be empty to be structural";
        errors.push(FieldError::forbidden(&path.child(field), why));
    }
    for (name, inner) in value["properties"].as_object().into_iter().flatten() {
        let at = path.child("properties").key(name);
        match &outside["properties"][name] {
            Value::Null => {
                let place = place_outside(path).child("properties").key(name);
                let why = format!("because it is defined in {at}");
                errors.push(FieldError::required(&place, why));
            }
            outer => narrow(inner, outer, &at, false, errors),
        }
    }
    if value["items"].is_object() && !outside["items"].is_null() {
        let at = path.child("items");
        narrow(&value["items"], &outside["items"], &at, false, errors);
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        for (at, inner) in value[field].as_array().into_iter().flatten().enumerate() {
            let at = path.child(field).index(at);
            narrow(inner, outside, &at, may_type, errors);
        }
    }
}

/// The place that an alternative narrows.
fn place_outside(path: &Path) -> Path {
    let text = path.to_string();
    let cut = [".allOf[", ".anyOf[", ".oneOf[", ".not"]
        .iter()
        .filter_map(|word| text.find(word))
        .min();
    Path::new(&text[..cut.unwrap_or(text.len())])
}

/// Defaults are valid themselves.
fn defaults(schema: &Structural, path: &Path, errors: &mut FieldErrors) {
    if let Some(default) = &schema.default {
        let mut value = default.clone();
        crate::shape::default(schema, &mut value);
        let at = path.child("default");
        for complaint in validate::object(schema, &value, None) {
            let field = match &*complaint.field {
                "" | "<nil>" => at.to_string(),
                inner => format!("{at}.{inner}"),
            };
            errors.push(FieldError { field, ..complaint });
        }
    }
    for (name, inner) in &schema.properties {
        defaults(inner, &path.child("properties").key(name), errors);
    }
    if let Some(items) = &schema.items {
        defaults(items, &path.child("items"), errors);
    }
    if let Additional::Schema(inner) = &schema.additional {
        defaults(inner, &path.child("additionalProperties"), errors);
    }
}

/// Rules compile, and are not too costly; `uncorrelated` is the place below
/// which old values are not known.
fn rules(
    schema: &Structural,
    json: &Value,
    path: &Path,
    uncorrelated: Option<&Path>,
    times: u64,
    errors: &mut FieldErrors,
) {
    let listed = json["x-kubernetes-validations"].as_array();
    let listed: &[Value] = listed.map_or(&[], Vec::as_slice);
    for (at, (rule, shown)) in schema.rules.iter().zip(listed).enumerate() {
        let at = path.child("x-kubernetes-validations").index(at);
        check_rule(rule, shown, &at, uncorrelated, times, errors);
    }
    for (name, inner) in &schema.properties {
        let at = path.child("properties").key(name);
        let json = &json["properties"][name];
        rules(inner, json, &at, uncorrelated, times, errors);
    }
    if let Some(items) = &schema.items {
        let count = schema
            .checks
            .max_items
            .unwrap_or(u64::from(u32::MAX) / 1024);
        let own = (schema.list_type != ListType::Map).then_some(path);
        let at = path.child("items");
        let json = &json["items"];
        let times = times.saturating_mul(count);
        rules(items, json, &at, uncorrelated.or(own), times, errors);
    }
    if let Additional::Schema(inner) = &schema.additional {
        let count = schema
            .checks
            .max_properties
            .unwrap_or(u64::from(u32::MAX) / 1024);
        let at = path.child("additionalProperties");
        let json = &json["additionalProperties"];
        let times = times.saturating_mul(count);
        rules(inner, json, &at, uncorrelated, times, errors);
    }
}

fn check_rule(
    rule: &Rule,
    shown: &Value,
    path: &Path,
    uncorrelated: Option<&Path>,
    times: u64,
    errors: &mut FieldErrors,
) {
    let at = path.child("rule");
    if rule.rule.trim().is_empty() {
        errors.push(FieldError::required(&at, "rule is not specified"));
        return;
    }
    const REASONS: [&str; 4] = [
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    if !rule.reason.is_empty() && !REASONS.contains(&&*rule.reason) {
        let at = path.child("reason");
        errors.push(FieldError::not_supported(&at, &*rule.reason, &REASONS));
    }
    if rule.message.contains('\n') {
        let why = "message must not contain line breaks";
        errors.push(FieldError::invalid(
            &path.child("message"),
            &*rule.message,
            why,
        ));
    }
    match &rule.program {
        Some(Err(error)) => {
            let why = format!("compilation failed: {error}");
            errors.push(internal::invalid(&at, &internal::rule(shown), &why));
        }
        Some(Ok(program)) => {
            let is_transition = rule.is_transition();
            if let Some(place) = uncorrelated.filter(|_| is_transition) {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {place}"
                );
                errors.push(FieldError::invalid(&at, &*rule.rule, why));
            }
            let cost = program.cost().0.saturating_mul(times);
            if cost > RULE_COST_MAX {
                errors.push(FieldError::forbidden(&at, too_costly(cost)));
            }
        }
        None => {}
    }
    if let Some(Err(error)) = &rule.message_program {
        let why = format!("messageExpression compilation failed: {error}");
        let at = path.child("messageExpression");
        errors.push(internal::invalid(&at, &internal::rule(shown), &why));
    }
}

fn too_costly(cost: u64) -> String {
    let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let factor = cost / RULE_COST_MAX;
    if factor >= 100 {
        format!("estimated rule cost exceeds budget by factor of more than 100x {hint}")
    } else {
        let tenths = cost / (RULE_COST_MAX / 10);
        let (whole, part) = (tenths / 10, tenths % 10);
        format!("estimated rule cost exceeds budget by factor of {whole}.{part}x {hint}")
    }
}
