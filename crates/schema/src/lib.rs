//! What the Kubernetes v1.36 API types look like: members, types, protobuf
//! tags, and how lists and maps merge, as one table that is read at run time.
//!
//! Objects are trees ([`serde_json::Value`]); everything that has to know a
//! type walks the tree beside the table:
//!
//! - [`protobuf`] turns objects into Kubernetes' protobuf form and back,
//! - [`strict`] finds unknown and duplicate members and wrong types,
//! - [`normal`] brings an object into the form that the API serves,
//! - [`openapi`] renders the table as OpenAPI v2 and v3 documents,
//! - [`node`] lets merge code walk built-in and custom types alike.
//!
//! The table is made by the build script out of published crates; the files
//! beside it add the few facts that they lack, each with its source.
//!
//! **Invariant:** the table is immutable and complete: a [`TypeRef`] always
//! names a type.

mod docs;
mod load;
mod table;

pub mod node;
pub mod normal;
pub mod openapi;
pub mod protobuf;
pub mod strict;

pub use node::Node;
pub use table::{
    Field, Form, GroupVersionKind, ListType, MapType, Presence, Schema, Strategies, Type, TypeRef,
    ValueType,
};
