//! Every resource that the API serves: its names, how it is stored, defaulted,
//! validated, prepared for a write, and shown in a table.
//!
//! A [`Kind`] is data plus a [`Strategy`]; the registry has one path for all of
//! them, and a `CustomResourceDefinition` becomes a [`Kind`] at run time.
//! [`all`] lists the built-in ones in the order in which discovery shows them.
//! [`lifecycle`] holds the order of steps that every write goes through.
//!
//! **Invariant:** pure. Time and the caller come in through [`Context`]; no
//! clock, no store, no network.

pub mod custom;
pub mod field;
pub mod kind;
pub mod lifecycle;
pub mod meta;
pub mod names;
pub mod strategy;
pub mod table;

mod amounts;
mod cells;
mod check;
mod go_form;
mod go_json;
mod ip;
mod list;
mod rules;
mod tree;
mod view;

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod networking;
mod node;
mod policy;
pub mod quota;
mod rbac;
mod resource;
mod scheduling;
mod storage;

/// What services' fields follow from.
pub mod service {
    pub use crate::core::service_fields::{
        Family, carry_over, cluster_ips, join_cluster_ips, settle_families, wanted_families,
        wants_health_port, wants_node_ports,
    };
}

pub use admissionregistration::expressions;
pub use custom::{CustomForm, ScalePaths};
pub use field::{ErrorKind, FieldError, FieldErrors, Path};
pub use kind::{Conversion, Kind, SelectableField, Storage, Subresource};
pub use list::{all, find, find_kind};
pub use strategy::{
    Context, DeleteOptions, GarbageCollection, Grace, MetadataChecks, NameRule, Requester, Strategy,
};
pub use table::{Cell, CellContext, Column};

/// The JSON tree of one object.
pub type Tree = kontiki_object::Map<String, kontiki_object::Value>;
