//! What losing a server costs, measured on a running cluster.
//!
//! [`failover`] kills (or freezes) the server that leads while clients write and
//! fetch a page, and tells when who took over, which acknowledged writes are
//! gone and which fetches failed.
//!
//! * [`timeline`] and [`ledger`] are pure: what was seen in, verdict out.
//! * [`writers`], [`pages`] and [`observer`] see it.
//!
//! **Invariant:** a write counts as acknowledged only once its answer has been
//! read, and is compared with what every server answers afterwards.

pub mod failover;
pub mod ledger;
pub mod members;
pub mod observer;
pub mod pages;
pub mod report;
pub mod timeline;
pub mod writers;
