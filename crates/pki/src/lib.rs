//! Who trusts whom: certificate authorities, certificates, join tokens, TLS
//! configurations and kubeconfig files.
//!
//! * [`ClusterSecrets`] is what the servers of one cluster share: the cluster's
//!   CA, the store's own CA, the front proxy's CA and the key that signs
//!   service-account tokens. The first server makes them, others are given a
//!   [`ClusterSecrets::to_bundle`].
//! * [`Authority`] issues: certificates of its own making for a [`Profile`], and
//!   for certificate signing requests ([`CertificateRequest`]).
//! * [`Credentials`] is a certificate chain with its key; [`tls`] makes rustls
//!   configurations that take renewed ones in without a restart.
//! * [`JoinToken`] is what an operator carries to a new machine: it pins the CA
//!   and proves the right to join.
//!
//! **Invariants:** private keys are never printed, not even by `Debug`, and lie
//! in files that only their owner can read. The clock is always an argument.

mod authority;
mod credentials;
mod der;
mod error;
mod files;
mod key;
pub mod kubeconfig;
mod profile;
mod request;
mod secrets;
pub mod tls;
mod token;

pub use authority::{Authority, SigningPolicy};
pub use credentials::Credentials;
pub use error::PkiError;
pub use files::{read as read_file, write_private, write_public};
pub use key::PrivateKey;
pub use profile::{Profile, ServerNames};
pub use request::{CertificateRequest, Usages};
pub use secrets::{ClusterSecrets, SERVICE_ACCOUNT_KEY_FILE};
pub use token::{BootstrapToken, JoinToken};
