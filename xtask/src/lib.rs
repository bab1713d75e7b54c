//! What `cargo xtask` is made of: installing, building, and bringing up whole
//! clusters in network namespaces of their own.
//!
//! The end-to-end tests use the same pieces, so that what they test is what a
//! user gets.
//!
//! **Invariant:** nothing here reaches the host's network: the switch and every
//! machine live in namespaces without a default route, and the only way in is a
//! forwarder on 127.0.0.1.

pub mod apiserver;
pub mod app;
pub mod build;
pub mod chaos;
pub mod cluster;
pub mod containerd;
pub mod down;
pub mod fetch;
pub mod forwarder;
pub mod images;
pub mod install;
pub mod kubectl;
pub mod netns;
pub mod paths;
pub mod process;
pub mod progress;
pub mod rocksdb;
pub mod shell;
pub mod sim;
pub mod status;
pub mod suite;
pub mod topology;
pub mod up;
