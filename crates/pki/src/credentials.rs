//! A certificate with its key.

use crate::{PkiError, PrivateKey, files};
use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate chain, leaf first, and the leaf's private key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The chain in PEM form.
    pub chain_pem: String,
    /// The key.
    pub key: PrivateKey,
}

impl Credentials {
    /// Reads a chain and a key.
    ///
    /// # Errors
    /// If one is malformed or they do not belong together.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let credentials = Self {
            chain_pem: chain_pem.to_owned(),
            key: PrivateKey::from_pem(key_pem)?,
        };
        let chain = credentials.chain()?;
        let (leaf, subject) = parse(&chain[0])?;
        if leaf.public_key().raw != credentials.key.public_key_der() {
            return Err(PkiError::Mismatch(subject));
        }
        Ok(credentials)
    }

    /// Reads `stem.crt` and `stem.key`.
    ///
    /// # Errors
    /// If a file cannot be read or they do not belong together.
    pub fn load(stem: &Path) -> Result<Self, PkiError> {
        Self::from_pem(
            &files::read(&stem.with_extension("crt"))?,
            &files::read(&stem.with_extension("key"))?,
        )
    }

    /// Writes `stem.crt` and `stem.key`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn store(&self, stem: &Path) -> Result<(), PkiError> {
        files::write_private(&stem.with_extension("key"), self.key.to_pem())?;
        files::write_public(&stem.with_extension("crt"), &self.chain_pem)
    }

    /// The chain, leaf first; never empty.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        certificates(&self.chain_pem)
    }

    /// As rustls wants it.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, PkiError> {
        Ok(Arc::new(CertifiedKey::new(
            self.chain()?,
            self.key.signing_key(),
        )))
    }

    /// From when until when the leaf is valid.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), PkiError> {
        validity(&self.chain()?[0])
    }

    /// Whether less than a third of its life is left, so that it should be renewed.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn needs_renewal(&self, now: Timestamp) -> Result<bool, PkiError> {
        let (start, end) = self.validity()?;
        let life = end.as_second() - start.as_second();
        Ok(now.as_second() > end.as_second() - life / 3)
    }

    /// Days until it expires; negative once it has.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn days_left(&self, now: Timestamp) -> Result<i64, PkiError> {
        let (_, end) = self.validity()?;
        Ok((end.as_second() - now.as_second()).div_euclid(86_400))
    }
}

/// The certificates of a PEM text; at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let wrong = |why: String| PkiError::Pem {
        what: "a certificate".into(),
        why,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("it has no CERTIFICATE section".into()));
    }
    Ok(chain)
}

/// The parsed certificate and its subject.
pub(crate) fn parse<'a>(
    der: &'a CertificateDer<'_>,
) -> Result<(X509Certificate<'a>, String), PkiError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| PkiError::Certificate {
            what: "in DER form".into(),
            why: error.to_string(),
        })?;
    let subject = certificate.subject().to_string();
    Ok((certificate, subject))
}

pub(crate) fn validity(der: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), PkiError> {
    let (certificate, subject) = parse(der)?;
    let time = |seconds: i64| {
        Timestamp::from_second(seconds).map_err(|error| PkiError::Certificate {
            what: subject.clone(),
            why: error.to_string(),
        })
    };
    Ok((
        time(certificate.validity().not_before.timestamp())?,
        time(certificate.validity().not_after.timestamp())?,
    ))
}
