//! Tokens with which machines join a cluster.

use crate::authority::{bundle, pin};
use crate::{Authority, PkiError, key};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "kontiki1";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const PIN_LENGTH: usize = 64;

/// A bootstrap token, `abcdef.0123456789abcdef`: the server knows it as the
/// Secret `bootstrap-token-abcdef` in `kube-system`.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl BootstrapToken {
    /// Makes a new one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, PkiError> {
        // 36 letters out of 256 values: values from 252 on would make the first
        // four letters likelier, so they are passed over.
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(ID_LENGTH + SECRET_LENGTH);
        while text.len() < ID_LENGTH + SECRET_LENGTH {
            let [byte] = key::random::<1>()?;
            if byte < 252 {
                text.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
            }
        }
        let secret = text.split_off(ID_LENGTH);
        Ok(Self { id: text, secret })
    }

    /// The part that may be shown.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The part that may not.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// `id.secret`, as a bearer token.
    #[must_use]
    pub fn to_bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl FromStr for BootstrapToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let valid = |part: &str, length: usize| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        match text.split_once('.') {
            Some((id, secret)) if valid(id, ID_LENGTH) && valid(secret, SECRET_LENGTH) => {
                Ok(Self {
                    id: id.to_owned(),
                    secret: secret.to_owned(),
                })
            }
            _ => Err(PkiError::Token(
                "a bootstrap token is 6 and 16 lower-case letters and digits with a dot between",
            )),
        }
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({}.***)", self.id)
    }
}

/// What an operator carries to a new machine:
/// `kontiki1.<sha256 of the CA certificate>.<id>.<secret>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    pin: String,
    bootstrap: BootstrapToken,
}

impl JoinToken {
    /// A token for the cluster of a CA.
    #[must_use]
    pub fn new(authority: &Authority, bootstrap: BootstrapToken) -> Self {
        Self {
            pin: authority.pin(),
            bootstrap,
        }
    }

    /// A token for the cluster whose CA certificate this is, as a kubeconfig
    /// holds it.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn for_certificate(
        authority_pem: &str,
        bootstrap: BootstrapToken,
    ) -> Result<Self, PkiError> {
        let certificates = bundle(authority_pem)?;
        Ok(Self {
            pin: pin(&certificates[0]),
            bootstrap,
        })
    }

    /// SHA-256 of the CA certificate, in hex.
    #[must_use]
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// The bootstrap token in it.
    #[must_use]
    pub fn bootstrap(&self) -> &BootstrapToken {
        &self.bootstrap
    }

    /// The whole text. Mind where it goes.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}", self.pin, self.bootstrap.to_bearer())
    }
}

impl FromStr for JoinToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let rest = text
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or(PkiError::Token("a join token begins with \"kontiki1.\""))?;
        let (pin, bootstrap) = rest
            .split_once('.')
            .ok_or(PkiError::Token("a join token has four parts"))?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if pin.len() != PIN_LENGTH || !pin.bytes().all(is_hex) {
            return Err(PkiError::Token(
                "the second part of a join token is 64 lower-case hex digits",
            ));
        }
        Ok(Self {
            pin: pin.to_owned(),
            bootstrap: bootstrap.parse()?,
        })
    }
}
