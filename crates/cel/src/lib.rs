//! Kubernetes' dialect of CEL: expressions are compiled once against the types
//! of their variables and evaluated within a budget.
//!
//! Parsing, evaluation and the extension functions (strings, lists, sets,
//! regex, URL, IP, CIDR, quantity, semver, format, math) are `kube-cel`'s; the
//! types, their check, the texts of complaints and the meter are here.
//!
//! **Invariants:** an expression that compiles names only variables, fields and
//! functions that exist; an evaluation ends after a bounded number of steps.

mod activation;
mod authorizer;
mod check;
mod cost;
mod escape;
mod meter;
mod optional;
mod program;
mod rewrite;
mod source;
mod ty;
mod value;

#[cfg(test)]
mod tests;

pub use activation::{Activation, Composed};
pub use authorizer::{Answer, Authorizer, Question, authorizer, request_resource};
pub use cost::Cost;
pub use escape::escape;
pub use kube_cel::cel::Value;
pub use meter::{Budget, EXPRESSION_STEPS_MAX, REQUEST_STEPS_MAX};
pub use program::{CompileError, EvaluationError, Program, Wanted};
pub use ty::{ObjectType, Type};
pub use value::{from_json, optional, to_json};
