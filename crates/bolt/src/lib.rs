//! bbolt files, as far as etcd's snapshots need them: written in one go from
//! sorted content, and read back without trust.
//!
//! A file is pages of one size: two metas, a list of free pages, and a B+ tree
//! of branch and leaf pages a bucket. The buckets are the values of the root
//! bucket. The layout is the one of bbolt's file format version 2.
//!
//! **Invariants**
//! - [`Writer`] holds one page and one key a finished page in memory, however
//!   large the content.
//! - [`Reader`] never panics, never reads more than the file holds and visits
//!   no page twice, whatever the file says.

mod format;
mod reader;
mod writer;

pub use format::{Error, PAGE_BYTES};
pub use reader::{Bucket, Reader, Source};
pub use writer::{BucketWriter, Writer};
