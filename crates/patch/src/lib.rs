//! The four ways to change an object: JSON Patch, JSON merge patch, strategic
//! merge patch and server-side apply, and the record of who owns which field.
//!
//! Everything here is a pure function over JSON trees and a
//! [`kontiki_schema::Node`], so built-in and custom types share one path. The
//! time and the name of the manager come from the caller.
//!
//! **Invariant:** objects given to [`ssa`] are in the form that the API serves
//! ([`kontiki_schema::normal`]); ownership is computed from it.

mod json;
mod merge;
mod strategic;

pub mod fields;
pub mod managed;
pub mod ssa;
pub mod syntax;
pub mod typed;

pub use json::{OPERATIONS_MAX, json_patch};
pub use merge::{merge, merge_patch};
pub use strategic::strategic_merge_patch;

use thiserror::Error;

/// Why a patch was not applied. The text is what clients are told; the variant
/// says which answer it belongs to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatchError {
    /// The patch cannot be read: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object: 422, with a text that tells nothing.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable {
        /// The reason, for the log.
        reason: String,
    },
    /// The patched object is none of its type: 422, invalid at `patch`.
    #[error("patch: Invalid value: {patch:?}: {detail}")]
    Unfit {
        /// The patch, as Go prints it.
        patch: String,
        /// What does not fit.
        detail: String,
    },
    /// More operations than are allowed: 413.
    #[error("{0}")]
    TooLarge(String),
    /// A directive that makes no sense: 500, as upstream answers.
    #[error("{0}")]
    Internal(String),
}
