//! Structural schemas: what CustomResourceDefinitions say of their objects.
//!
//! * [`Structural`] is a schema, parsed once.
//! * [`shape`] prunes and fills in defaults; [`validate`] checks values, and
//!   ratchets: what an update leaves as it was is not complained about.
//! * [`rules`] are `x-kubernetes-validations`; [`lists`] and [`embedded`] check
//!   list maps, sets and embedded objects.
//! * [`definition`] validates definitions themselves.
//!
//! Everything here is a pure function over JSON trees; complaints have
//! upstream's paths and texts.

pub mod definition;
pub mod embedded;
pub mod lists;
pub mod rules;
pub mod shape;
pub mod validate;

mod formats;
mod pattern;
mod schema;
mod types;

#[cfg(test)]
mod tests;

pub use schema::{Additional, Checks, Form, ListType, Structural};
