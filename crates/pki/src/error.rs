//! What can go wrong with keys and certificates.

use std::path::PathBuf;

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Some of the files that belong together are there and others are not.
    #[error(
        "{directory} has some of the cluster's keys but not {missing}: restore that file from a backup or another server, or move the directory away to begin a new cluster"
    )]
    Incomplete {
        /// The directory.
        directory: PathBuf,
        /// The first file that is missing.
        missing: String,
    },
    /// A PEM text has not the sections that it should have.
    #[error("{what} is not valid PEM: {why}")]
    Pem {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate cannot be understood.
    #[error("malformed certificate {what}: {why}")]
    Certificate {
        /// Which one.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate signing request cannot be understood or is not signed by its own key.
    #[error("malformed certificate signing request: {0}")]
    Request(String),
    /// A private key cannot be used.
    #[error("unusable private key: {0}")]
    Key(String),
    /// A certificate and a key do not belong together.
    #[error("the certificate {0} does not belong to its private key")]
    Mismatch(String),
    /// A token has not the form that it should have.
    #[error("malformed token: {0}")]
    Token(&'static str),
    /// A TLS configuration could not be made.
    #[error("cannot configure TLS: {0}")]
    Tls(String),
    /// A bundle of cluster secrets cannot be understood.
    #[error("malformed bundle of cluster secrets: {0}")]
    Bundle(String),
    /// The system has no random numbers to give.
    #[error("no random numbers available")]
    Random,
}
