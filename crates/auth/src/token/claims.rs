//! What tokens say.

use super::TokenError;
use crate::user::SERVICE_ACCOUNT_PREFIX;
use jiff::Timestamp;
use kontiki_object::Object;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Deserializer, Serialize};

/// Shortest life that may be asked for: 10 minutes.
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// Longest life that may be asked for.
const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;
/// What kubelets ask for when the pod did not say: a little over an hour, so
/// that the server knows it is not the pod's own wish.
const EXPIRATION_SECONDS_KUBELET: i64 = 3607;
/// What they get then, for clients that never read the token again: a year.
const EXPIRATION_SECONDS_EXTENDED: i64 = 365 * 24 * 3600;
const EXPIRATION_SECONDS_DEFAULT: i64 = 3600;

/// An object that a token names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its name.
    pub name: String,
    /// Its UID; a namesake that comes later is another object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl ObjectName {
    /// The name of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
        }
    }
}

/// The claims that are Kubernetes' own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct PrivateClaims {
    #[serde(default)]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectName>,
    #[serde(default)]
    pub serviceaccount: ObjectName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// All claims of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of RFC 7519")]
pub struct Claims {
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    pub exp: i64,
    #[serde(default)]
    pub iat: i64,
    #[serde(default)]
    pub iss: String,
    #[serde(default)]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub private: PrivateClaims,
    #[serde(default)]
    pub nbf: i64,
    #[serde(default)]
    pub sub: String,
}

/// A random (version 4) UUID.
fn token_id() -> Result<String, TokenError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| TokenError::Request("the system has no random numbers".into()))?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{number:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(parts.join("-"))
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// What a token is bound to, beside its service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundObject {
    /// A pod, and the node that it was assigned to.
    Pod {
        /// The pod.
        pod: ObjectName,
        /// Its node, if it has one.
        node: Option<ObjectName>,
    },
    /// A node.
    Node(ObjectName),
    /// A secret.
    Secret(ObjectName),
}

/// What is asked for by a `TokenRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// Who the token is for; empty for the API server.
    pub audiences: Vec<String>,
    /// How long it shall live; `None` for an hour.
    pub expiration_seconds: Option<i64>,
    /// What it is bound to.
    pub bound: Option<BoundObject>,
}

impl TokenRequest {
    fn seconds(&self) -> i64 {
        self.expiration_seconds
            .unwrap_or(EXPIRATION_SECONDS_DEFAULT)
    }

    /// Whether the expiration is within bounds.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self) -> Result<(), TokenError> {
        let refused = |why: &str| Err(TokenError::Request(why.into()));
        match self.seconds() {
            seconds if seconds < EXPIRATION_SECONDS_MIN => {
                refused("may not specify a duration less than 10 minutes")
            }
            seconds if seconds > EXPIRATION_SECONDS_MAX => {
                refused("may not specify a duration larger than 2^32 seconds")
            }
            _ => Ok(()),
        }
    }

    /// The claims of the token, and the time of expiry that the client is told.
    ///
    /// # Errors
    /// If the expiration is out of bounds.
    pub fn claims(
        &self,
        service_account: &Object,
        issuer: &str,
        api_audiences: &[String],
        now: Timestamp,
    ) -> Result<(Claims, Timestamp), TokenError> {
        self.check()?;
        let seconds = self.seconds();
        let audiences = if self.audiences.is_empty() {
            api_audiences.to_vec()
        } else {
            self.audiences.clone()
        };
        let iat = now.as_second();
        let told = Timestamp::from_second(iat + seconds)
            .map_err(|error| TokenError::Request(error.to_string()))?;
        let is_extended = seconds == EXPIRATION_SECONDS_KUBELET
            && matches!(self.bound, Some(BoundObject::Pod { .. }))
            && audiences
                .iter()
                .all(|audience| api_audiences.contains(audience));
        let mut private = PrivateClaims {
            namespace: service_account.namespace().to_owned(),
            serviceaccount: ObjectName::of(service_account),
            warnafter: is_extended.then_some(iat + seconds),
            ..PrivateClaims::default()
        };
        match &self.bound {
            Some(BoundObject::Pod { pod, node }) => {
                private.pod = Some(pod.clone());
                private.node.clone_from(node);
            }
            Some(BoundObject::Node(node)) => private.node = Some(node.clone()),
            Some(BoundObject::Secret(secret)) => private.secret = Some(secret.clone()),
            None => {}
        }
        let claims = Claims {
            aud: audiences,
            exp: if is_extended {
                iat + EXPIRATION_SECONDS_EXTENDED
            } else {
                iat + seconds
            },
            iat,
            iss: issuer.to_owned(),
            jti: token_id()?,
            nbf: iat,
            sub: format!(
                "{SERVICE_ACCOUNT_PREFIX}{}:{}",
                service_account.namespace(),
                service_account.name()
            ),
            private,
        };
        Ok((claims, told))
    }
}
