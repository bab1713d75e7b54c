//! `x-kubernetes-validations`: rules in CEL.

use crate::schema::{Additional, Structural};
use crate::types;
use crate::validate::{member_path, old_item, same};
use kontiki_cel::{
    Budget, CompileError, EvaluationError, Program, Type, Value as Cel, Wanted, from_json, optional,
};
use kontiki_kinds::{ErrorKind, FieldError, FieldErrors, Path};
use kontiki_object::Value;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// The text of the complaint; empty for one that shows the rule.
    pub message: String,
    /// An expression for the text.
    pub message_expression: String,
    /// `FieldValueInvalid` and its like; empty for that.
    pub reason: String,
    /// Where to complain, below the rule's own place.
    pub field_path: String,
    /// Whether `oldSelf` may be absent.
    pub optional_old_self: bool,
    /// The compiled expression.
    pub program: Option<Result<Program, CompileError>>,
    /// The compiled expression of the text.
    pub message_program: Option<Result<Program, CompileError>>,
    ty: Option<Type>,
}

impl Rule {
    /// From its JSON.
    pub(crate) fn parse(json: &Value) -> Option<Self> {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Some(Self {
            rule: json["rule"].as_str()?.to_owned(),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: json["optionalOldSelf"].as_bool().unwrap_or_default(),
            program: None,
            message_program: None,
            ty: None,
        })
    }

    /// Whether the rule compares with what was before.
    #[must_use]
    pub fn is_transition(&self) -> bool {
        matches!(&self.program, Some(Ok(program)) if program.mentions("oldSelf"))
    }

    fn compile(&mut self, ty: &Type) {
        let old = if self.optional_old_self {
            Type::Optional(Box::new(ty.clone()))
        } else {
            ty.clone()
        };
        let variables = [("self", ty.clone()), ("oldSelf", old)];
        self.program = Some(Program::compile(&self.rule, &variables, Wanted::Bool));
        if !self.message_expression.is_empty() {
            let text = &self.message_expression;
            self.message_program = Some(Program::compile(text, &variables, Wanted::String));
        }
        self.ty = Some(ty.clone());
    }
}

/// Compiles the rules of a schema.
pub(crate) fn compile(schema: &mut Structural) {
    walk(schema, true);
}

fn walk(schema: &mut Structural, is_resource: bool) {
    if !schema.rules.is_empty() {
        let ty = types::of(schema, is_resource);
        schema.rules.iter_mut().for_each(|rule| rule.compile(&ty));
    }
    schema
        .properties
        .values_mut()
        .for_each(|inner| walk(inner, false));
    if let Some(items) = &mut schema.items {
        walk(items, false);
    }
    if let Additional::Schema(inner) = &mut schema.additional {
        walk(inner, false);
    }
}

/// Complaints of the rules about an object; `old` is what it was, if it was.
#[must_use]
pub fn evaluate(schema: &Structural, value: &Value, old: Option<&Value>) -> FieldErrors {
    let mut run = Run {
        budget: Budget::default(),
        out: FieldErrors::new(),
    };
    run.visit(schema, value, old, "");
    run.out
}

struct Run {
    budget: Budget,
    out: FieldErrors,
}

impl Run {
    fn visit(&mut self, schema: &Structural, value: &Value, old: Option<&Value>, path: &str) {
        if self.budget.is_exhausted() {
            return;
        }
        // Null stands for absence unless the schema says otherwise.
        if value.is_null() && !schema.nullable {
            return;
        }
        for rule in &schema.rules {
            self.apply(schema, rule, value, old, path);
        }
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let inner = match (schema.properties.get(name), &schema.additional) {
                        (Some(inner), _) => inner,
                        (None, Additional::Schema(inner)) => inner,
                        _ => continue,
                    };
                    let old = old.and_then(|old| old.get(name));
                    let path = if schema.properties.contains_key(name) {
                        member_path(path, name)
                    } else {
                        format!("{path}[{name}]")
                    };
                    self.visit(inner, value, old, &path);
                }
            }
            Value::Array(items) => {
                let Some(inner) = &schema.items else {
                    return;
                };
                for (at, item) in items.iter().enumerate() {
                    let old = old_item(schema, item, old);
                    self.visit(inner, item, old, &format!("{path}[{at}]"));
                }
            }
            _ => {}
        }
    }

    fn apply(
        &mut self,
        schema: &Structural,
        rule: &Rule,
        value: &Value,
        old: Option<&Value>,
        path: &str,
    ) {
        let place = Path::new(path);
        let (program, ty) = match (&rule.program, &rule.ty) {
            (Some(Ok(program)), Some(ty)) => (program, ty),
            (Some(Err(error)), _) => {
                let why = format!("rule compile error: {error}");
                let at = &place;
                self.out
                    .push(FieldError::invalid(at, schema.type_name(), why));
                return;
            }
            _ => return,
        };
        let is_transition = rule.is_transition();
        if is_transition && old.is_none() && !rule.optional_old_self {
            return;
        }
        if !is_transition && old.is_some_and(|old| same(old, value)) {
            return;
        }
        let own = from_json(value, ty);
        let before = old.map(|old| from_json(old, ty));
        let variables = || {
            let old = match (&before, rule.optional_old_self) {
                (before, true) => Some(optional(before.clone())),
                (Some(before), false) => Some(before.clone()),
                (None, false) => None,
            };
            let mut variables: Vec<(&str, Cel)> = vec![("self", own.clone())];
            variables.extend(old.map(|old| ("oldSelf", old)));
            variables
        };
        match program.evaluate(variables(), &mut self.budget) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                let text = self.text(rule, variables());
                self.out.push(complaint(rule, path, &text));
            }
            Err(EvaluationError::OverBudget) => {
                let kind = schema.type_name();
                let text = if self.budget.is_exhausted() {
                    OUT_OF_BUDGET.to_owned()
                } else {
                    format!(
                        "no further validation rules will be run due to call cost exceeds limit for rule: {}",
                        rule_text(rule)
                    )
                };
                self.out.push(FieldError::invalid(&place, kind, text));
            }
            Err(EvaluationError::Failed(why)) => {
                let text = format!("{why} evaluating rule: {}", rule_text(rule));
                let kind = schema.type_name();
                self.out.push(FieldError::invalid(&place, kind, text));
            }
        }
    }

    fn text(&mut self, rule: &Rule, variables: Vec<(&str, Cel)>) -> String {
        let Some(Ok(program)) = &rule.message_program else {
            return rule_text(rule);
        };
        match program.evaluate(variables, &mut self.budget) {
            Ok(Cel::String(text)) => {
                let text = text.trim();
                // Texts of several lines would not fit into a status.
                if text.is_empty() || text.contains('\n') || text.len() > 5 * 1024 {
                    rule_text(rule)
                } else {
                    text.to_owned()
                }
            }
            _ => rule_text(rule),
        }
    }
}

fn rule_text(rule: &Rule) -> String {
    if rule.message.is_empty() {
        format!("failed rule: {}", rule.rule.trim())
    } else {
        rule.message.clone()
    }
}

fn complaint(rule: &Rule, path: &str, text: &str) -> FieldError {
    let whole = format!("{path}{}", rule.field_path);
    let place = Path::new(whole.trim_start_matches('.'));
    match &*rule.reason {
        "FieldValueForbidden" => FieldError::forbidden(&place, text),
        "FieldValueRequired" => FieldError::required(&place, text),
        "FieldValueDuplicate" => without_value(ErrorKind::Duplicate, &place, "Duplicate value", ""),
        _ => without_value(ErrorKind::Invalid, &place, "Invalid value", text),
    }
}

/// A complaint that does not repeat the value, which may be large.
fn without_value(kind: ErrorKind, place: &Path, word: &str, text: &str) -> FieldError {
    let message = if text.is_empty() {
        word.to_owned()
    } else {
        format!("{word}: {text}")
    };
    FieldError {
        kind,
        field: place.to_string(),
        message,
    }
}
