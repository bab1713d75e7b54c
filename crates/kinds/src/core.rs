//! The kinds of the group `core`.

pub(crate) mod binding;
pub(crate) mod component_status;
pub(crate) mod config_map;
pub(crate) mod endpoints;
pub(crate) mod event;
pub(crate) mod event_checks;
pub(crate) mod limit_range;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod persistent_volume;
pub(crate) mod persistent_volume_claim;
pub(crate) mod pod;
pub(crate) mod pod_cells;
pub(crate) mod pod_defaults;
pub(crate) mod pod_template;
pub(crate) mod pod_validate;
mod pod_warnings;
pub(crate) mod qos;
pub(crate) mod replication_controller;
pub(crate) mod resource_quota;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod service_checks;
pub(crate) mod service_fields;
