//! The variables of one request, for all the expressions that are about it:
//! composed variables are evaluated at most once, and all share one budget.

use crate::authorizer;
use crate::meter::{EXPRESSION_STEPS_MAX, Meter, REQUEST_STEPS_MAX};
use crate::optional;
use crate::program::{CompileError, EvaluationError, Program, evaluation_text};
use crate::rewrite::{COMPOSED, FIELDS_OF};
use crate::value::empty_map;
use kube_cel::KubeCelExt as _;
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A composed variable: its name and its expression.
pub type Composed = (String, Arc<Result<Program, CompileError>>);

/// The variables of one request.
pub struct Activation {
    values: Vec<(String, Value)>,
    composed: Vec<Composed>,
    known: Mutex<HashMap<String, Result<Value, EvaluationError>>>,
    left: AtomicU64,
}

impl Activation {
    /// These variables; `composed` are the fields of `variables`, each of which
    /// may use those before it.
    #[must_use]
    pub fn new(values: Vec<(String, Value)>, composed: Vec<Composed>) -> Arc<Self> {
        Self::with_budget(values, composed, REQUEST_STEPS_MAX)
    }

    pub(crate) fn with_budget(
        values: Vec<(String, Value)>,
        composed: Vec<Composed>,
        steps: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            values,
            composed,
            known: Mutex::default(),
            left: AtomicU64::new(steps),
        })
    }

    /// Evaluates an expression.
    ///
    /// # Errors
    /// If it has no value for these variables, or the budget does not suffice.
    pub fn evaluate(self: &Arc<Self>, program: &Program) -> Result<Value, EvaluationError> {
        let allowance = self.left.load(Ordering::Relaxed).min(EXPRESSION_STEPS_MAX);
        if allowance == 0 {
            return Err(EvaluationError::OverBudget);
        }
        let meter = Meter::new(allowance);
        let mut context = Context::default().with_all();
        meter.install(&mut context);
        optional::install(&mut context);
        authorizer::install(&mut context);
        if !self.composed.is_empty() {
            let this = self.clone();
            let compose = move |name: Arc<String>| -> ResolveResult { this.composed(&name) };
            context.add_function(COMPOSED, compose);
        }
        for (name, value) in &self.values {
            if program.uses(name) {
                context.add_variable_from_value(name.clone(), value.clone());
            }
            let fields = format!("{FIELDS_OF}{name}");
            if program.uses(&fields) {
                let value = match value {
                    Value::Null => empty_map(),
                    value => value.clone(),
                };
                context.add_variable_from_value(fields, value);
            }
        }
        let result = Value::resolve(program.expression(), &context);
        let spent = meter.spent().max(1);
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(spent))
            });
        if meter.is_exhausted() {
            return Err(EvaluationError::OverBudget);
        }
        result.map_err(|error| EvaluationError::Failed(evaluation_text(&error)))
    }

    fn composed(self: &Arc<Self>, name: &str) -> ResolveResult {
        let failed = |why: String| {
            let why = format!("composited variable {name:?} fails to {why}");
            ExecutionError::function_error(COMPOSED, why)
        };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(name).cloned();
        let value = match found {
            Some(value) => value,
            None => {
                let (_, program) = self
                    .composed
                    .iter()
                    .find(|(own, _)| own == name)
                    .ok_or_else(|| ExecutionError::NoSuchKey(Arc::new(name.to_owned())))?;
                let program = match &**program {
                    Ok(program) => program,
                    Err(error) => return Err(failed(format!("compile: {error}"))),
                };
                let value = self.evaluate(program);
                known().insert(name.to_owned(), value.clone());
                value
            }
        };
        value.map_err(|error| failed(format!("evaluate: {error}")))
    }
}
