//! What every part of Kontiki means by "an object": a tree with metadata, the
//! names of resources and kinds, selectors, quantities, times, and the `Status`
//! that tells what went wrong.
//!
//! **Invariant:** pure data. No schema, no store, no HTTP library, no clock.

mod equality;
pub mod names;
mod object;
mod quantity;
mod resource;
mod selector;
mod status;
pub mod time;

pub use equality::{same, same_trees};
pub use object::{Object, OwnerReference, SharedObject};
pub use quantity::{Quantity, QuantityError, QuantityFormat};
pub use resource::{GroupVersion, GroupVersionKind, GroupVersionResource};
pub use selector::{FieldSelector, LabelSelector, Operator, Requirement, SelectorError};
pub use status::{Cause, Details, Status};

/// The JSON tree that objects are made of.
pub use serde_json::{Map, Value};
