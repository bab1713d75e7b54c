//! A pod's volumes: what lies in them, and where they are mounted.
//!
//! - [`content`] computes the files of volumes that come from API objects (pure).
//! - [`atomic`] puts such files on disk so that readers see all of a change or none.
//! - [`mounts`] says where a container sees what.
//!
//! **Invariant:** making a volume ready twice is the same as once, so that a
//! restart of the agent, a retry and a refresh are one path.

pub mod atomic;
pub mod content;
mod directory;
pub mod mounts;

pub use directory::Volumes;
