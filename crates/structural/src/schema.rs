//! A structural schema, parsed from `openAPIV3Schema`.

use crate::rules::Rule;
use kontiki_object::{Map, Value};
use regex::Regex;
use std::collections::BTreeMap;

/// How deeply a schema may be nested; deeper parts are taken for unknown.
const DEPTH_MAX: usize = 128;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `object`.
    Object,
    /// `array`.
    Array,
    /// `string`.
    String,
    /// `integer`.
    Integer,
    /// `number`.
    Number,
    /// `boolean`.
    Boolean,
}

impl Form {
    /// From its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What members that are no properties may be.
#[derive(Debug, Default)]
pub enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything.
    Any,
    /// Values of a schema.
    Schema(Box<Structural>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// One owner for all of it.
    #[default]
    Atomic,
    /// Items are told apart by their values.
    Set,
    /// Items are told apart by their keys.
    Map,
}

/// Bounds of values.
#[derive(Debug, Default)]
pub struct Checks {
    /// Members that must be there.
    pub required: Vec<String>,
    /// The only values that are allowed.
    pub allowed: Option<Vec<Value>>,
    /// `minimum`.
    pub minimum: Option<f64>,
    /// Whether the minimum itself is too small.
    pub exclusive_minimum: bool,
    /// `maximum`.
    pub maximum: Option<f64>,
    /// Whether the maximum itself is too big.
    pub exclusive_maximum: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `minLength`, in characters.
    pub min_length: Option<u64>,
    /// `maxLength`, in characters.
    pub max_length: Option<u64>,
    /// `minItems`.
    pub min_items: Option<u64>,
    /// `maxItems`.
    pub max_items: Option<u64>,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `minProperties`.
    pub min_properties: Option<u64>,
    /// `maxProperties`.
    pub max_properties: Option<u64>,
    /// `format`.
    pub format: String,
    /// `pattern`, as written and compiled; one that does not compile checks nothing.
    pub pattern: Option<(String, Option<Regex>)>,
    /// `allOf`.
    pub all_of: Vec<Structural>,
    /// `anyOf`.
    pub any_of: Vec<Structural>,
    /// `oneOf`.
    pub one_of: Vec<Structural>,
    /// `not`.
    pub not: Option<Box<Structural>>,
}

/// A structural schema.
#[derive(Debug, Default)]
pub struct Structural {
    /// `type`.
    pub form: Option<Form>,
    /// `nullable`.
    pub nullable: bool,
    /// `default`.
    pub default: Option<Value>,
    /// `properties`.
    pub properties: BTreeMap<String, Structural>,
    /// `additionalProperties`.
    pub additional: Additional,
    /// `items`.
    pub items: Option<Box<Structural>>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserves_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub is_embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub is_int_or_string: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// Bounds.
    pub checks: Checks,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
}

impl Structural {
    /// Parses a schema. What is malformed counts as absent: definitions are
    /// validated before anything is served by them.
    #[must_use]
    pub fn parse(schema: &Value) -> Self {
        let mut parsed = parse(schema, 0);
        crate::rules::compile(&mut parsed);
        parsed
    }

    /// The schema of a member.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => Some(schema),
            (None, Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// Whether unknown members are left alone.
    #[must_use]
    pub fn keeps_members(&self) -> bool {
        self.preserves_unknown || !matches!(self.additional, Additional::None)
    }

    /// Whether any rule is in here.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Self::has_rules)
            || self.items.as_deref().is_some_and(Self::has_rules)
            || matches!(&self.additional, Additional::Schema(inner) if inner.has_rules())
    }

    /// The type as complaints name it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.form.map_or("", Form::name)
    }
}

fn parse(schema: &Value, depth: usize) -> Structural {
    let Some(schema) = schema.as_object().filter(|_| depth < DEPTH_MAX) else {
        return Structural::default();
    };
    let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    let inner = |value: &Value| parse(value, depth + 1);
    Structural {
        form: text("type").and_then(Form::parse),
        nullable: flag("nullable"),
        default: schema
            .get("default")
            .cloned()
            .filter(|value| !value.is_null()),
        properties: schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), inner(value)))
            .collect(),
        additional: match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Additional::Any,
            Some(value @ Value::Object(_)) => Additional::Schema(Box::new(inner(value))),
            _ => Additional::None,
        },
        items: schema.get("items").map(|items| Box::new(inner(items))),
        preserves_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        is_embedded: flag("x-kubernetes-embedded-resource"),
        is_int_or_string: flag("x-kubernetes-int-or-string"),
        list_type: match text("x-kubernetes-list-type") {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        },
        list_map_keys: texts(schema, "x-kubernetes-list-map-keys"),
        checks: checks(schema, depth),
        rules: schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Rule::parse)
            .collect(),
    }
}

fn texts(schema: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = schema.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn checks(schema: &Map<String, Value>, depth: usize) -> Checks {
    let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    let number = |name: &str| schema.get(name).and_then(Value::as_f64);
    let count = |name: &str| schema.get(name).and_then(Value::as_u64);
    let all = |name: &str| -> Vec<Structural> {
        let list = schema.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|item| parse(item, depth + 1))
            .collect()
    };
    let pattern = schema.get("pattern").and_then(Value::as_str);
    Checks {
        required: texts(schema, "required"),
        allowed: schema
            .get("enum")
            .and_then(Value::as_array)
            .filter(|values| !values.is_empty())
            .cloned(),
        minimum: number("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        maximum: number("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: number("multipleOf").filter(|factor| *factor > 0.0),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: flag("uniqueItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        format: schema
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        pattern: pattern
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| (pattern.to_owned(), Regex::new(pattern).ok())),
        all_of: all("allOf"),
        any_of: all("anyOf"),
        one_of: all("oneOf"),
        not: schema.get("not").map(|not| Box::new(parse(not, depth + 1))),
    }
}
