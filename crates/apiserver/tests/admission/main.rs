//! Admission, through the in-process transport and the router.

mod defaults;
mod hook_server;
mod node_restriction;
mod policies;
mod rbac_escalation;
mod resource_quota;
mod switched;
mod webhooks;
mod world;
