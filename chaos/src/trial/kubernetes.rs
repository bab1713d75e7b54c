//! The Kubernetes API instead of the store's own: clients that create, update,
//! delete, list and watch ConfigMaps through every server.
//!
//! A resource version is a revision of the store, and one that other objects take
//! as well. What clients saw of their own objects is [translated](translation) to
//! a store that holds nothing else, so that the same checkers judge it.

pub(crate) mod clients;
pub(crate) mod notes;
pub(crate) mod translation;
pub(crate) mod watchers;
