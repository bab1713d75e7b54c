//! End-to-end tests: real kubectl binaries, real containers, one cluster of
//! three servers and two nodes.
//!
//! They need root, and run one after the other: `cargo xtask test e2e`.

mod access;
mod application;
mod bad_days;
mod chaos;
mod commands;
mod disruption;
mod etcd;
mod malformed;
mod network;
mod pods;
