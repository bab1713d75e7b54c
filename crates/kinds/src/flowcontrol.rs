//! The kinds of the group `flowcontrol.apiserver.k8s.io`.

mod checks;
pub(crate) mod flow_schema;
pub(crate) mod priority_level_configuration;
