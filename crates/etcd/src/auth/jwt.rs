//! JSON Web Tokens (RFC 7519) of etcd's form: `username`, `revision`, `exp`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use ring::{hmac, signature::RsaEncoding};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Why tokens cannot be made like this.
#[derive(Debug, Error)]
pub enum JwtError {
    /// Not a method that etcd has, or that is still safe.
    #[error(
        "tokens cannot be signed with {0:?}; use RS256, RS384, RS512, ES256, ES384, EdDSA, HS256, HS384 or HS512"
    )]
    Method(String),
    /// No key is given.
    #[error("{0} needs priv-key: the key that signs")]
    NoKey(String),
    /// The key does not fit.
    #[error("the key is none for {method}: {reason}")]
    Key {
        /// The method.
        method: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) username: String,
    pub(crate) revision: u64,
    pub(crate) exp: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

enum Key {
    Rsa(
        RsaKeyPair,
        &'static dyn RsaEncoding,
        &'static signature::RsaParameters,
    ),
    Ecdsa(EcdsaKeyPair, &'static signature::EcdsaVerificationAlgorithm),
    Ed25519(Ed25519KeyPair),
    Hmac(hmac::Key),
}

/// Makes and checks tokens with one key.
#[derive(Clone)]
pub struct Jwt {
    method: String,
    key: Arc<Key>,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt({})", self.method)
    }
}

/// The content of a PEM file's first block: PKCS#8, or the secret itself.
fn der(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, after) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = after.split_once("-----END")?;
    let body: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

impl Jwt {
    /// With the key that signs, in PEM (PKCS#8), or the secret of an HS method.
    /// The public key is part of it and `public` needs not be given.
    pub fn new(
        method: &str,
        _public: Option<&[u8]>,
        private: Option<&[u8]>,
    ) -> Result<Self, JwtError> {
        let private = private.ok_or_else(|| JwtError::NoKey(method.to_owned()))?;
        let wrong = |reason: &dyn fmt::Display| JwtError::Key {
            method: method.to_owned(),
            reason: reason.to_string(),
        };
        let pkcs8 = || der(private).ok_or_else(|| wrong(&"it is no PRIVATE KEY in PEM (PKCS#8)"));
        let rsa = |encoding, parameters| -> Result<Key, JwtError> {
            let pair = RsaKeyPair::from_pkcs8(&pkcs8()?).map_err(|error| wrong(&error))?;
            Ok(Key::Rsa(pair, encoding, parameters))
        };
        let ecdsa = |signing, verifying| -> Result<Key, JwtError> {
            let pair = EcdsaKeyPair::from_pkcs8(signing, &pkcs8()?, &SystemRandom::new());
            Ok(Key::Ecdsa(pair.map_err(|error| wrong(&error))?, verifying))
        };
        let key = match method {
            "RS256" => rsa(
                &signature::RSA_PKCS1_SHA256,
                &signature::RSA_PKCS1_2048_8192_SHA256,
            )?,
            "RS384" => rsa(
                &signature::RSA_PKCS1_SHA384,
                &signature::RSA_PKCS1_2048_8192_SHA384,
            )?,
            "RS512" => rsa(
                &signature::RSA_PKCS1_SHA512,
                &signature::RSA_PKCS1_2048_8192_SHA512,
            )?,
            "ES256" => ecdsa(
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                &signature::ECDSA_P256_SHA256_FIXED,
            )?,
            "ES384" => ecdsa(
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                &signature::ECDSA_P384_SHA384_FIXED,
            )?,
            "EdDSA" => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8()?);
                Key::Ed25519(pair.map_err(|error| wrong(&error))?)
            }
            "HS256" => Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, private)),
            "HS384" => Key::Hmac(hmac::Key::new(hmac::HMAC_SHA384, private)),
            "HS512" => Key::Hmac(hmac::Key::new(hmac::HMAC_SHA512, private)),
            _ => return Err(JwtError::Method(method.to_owned())),
        };
        Ok(Self {
            method: method.to_owned(),
            key: Arc::new(key),
        })
    }

    /// `None` if the system has no random numbers.
    pub(crate) fn issue(&self, user: &str, revision: u64, expires: u64) -> Option<String> {
        let claims = Claims {
            username: user.to_owned(),
            revision,
            exp: expires,
        };
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.method);
        let claims = serde_json::to_vec(&claims).expect("plain data");
        let body = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signed = self.sign(body.as_bytes())?;
        Some(format!("{body}.{}", URL_SAFE_NO_PAD.encode(signed)))
    }

    /// What a token says that this key signed and whose time is not over.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Option<Claims> {
        let (body, signed) = token.rsplit_once('.')?;
        let (header, claims) = body.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        // The key decides about the method, never the token.
        if header.alg != self.method
            || !self.is_signed(body.as_bytes(), &URL_SAFE_NO_PAD.decode(signed).ok()?)
        {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims.exp > now).then_some(claims)
    }

    fn sign(&self, body: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        Some(match &*self.key {
            Key::Rsa(pair, encoding, _) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, body, &mut signed).ok()?;
                signed
            }
            Key::Ecdsa(pair, _) => pair.sign(&random, body).ok()?.as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(body).as_ref().to_vec(),
            Key::Hmac(key) => hmac::sign(key, body).as_ref().to_vec(),
        })
    }

    fn is_signed(&self, body: &[u8], signed: &[u8]) -> bool {
        match &*self.key {
            Key::Rsa(pair, _, parameters) => {
                UnparsedPublicKey::new(*parameters, pair.public().as_ref())
                    .verify(body, signed)
                    .is_ok()
            }
            Key::Ecdsa(pair, algorithm) => {
                UnparsedPublicKey::new(*algorithm, pair.public_key().as_ref())
                    .verify(body, signed)
                    .is_ok()
            }
            Key::Ed25519(pair) => {
                UnparsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref())
                    .verify(body, signed)
                    .is_ok()
            }
            Key::Hmac(key) => hmac::verify(key, body, signed).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(der: &[u8]) -> Vec<u8> {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n").into_bytes()
    }

    fn ecdsa() -> Jwt {
        let signing = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).expect("a key");
        Jwt::new("ES256", None, Some(&pem(key.as_ref()))).expect("it fits")
    }

    #[test]
    fn a_token_says_who_it_is_for_until_its_time_is_over() {
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        for jwt in [
            ecdsa(),
            Jwt::new("EdDSA", None, Some(&pem(ed25519.as_ref()))).expect("it fits"),
            Jwt::new("HS512", None, Some(b"secret")).expect("any secret fits"),
        ] {
            let token = jwt.issue("a.b", 7, 100).expect("a token");
            let claims = jwt.verify(&token, 99).expect("it is good");
            assert_eq!((claims.username.as_str(), claims.revision), ("a.b", 7));
            assert_eq!(jwt.verify(&token, 100), None, "its time is over");
            assert_eq!(ecdsa().verify(&token, 99), None, "another key");
            let (body, _) = token.rsplit_once('.').expect("three parts");
            let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
            let (_, claims) = body.split_once('.').expect("two parts");
            for forged in [
                body.to_owned(),
                format!("{body}."),
                format!("{none}.{claims}."),
                String::new(),
                "..".to_owned(),
            ] {
                assert_eq!(jwt.verify(&forged, 99), None, "{forged}");
            }
        }
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        assert!(matches!(
            Jwt::new("RS256", None, None),
            Err(JwtError::NoKey(_))
        ));
        assert!(matches!(
            Jwt::new("none", None, Some(b"x")),
            Err(JwtError::Method(_))
        ));
        assert!(matches!(
            Jwt::new("ES256", None, Some(b"x")),
            Err(JwtError::Key { .. })
        ));
    }
}
