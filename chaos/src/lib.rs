//! What losing a server costs, measured on a running cluster, and what the store
//! promises, tried on real processes with faults from outside.
//!
//! [`trial`] runs members of the store in network namespaces of their own, kills,
//! pauses and cuts them off, fills their disks and damages their files while
//! clients work, and holds everything that clients saw against the promises.
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
pub mod trial;
pub mod writers;
