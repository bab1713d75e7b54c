//! Tokens of service accounts, for the volumes of pods.

use crate::spec::{self, PodExt};
use crate::volumes::content::{self, Tokens as VolumeTokens};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use kontiki_client::{Client, resources};
use kontiki_object::Status;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

const DEFAULT_SECONDS: i64 = 3600;
/// A token of any length is replaced after a day.
const AGE_SECONDS_MAX: i64 = 24 * 3600;

#[derive(Clone, Debug)]
struct Token {
    text: String,
    issued: Timestamp,
    expires: Timestamp,
}

impl Token {
    /// Whether it is time for another: after four fifths of its life or a day.
    fn is_old(&self, now: Timestamp) -> bool {
        let life = self.expires.as_second() - self.issued.as_second();
        let age = now.as_second() - self.issued.as_second();
        age > AGE_SECONDS_MAX || age * 5 > life * 4
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pod_uid: String,
    account: String,
    audience: String,
    seconds: i64,
}

/// Requests tokens and keeps them as long as they are good.
pub struct Tokens {
    client: Client,
    known: Mutex<HashMap<Key, Token>>,
}

impl Tokens {
    /// Requests through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// The tokens of all volumes of a pod: by volume, then by path. An old
    /// token stays in use while no other can be had.
    ///
    /// # Errors
    /// If a token is needed and none can be had: the volume and the reason.
    pub async fn of_pod(
        &self,
        pod: &Pod,
        now: Timestamp,
    ) -> Result<BTreeMap<String, VolumeTokens>, (String, Status)> {
        let mut all = BTreeMap::new();
        for volume in spec::of(pod).volumes.iter().flatten() {
            let mut tokens = VolumeTokens::new();
            for wanted in content::tokens(volume) {
                let token = self.token(pod, wanted, now).await;
                tokens.insert(
                    wanted.path.clone(),
                    token.map_err(|status| (volume.name.clone(), status))?,
                );
            }
            if !tokens.is_empty() {
                all.insert(volume.name.clone(), tokens);
            }
        }
        Ok(all)
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn forget(&self, pod_uid: &str) {
        self.known.lock().retain(|key, _| key.pod_uid != pod_uid);
    }

    async fn token(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
        now: Timestamp,
    ) -> Result<String, Status> {
        let account = spec::of(pod)
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty());
        let key = Key {
            pod_uid: pod.uid().to_owned(),
            account: account.unwrap_or("default").to_owned(),
            audience: wanted.audience.clone().unwrap_or_default(),
            seconds: wanted.expiration_seconds.unwrap_or(DEFAULT_SECONDS),
        };
        let known = self.known.lock().get(&key).cloned();
        if let Some(token) = known.as_ref().filter(|token| !token.is_old(now)) {
            return Ok(token.text.clone());
        }
        match (self.request(pod, &key, now).await, known) {
            (Ok(token), _) => {
                self.known.lock().insert(key, token.clone());
                Ok(token.text)
            }
            (Err(status), Some(token)) if token.expires > now => {
                tracing::warn!(%status, pod = pod.described(), "a service account token could not be renewed yet");
                Ok(token.text)
            }
            (Err(status), _) => Err(status),
        }
    }

    async fn request(&self, pod: &Pod, key: &Key, now: Timestamp) -> Result<Token, Status> {
        let audiences = if key.audience.is_empty() {
            json!([])
        } else {
            json!([key.audience])
        };
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"namespace": pod.namespace(), "name": key.account},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": key.seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()},
            },
        });
        let accounts = self
            .client
            .namespaced(&resources::SERVICE_ACCOUNTS, pod.namespace());
        let answer = accounts.create_sub(&key.account, "token", body).await?;
        let text = answer.str_at(&["status", "token"]);
        let expires = answer
            .str_at(&["status", "expirationTimestamp"])
            .and_then(kontiki_object::time::parse);
        match (text, expires) {
            (Some(text), Some(expires)) => Ok(Token {
                text: text.to_owned(),
                issued: now,
                expires,
            }),
            _ => Err(Status::internal(
                "the server answered a TokenRequest without a token",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        for (life, age, old) in [
            (3600, 2800, false),
            (3600, 2900, true),
            (1_000_000, 86_000, false),
            (1_000_000, 87_000, true),
        ] {
            let token = Token {
                text: String::new(),
                issued: at(0),
                expires: at(life),
            };
            assert_eq!(token.is_old(at(age)), old, "{life} {age}");
        }
    }
}
