//! Private keys.

use crate::{PkiError, der};
use base64::Engine;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::sync::Arc;

/// A private key: P-256 when made here; RSA, P-384 and Ed25519 can be read.
#[derive(Clone)]
pub struct PrivateKey {
    pem: String,
    signer: Arc<dyn SigningKey>,
}

impl PrivateKey {
    /// Makes a new P-256 key.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, PkiError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(|_| PkiError::Random)?;
        Self::from_pem(&pem("PRIVATE KEY", document.as_ref()))
    }

    /// Reads a key in PKCS#8, PKCS#1 or SEC1 form.
    ///
    /// # Errors
    /// If it is malformed or of a kind that cannot sign.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let der =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| PkiError::Pem {
                what: "a private key".into(),
                why: error.to_string(),
            })?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&der)
            .map_err(|error| PkiError::Key(error.to_string()))?;
        Ok(Self {
            pem: text.to_owned(),
            signer,
        })
    }

    /// The key in PEM form. Mind where it goes.
    #[must_use]
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// The `SubjectPublicKeyInfo` of its public half, in DER.
    #[must_use]
    pub fn public_key_der(&self) -> Vec<u8> {
        self.signer
            .public_key()
            .map(|key| key.to_vec())
            .unwrap_or_default()
    }

    /// Its public half in PEM form.
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_key_der())
    }

    pub(crate) fn signing_key(&self) -> Arc<dyn SigningKey> {
        self.signer.clone()
    }

    /// Signs `message`; gives the algorithm identifier and the signature, as
    /// certificates hold them.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
        let signer = self
            .signer
            .choose_scheme(&[
                SignatureScheme::ECDSA_NISTP256_SHA256,
                SignatureScheme::ECDSA_NISTP384_SHA384,
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::ED25519,
            ])
            .ok_or_else(|| PkiError::Key("no signature scheme for this kind of key".into()))?;
        let signature = signer
            .sign(message)
            .map_err(|error| PkiError::Key(error.to_string()))?;
        Ok((algorithm(signer.scheme()), signature))
    }

    /// The algorithm identifier of its signatures.
    pub(crate) fn algorithm(&self) -> Result<Vec<u8>, PkiError> {
        Ok(self.sign(&[])?.0)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

fn algorithm(scheme: SignatureScheme) -> Vec<u8> {
    let plain = |arcs: &[u32]| der::sequence(&[der::oid(arcs)]);
    match scheme {
        SignatureScheme::ECDSA_NISTP384_SHA384 => plain(&[1, 2, 840, 10045, 4, 3, 3]),
        SignatureScheme::RSA_PKCS1_SHA256 => der::sequence(&[
            der::oid(&[1, 2, 840, 113_549, 1, 1, 11]),
            der::element(0x05, &[]),
        ]),
        SignatureScheme::ED25519 => plain(&[1, 3, 101, 112]),
        _ => plain(&[1, 2, 840, 10045, 4, 3, 2]),
    }
}

/// A PEM section.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = &*encoded;
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes)
        .map_err(|_| PkiError::Random)?;
    Ok(bytes)
}
