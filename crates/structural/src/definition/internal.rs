//! Upstream's internal form of definitions, as its complaints show it: Go's
//! field names, every field, in the order of the types.

use kontiki_kinds::{ErrorKind, FieldError, Path};
use kontiki_object::Value;
use std::fmt::Write as _;

/// A complaint that shows a value in the internal form.
pub(super) fn invalid(path: &Path, shown: &str, why: &str) -> FieldError {
    FieldError {
        kind: ErrorKind::Invalid,
        field: path.to_string(),
        message: format!("Invalid value: {shown}: {why}"),
    }
}

/// How a field is shown.
#[derive(Clone, Copy)]
enum As {
    /// A text that is empty if absent.
    Text,
    /// A flag that is false if absent.
    Flag,
    /// Null if absent.
    Plain,
    /// A schema, null if absent.
    Schema,
    /// Schemas in a list.
    Schemas,
    /// Schemas by name.
    ByName,
    /// `items`.
    Items,
    /// `additionalProperties`.
    Additional,
    /// Rules.
    Rules,
}

const SCHEMA: [(&str, &str, As); 43] = [
    ("ID", "id", As::Text),
    ("Schema", "$schema", As::Text),
    ("Ref", "$ref", As::Plain),
    ("Description", "description", As::Text),
    ("Type", "type", As::Text),
    ("Nullable", "nullable", As::Flag),
    ("Format", "format", As::Text),
    ("Title", "title", As::Text),
    ("Default", "default", As::Plain),
    ("Maximum", "maximum", As::Plain),
    ("ExclusiveMaximum", "exclusiveMaximum", As::Flag),
    ("Minimum", "minimum", As::Plain),
    ("ExclusiveMinimum", "exclusiveMinimum", As::Flag),
    ("MaxLength", "maxLength", As::Plain),
    ("MinLength", "minLength", As::Plain),
    ("Pattern", "pattern", As::Text),
    ("MaxItems", "maxItems", As::Plain),
    ("MinItems", "minItems", As::Plain),
    ("UniqueItems", "uniqueItems", As::Flag),
    ("MultipleOf", "multipleOf", As::Plain),
    ("Enum", "enum", As::Plain),
    ("MaxProperties", "maxProperties", As::Plain),
    ("MinProperties", "minProperties", As::Plain),
    ("Required", "required", As::Plain),
    ("Items", "items", As::Items),
    ("AllOf", "allOf", As::Schemas),
    ("OneOf", "oneOf", As::Schemas),
    ("AnyOf", "anyOf", As::Schemas),
    ("Not", "not", As::Schema),
    ("Properties", "properties", As::ByName),
    (
        "AdditionalProperties",
        "additionalProperties",
        As::Additional,
    ),
    ("PatternProperties", "patternProperties", As::ByName),
    ("Dependencies", "dependencies", As::Plain),
    ("AdditionalItems", "additionalItems", As::Additional),
    ("Definitions", "definitions", As::ByName),
    ("ExternalDocs", "externalDocs", As::Plain),
    ("Example", "example", As::Plain),
    (
        "XPreserveUnknownFields",
        "x-kubernetes-preserve-unknown-fields",
        As::Plain,
    ),
    (
        "XEmbeddedResource",
        "x-kubernetes-embedded-resource",
        As::Flag,
    ),
    ("XIntOrString", "x-kubernetes-int-or-string", As::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", As::Plain),
    ("XListType", "x-kubernetes-list-type", As::Plain),
    ("XMapType", "x-kubernetes-map-type", As::Plain),
];

/// A rule.
pub(super) fn rule(rule: &Value) -> String {
    const FIELDS: [(&str, &str, As); 6] = [
        ("Rule", "rule", As::Text),
        ("Message", "message", As::Text),
        ("MessageExpression", "messageExpression", As::Text),
        ("Reason", "reason", As::Plain),
        ("FieldPath", "fieldPath", As::Text),
        ("OptionalOldSelf", "optionalOldSelf", As::Plain),
    ];
    object(rule, FIELDS.iter())
}

/// Versions; what all share has moved away.
pub(super) fn versions(versions: &[Value], shared: &[&str]) -> String {
    list(versions.iter(), |version| {
        let own = |field: &str| match shared.contains(&field) {
            true => &Value::Null,
            false => &version[field],
        };
        const PLAIN: [(&str, &str, As); 5] = [
            ("Name", "name", As::Text),
            ("Served", "served", As::Flag),
            ("Storage", "storage", As::Flag),
            ("Deprecated", "deprecated", As::Flag),
            ("DeprecationWarning", "deprecationWarning", As::Plain),
        ];
        let mut out = object(version, PLAIN.iter());
        out.pop();
        let schema = match own("schema") {
            Value::Null => "null".to_owned(),
            schema => {
                let inner = &schema["openAPIV3Schema"];
                format!("{{\"OpenAPIV3Schema\":{}}}", shown(inner, As::Schema))
            }
        };
        let _ = write!(
            out,
            ",\"Schema\":{schema},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            subresources(own("subresources")),
            columns(own("additionalPrinterColumns")),
            match own("selectableFields") {
                Value::Array(fields) => list(fields.iter(), |field| {
                    object(field, [("JSONPath", "jsonPath", As::Text)].iter())
                }),
                _ => "null".to_owned(),
            }
        );
        out
    })
}

fn subresources(value: &Value) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let status = if value["status"].is_null() {
        "null"
    } else {
        "{}"
    };
    let scale = match &value["scale"] {
        Value::Null => "null".to_owned(),
        scale => object(
            scale,
            [
                ("SpecReplicasPath", "specReplicasPath", As::Text),
                ("StatusReplicasPath", "statusReplicasPath", As::Text),
                ("LabelSelectorPath", "labelSelectorPath", As::Plain),
            ]
            .iter(),
        ),
    };
    format!("{{\"Status\":{status},\"Scale\":{scale}}}")
}

fn columns(value: &Value) -> String {
    let Value::Array(columns) = value else {
        return "null".to_owned();
    };
    list(columns.iter(), |column| {
        let priority = column["priority"].as_i64().unwrap_or_default();
        let mut out = object(
            column,
            [
                ("Name", "name", As::Text),
                ("Type", "type", As::Text),
                ("Format", "format", As::Text),
                ("Description", "description", As::Text),
            ]
            .iter(),
        );
        out.pop();
        let path = shown(&column["jsonPath"], As::Text);
        let _ = write!(out, ",\"Priority\":{priority},\"JSONPath\":{path}}}");
        out
    })
}

fn object<'a>(value: &Value, fields: impl Iterator<Item = &'a (&'a str, &'a str, As)>) -> String {
    let members =
        fields.map(|(name, field, form)| format!("\"{name}\":{}", shown(&value[*field], *form)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn list<'a>(items: impl Iterator<Item = &'a Value>, show: impl Fn(&Value) -> String) -> String {
    let items: Vec<String> = items.map(show).collect();
    format!("[{}]", items.join(","))
}

fn schema(value: &Value) -> String {
    let mut out = object(value, SCHEMA.iter());
    out.pop();
    let rules = shown(&value["x-kubernetes-validations"], As::Rules);
    let _ = write!(out, ",\"XValidations\":{rules}}}");
    out
}

fn shown(value: &Value, form: As) -> String {
    match (form, value) {
        (As::Text, Value::Null) => "\"\"".to_owned(),
        (As::Flag, Value::Null) => "false".to_owned(),
        (_, Value::Null) => "null".to_owned(),
        (As::Schema, value) => schema(value),
        (As::Schemas, Value::Array(all)) => list(all.iter(), schema),
        (As::Rules, Value::Array(all)) => list(all.iter(), rule),
        (As::ByName, Value::Object(all)) => {
            let members = all
                .iter()
                .map(|(name, value)| format!("{}:{}", escaped(name), schema(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        (As::Items, value) => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(value)),
        (As::Additional, Value::Bool(on)) => format!("{{\"Allows\":{on},\"Schema\":null}}"),
        (As::Additional, value) => format!("{{\"Allows\":true,\"Schema\":{}}}", schema(value)),
        (_, Value::String(text)) => escaped(text),
        (_, value) => html(&value.to_string()),
    }
}

fn escaped(text: &str) -> String {
    html(&Value::from(text).to_string())
}

/// Go's encoder keeps JSON out of HTML's way.
fn html(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}
