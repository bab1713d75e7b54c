//! What policies and webhooks share: both are configured by objects, say by
//! rules which requests they mean, and see them in a form of their choice.
//!
//! **Invariant:** what is decided here is decided from this server's watch
//! cache, so a change is in force on every server as soon as it has arrived.

mod expressions;
mod json_patch;
mod live;
mod matching;
mod reinvocation;
mod request;

pub(super) use expressions::{Conditions, Expression, Failure, Subject};
pub(super) use json_patch::{PatchFailure, apply as apply_json_patch};
pub(super) use live::Live;
pub(super) use matching::Criteria;
pub use reinvocation::Reinvocation;
pub(super) use request::{Request, is_configuration};
