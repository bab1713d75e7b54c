//! The public keys that tokens are checked with, and their published form.

use super::TokenError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::SignatureScheme;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
}

impl Algorithm {
    pub(super) fn of(public: &[u8]) -> Result<Self, TokenError> {
        match parse(public)?.parsed() {
            Ok(PublicKey::RSA(_)) => Ok(Self::Rs256),
            Ok(PublicKey::EC(point)) if point.key_size() == 256 => Ok(Self::Es256),
            _ => Err(TokenError::Key("it is neither RSA nor P-256".into())),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    pub(super) fn scheme(self) -> SignatureScheme {
        match self {
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        }
    }

    /// TLS writes an ECDSA signature as two DER integers, JOSE as two halves.
    pub(super) fn to_jose(self, signature: &[u8]) -> Option<Vec<u8>> {
        if self == Self::Rs256 {
            return Some(signature.to_vec());
        }
        let body = signature.strip_prefix(&[0x30])?.get(1..)?;
        let (r, rest) = integer(body)?;
        let (s, _) = integer(rest)?;
        let mut out = vec![0; 64];
        out[32 - r.len()..32].copy_from_slice(r);
        out[64 - s.len()..].copy_from_slice(s);
        Some(out)
    }
}

/// A DER integer of at most 32 bytes, without leading zeros, and what follows it.
fn integer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*bytes.strip_prefix(&[0x02])?.first()?);
    let content = bytes.get(2..2 + length)?;
    let zeros = content.iter().take_while(|byte| **byte == 0).count();
    let digits = &content[zeros..];
    (digits.len() <= 32).then_some((digits, &bytes[2 + length..]))
}

fn parse(public: &[u8]) -> Result<SubjectPublicKeyInfo<'_>, TokenError> {
    SubjectPublicKeyInfo::from_der(public)
        .map(|(_, info)| info)
        .map_err(|error| TokenError::Key(error.to_string()))
}

/// The id under which upstream publishes a key: a hash of its public half.
pub(super) fn key_id(public: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, public))
}

struct VerificationKey {
    id: String,
    algorithm: Algorithm,
    raw: UnparsedPublicKey<Vec<u8>>,
    jwk: Value,
}

impl VerificationKey {
    fn new(public: &[u8]) -> Result<Self, TokenError> {
        let info = parse(public)?;
        let algorithm = Algorithm::of(public)?;
        let id = key_id(public);
        let encode = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            URL_SAFE_NO_PAD.encode(&bytes[zeros..])
        };
        let mut jwk = json!({"use": "sig", "kid": id, "alg": algorithm.name()});
        match info.parsed() {
            Ok(PublicKey::RSA(rsa)) => {
                jwk["kty"] = "RSA".into();
                jwk["n"] = encode(rsa.modulus).into();
                jwk["e"] = encode(rsa.exponent).into();
            }
            Ok(PublicKey::EC(point)) if point.data().len() == 65 => {
                jwk["kty"] = "EC".into();
                jwk["crv"] = "P-256".into();
                jwk["x"] = URL_SAFE_NO_PAD.encode(&point.data()[1..33]).into();
                jwk["y"] = URL_SAFE_NO_PAD.encode(&point.data()[33..]).into();
            }
            _ => return Err(TokenError::Key("its form is not supported".into())),
        }
        let raw = info.subject_public_key.data.to_vec();
        Ok(Self {
            id,
            algorithm,
            raw: UnparsedPublicKey::new(algorithm.verification(), raw),
            jwk,
        })
    }
}

/// The keys that tokens are checked with; several while keys are rotated.
pub struct TokenKeys {
    keys: Vec<VerificationKey>,
}

impl TokenKeys {
    /// From public keys in PEM form, one after the other.
    ///
    /// # Errors
    /// If one is neither RSA nor P-256, or there is none.
    pub fn from_pem(public_keys_pem: &str) -> Result<Self, TokenError> {
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(public_keys_pem.as_bytes())
            .map(|der| {
                let der = der.map_err(|_| TokenError::Key("it is not in PEM form".into()))?;
                VerificationKey::new(&der)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(TokenError::Key("there is none".into()));
        }
        Ok(Self { keys })
    }

    /// The JSON Web Key Set, as `/openid/v1/jwks` serves it.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
    }

    /// Checks a token's signature and gives its payload.
    ///
    /// # Errors
    /// If it is malformed or no key made its signature.
    pub fn verify(&self, token: &str) -> Result<Value, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let payload = super::peek(token).ok_or(TokenError::Malformed)?;
        let decode = |text: &str| {
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| TokenError::Malformed)
        };
        let signature = decode(signature)?;
        let header = message.split('.').next().unwrap_or_default();
        let header: Value =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        let (algorithm, id) = (header["alg"].as_str(), header["kid"].as_str());
        let signed_by = |key: &&VerificationKey| {
            algorithm == Some(key.algorithm.name())
                && id.is_none_or(|id| id.is_empty() || id == key.id)
                && key.raw.verify(message.as_bytes(), &signature).is_ok()
        };
        match self.keys.iter().find(signed_by) {
            Some(_) => Ok(payload),
            None => Err(TokenError::Signature),
        }
    }
}

/// The discovery document of the issuer, as `/.well-known/openid-configuration` serves it.
#[must_use]
pub fn openid_configuration(issuer: &str, jwks_uri: &str, keys: &TokenKeys) -> Value {
    let mut algorithms: Vec<&str> = keys.keys.iter().map(|key| key.algorithm.name()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}
