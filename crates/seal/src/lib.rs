//! Encryption at rest: how what lies on a member's disk is sealed.
//!
//! Operators give a file of named keys, the first of which is in use. It opens one
//! small file beside the store's data, the *key store*, which holds the keys that
//! seal the data themselves. So another operators' key takes effect at once, by
//! writing the key store anew, and everything written from then on is sealed with
//! a data key of its own. The reasoning is in
//! `docs/decisions/0013-sealed-rows-under-a-sealed-key-store.md`.
//!
//! **Invariants**
//! - No key is used before the key store that holds it is durable.
//! - A key that is missing or wrong is never taken for damaged data.

mod cipher;
mod key_file;
mod keyring;

pub use cipher::Unsealing;
pub use key_file::{KeyFile, KeyFileError};
pub use keyring::{Keyring, SealError};
