//! Expressions: compiled once, evaluated often.

use crate::check::{Checker, Scope};
use crate::cost::Cost;
use crate::meter::{self, Budget, Meter};
use crate::optional;
use crate::rewrite;
use crate::source::Source;
use crate::ty::Type;
use kube_cel::KubeCelExt as _;
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Value};
use std::collections::BTreeSet;
use thiserror::Error;

/// How deeply an expression may be nested.
const DEPTH_MAX: u16 = 96;
/// How long an expression may be, in bytes.
const SOURCE_BYTES_MAX: usize = 64 << 10;

/// Why an expression is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct CompileError(pub String);

/// Why an evaluation has no value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluationError {
    /// It went on for too long.
    #[error("operation cancelled: actual cost limit exceeded")]
    OverBudget,
    /// It came to something that has no value.
    #[error("{0}")]
    Failed(String),
}

/// What an expression should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A truth value.
    Bool,
    /// A text.
    String,
    /// Anything.
    Any,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    expression: IdedExpr,
    mentioned: BTreeSet<String>,
    /// The variables that the evaluation asks for.
    used: BTreeSet<String>,
    ty: Type,
    cost: Cost,
}

impl Program {
    /// Compiles an expression whose variables have these types.
    ///
    /// # Errors
    /// What does not parse or does not fit, in cel-go's words.
    pub fn compile(
        text: &str,
        variables: &[(&str, Type)],
        wanted: Wanted,
    ) -> Result<Self, CompileError> {
        Self::compile_as(text, variables, wanted, false)
    }

    /// Compiles an expression that may make objects: `Object{…}`, their parts
    /// (`Object.spec{…}`) and `JSONPatch{…}`.
    ///
    /// # Errors
    /// What does not parse or does not fit, in cel-go's words.
    pub fn compile_mutation(text: &str, variables: &[(&str, Type)]) -> Result<Self, CompileError> {
        Self::compile_as(text, variables, Wanted::Any, true)
    }

    fn compile_as(
        text: &str,
        variables: &[(&str, Type)],
        wanted: Wanted,
        makes_objects: bool,
    ) -> Result<Self, CompileError> {
        if text.len() > SOURCE_BYTES_MAX {
            return Err(CompileError(format!(
                "expression code point size exceeds limit: size: {}, limit {SOURCE_BYTES_MAX}",
                text.len()
            )));
        }
        let source = Source::new(text);
        let parser = Parser::new()
            .max_recursion_depth(DEPTH_MAX)
            .enable_optional_syntax(true);
        let mut expression = parser
            .parse(text)
            .map_err(|errors| CompileError(parse_text(&errors.to_string())))?;
        let mut checker = Checker::new(&source, makes_objects);
        let mut scope = Scope::new(variables);
        let (ty, cost) = checker.check(&expression, &mut scope);
        let mentioned = checker.mentioned();
        checker.finish()?;
        let fits = match (wanted, &ty) {
            (Wanted::Any, _) | (_, Type::Dyn) => true,
            (Wanted::Bool, ty) => *ty == Type::Bool,
            (Wanted::String, ty) => matches!(ty, Type::String(_)),
        };
        if !fits {
            let wanted = if wanted == Wanted::Bool {
                "bool"
            } else {
                "string"
            };
            return Err(CompileError(format!(
                "cel expression must evaluate to a {wanted}"
            )));
        }
        let used = rewrite::rewrite(&mut expression);
        meter::instrument(&mut expression);
        Ok(Self {
            expression,
            mentioned,
            used,
            ty,
            cost,
        })
    }

    /// Whether the expression mentions a variable.
    #[must_use]
    pub fn mentions(&self, variable: &str) -> bool {
        self.mentioned.contains(variable)
    }

    /// Whether the evaluation asks for a variable.
    pub(crate) fn uses(&self, variable: &str) -> bool {
        self.used.contains(variable)
    }

    pub(crate) fn expression(&self) -> &IdedExpr {
        &self.expression
    }

    /// What it comes to.
    #[must_use]
    pub fn result(&self) -> &Type {
        &self.ty
    }

    /// What it may cost at most, by the bounds of its variables.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    /// If it has no value for these variables, or the budget does not suffice.
    pub fn evaluate(
        &self,
        variables: Vec<(&str, Value)>,
        budget: &mut Budget,
    ) -> Result<Value, EvaluationError> {
        if budget.is_exhausted() {
            return Err(EvaluationError::OverBudget);
        }
        let meter = Meter::new(budget.allowance());
        let mut context = Context::default().with_all();
        meter.install(&mut context);
        optional::install(&mut context);
        for (name, value) in variables {
            context.add_variable_from_value(name.to_owned(), value);
        }
        let result = Value::resolve(&self.expression, &context);
        budget.spend(meter.spent());
        if meter.is_exhausted() {
            return Err(EvaluationError::OverBudget);
        }
        result.map_err(|error| EvaluationError::Failed(evaluation_text(&error)))
    }
}

/// A parser's complaints, in cel-go's words.
fn parse_text(text: &str) -> String {
    if text.contains("Syntax error") || text.starts_with("ERROR") {
        // cel-go indents the drawing.
        text.trim_end().replace("\n| ", "\n | ")
    } else {
        format!("ERROR: <input>:1:1: Syntax error: {}", text.trim_end())
    }
}

/// An evaluation's complaint, in cel-go's words.
pub(crate) fn evaluation_text(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("no such key: {name}"),
        ExecutionError::NoSuchOverload
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..)
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedTargetType { .. } => "no such overload".to_owned(),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(Value::Int(at)) => format!("index out of bounds: {at}"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        ExecutionError::UndeclaredReference(name) => format!("no such attribute(s): {name}"),
        other => other.to_string(),
    }
}
