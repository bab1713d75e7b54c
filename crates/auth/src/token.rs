//! Service-account tokens: JSON web tokens bound to a service account and,
//! usually, to the pod that uses them.
//!
//! RS256 (RFC 7518) for keys brought along, ES256 for keys made here. Nothing
//! else is ever accepted: the algorithm follows from the key, not from the
//! token's header, so `none` and key confusion cannot arise.

mod claims;
mod keys;

pub use claims::{BoundObject, Claims, ObjectName, PrivateClaims, TokenRequest};
pub use keys::{TokenKeys, openid_configuration};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::Algorithm;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use std::sync::Arc;

/// Tokens longer than this are refused unread.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// What can go wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The signing or verification key cannot be used.
    #[error("unusable service account key: {0}")]
    Key(String),
    /// The token is not a signed JSON web token.
    #[error("not a well-formed token")]
    Malformed,
    /// No known key made its signature.
    #[error("invalid signature")]
    Signature,
    /// The request for a token is not allowed.
    #[error("{0}")]
    Request(String),
}

/// Signs tokens.
pub struct TokenIssuer {
    issuer: String,
    key: Arc<dyn SigningKey>,
    algorithm: Algorithm,
    key_id: String,
}

impl TokenIssuer {
    /// With a private key in PEM form.
    ///
    /// # Errors
    /// If the key is neither RSA nor P-256.
    pub fn new(issuer: &str, private_key_pem: &str) -> Result<Self, TokenError> {
        let unusable = |error: &dyn std::fmt::Display| TokenError::Key(error.to_string());
        let der = PrivateKeyDer::from_pem_slice(private_key_pem.as_bytes())
            .map_err(|_| TokenError::Key("it is not in PEM form".into()))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&der)
            .map_err(|error| unusable(&error))?;
        let public = key
            .public_key()
            .ok_or_else(|| unusable(&"it has no public half"))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            algorithm: Algorithm::of(&public)?,
            key_id: keys::key_id(&public),
            key,
        })
    }

    /// The issuer, as tokens name it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs claims.
    ///
    /// # Errors
    /// If the key does not sign.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let header = json!({"alg": self.algorithm.name(), "kid": self.key_id});
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let payload = serde_json::to_value(claims).expect("claims always encode");
        let message = format!("{}.{}", encode(&header), encode(&payload));
        let failed = || TokenError::Key("it does not sign".into());
        let signature = self
            .key
            .choose_scheme(&[self.algorithm.scheme()])
            .ok_or_else(failed)?
            .sign(message.as_bytes())
            .map_err(|_| failed())?;
        let signature = self.algorithm.to_jose(&signature).ok_or_else(failed)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The claims of a token whose signature has not been checked yet.
pub(crate) fn peek(token: &str) -> Option<serde_json::Value> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
