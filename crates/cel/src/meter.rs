//! The meter: evaluation is counted in steps, and ends when they are used up.
//!
//! Every loop of an expression is a comprehension; its condition is wrapped in
//! a call that counts. What is no loop is bounded by the expression's size.

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr};
use kube_cel::cel::{Context, ExecutionError, IdedExpr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps that one expression may take.
pub const EXPRESSION_STEPS_MAX: u64 = 1_000_000;
/// Steps that all expressions of one request may take.
pub const REQUEST_STEPS_MAX: u64 = 10_000_000;

const TICK: &str = "@tick";
/// What the meter says when it stops an evaluation.
pub(crate) const EXCEEDED: &str = "operation cancelled: actual cost limit exceeded";

/// What is left to spend.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: REQUEST_STEPS_MAX,
        }
    }
}

impl Budget {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn allowance(&self) -> u64 {
        self.left.min(EXPRESSION_STEPS_MAX)
    }

    pub(crate) fn spend(&mut self, steps: u64) {
        self.left = self.left.saturating_sub(steps.max(1));
    }
}

/// Counts the steps of one evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    left: Arc<AtomicU64>,
    allowance: u64,
}

impl Meter {
    pub(crate) fn new(allowance: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(allowance)),
            allowance,
        }
    }

    /// Makes the expressions of a context count here.
    pub(crate) fn install(&self, context: &mut Context<'_>) {
        let left = self.left.clone();
        context.add_function(TICK, move |on: bool| -> Result<bool, ExecutionError> {
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
            match before {
                Ok(_) => Ok(on),
                Err(_) => Err(ExecutionError::function_error(TICK, EXCEEDED)),
            }
        });
    }

    pub(crate) fn spent(&self) -> u64 {
        self.allowance - self.left.load(Ordering::Relaxed)
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// Makes every loop of an expression count.
pub(crate) fn instrument(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| instrument(target));
            call.args.iter_mut().for_each(instrument);
        }
        Expr::Comprehension(loops) => {
            for part in [
                &mut loops.iter_range,
                &mut loops.accu_init,
                &mut loops.loop_step,
                &mut loops.result,
            ] {
                instrument(part);
            }
            let condition = std::mem::take(&mut loops.loop_cond);
            // `@not_strictly_false` swallows errors, so the count stands outside.
            loops.loop_cond = IdedExpr {
                id: condition.id,
                expr: Expr::Call(CallExpr {
                    func_name: TICK.to_owned(),
                    target: None,
                    args: vec![condition],
                }),
            };
        }
        Expr::List(list) => list.elements.iter_mut().for_each(instrument),
        Expr::Map(map) => map
            .entries
            .iter_mut()
            .for_each(|entry| entry_of(&mut entry.expr)),
        Expr::Struct(value) => value
            .entries
            .iter_mut()
            .for_each(|entry| entry_of(&mut entry.expr)),
        Expr::Select(select) => instrument(&mut select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entry_of(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::MapEntry(entry) => {
            instrument(&mut entry.key);
            instrument(&mut entry.value);
        }
        EntryExpr::StructField(field) => instrument(&mut field.value),
    }
}
