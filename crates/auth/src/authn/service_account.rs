//! Service-account tokens: signed here, and good while what they are bound to exists.

use super::{Authenticated, AuthnError, CREDENTIAL_ID, TokenAuthenticator};
use crate::UserInfo;
use crate::lookup::Lookup;
use crate::token::{Claims, ObjectName, TokenKeys, peek};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kontiki_client::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use kontiki_object::{GroupVersionResource, SharedObject, time};
use std::sync::Arc;

/// What is being deleted may use its tokens for this long, to finish its work.
const DELETION_LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Servers' clocks differ by less than this.
const CLOCK_LEEWAY_SECONDS: i64 = 60;

/// Accepts service-account tokens of the cluster's issuers.
pub struct ServiceAccountTokens {
    keys: Arc<TokenKeys>,
    issuers: Vec<String>,
    lookup: Arc<dyn Lookup>,
}

impl ServiceAccountTokens {
    /// Accepts tokens that name one of `issuers` and are signed by one of `keys`.
    #[must_use]
    pub fn new(keys: Arc<TokenKeys>, issuers: Vec<String>, lookup: Arc<dyn Lookup>) -> Self {
        Self {
            keys,
            issuers,
            lookup,
        }
    }

    async fn bound(
        &self,
        kind: &str,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &ObjectName,
        now: Timestamp,
    ) -> Result<SharedObject, AuthnError> {
        let invalidated =
            || AuthnError::Invalid("service account token has been invalidated".into());
        let object = self
            .lookup
            .get(resource, namespace, &name.name)
            .await
            .map_err(|status| AuthnError::Unavailable(status.message))?
            .ok_or_else(invalidated)?;
        if object.uid() != name.uid {
            return Err(AuthnError::Invalid(format!(
                "{kind} UID ({}) does not match claim ({})",
                object.uid(),
                name.uid
            )));
        }
        let deleted = object.str_at(&["metadata", "deletionTimestamp"]);
        if let Some(at) = deleted.and_then(time::parse)
            && at + DELETION_LEEWAY < now
        {
            return Err(invalidated());
        }
        Ok(object)
    }

    async fn bound_objects(&self, claims: &Claims, now: Timestamp) -> Result<(), AuthnError> {
        let private = &claims.private;
        let namespace = &private.namespace;
        let account = &private.serviceaccount;
        self.bound(
            "service account",
            &SERVICE_ACCOUNTS,
            namespace,
            account,
            now,
        )
        .await?;
        if let Some(secret) = &private.secret {
            self.bound("secret", &SECRETS, namespace, secret, now)
                .await?;
        }
        match (&private.pod, &private.node) {
            // The node of a pod is only told, not checked: the pod is bound to it.
            (Some(pod), _) => {
                self.bound("pod", &PODS, namespace, pod, now).await?;
            }
            (None, Some(node)) => {
                self.bound("node", &NODES, "", node, now).await?;
            }
            (None, None) => {}
        }
        Ok(())
    }
}

fn user(claims: &Claims) -> UserInfo {
    let private = &claims.private;
    let account = &private.serviceaccount;
    let mut user = UserInfo::service_account(&private.namespace, &account.name, &account.uid);
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            let key = format!("authentication.kubernetes.io/{key}");
            user.extra.insert(key, vec![value.to_owned()]);
        }
    };
    if let Some(pod) = &private.pod {
        tell("pod-name", &pod.name);
        tell("pod-uid", &pod.uid);
    }
    if let Some(node) = &private.node {
        tell("node-name", &node.name);
        tell("node-uid", &node.uid);
    }
    if !claims.jti.is_empty() {
        user.extra
            .insert(CREDENTIAL_ID.into(), vec![format!("JTI={}", claims.jti)]);
    }
    user
}

fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// Everything that can be judged without looking at objects.
fn judge(claims: &Claims, now: Timestamp) -> Result<(), &'static str> {
    let now = now.as_second();
    if claims.exp <= now {
        return Err("service account token has expired");
    }
    if claims.nbf > now + CLOCK_LEEWAY_SECONDS {
        return Err("service account token is not valid yet");
    }
    let private = &claims.private;
    let account = &private.serviceaccount;
    if account.uid.is_empty() {
        return Err("service account UID not found in claim");
    }
    let expected = UserInfo::service_account(&private.namespace, &account.name, "").name;
    if claims.sub != expected {
        return Err("sub claim is invalid");
    }
    Ok(())
}

#[async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Authenticated>, AuthnError> {
        let names_us = |claims: &serde_json::Value| {
            let issuer = claims["iss"].as_str().unwrap_or_default();
            self.issuers.iter().any(|own| own == issuer)
        };
        if !peek(token).as_ref().is_some_and(names_us) {
            return Ok(None);
        }
        let bad = |why: &dyn std::fmt::Display| AuthnError::Invalid(why.to_string());
        let payload = self.keys.verify(token).map_err(|error| bad(&error))?;
        let claims: Claims = serde_json::from_value(payload).map_err(|_| {
            bad(&"service account token claims could not be validated due to unexpected condition")
        })?;
        let now = Timestamp::now();
        judge(&claims, now).map_err(|why| bad(&why))?;
        let common: Vec<String> = claims
            .aud
            .iter()
            .filter(|audience| audiences.contains(audience))
            .cloned()
            .collect();
        if common.is_empty() {
            return Err(bad(&format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&claims.aud),
                quoted(audiences)
            )));
        }
        self.bound_objects(&claims, now).await?;
        Ok(Some(Authenticated {
            user: user(&claims),
            audiences: common,
        }))
    }
}

#[cfg(test)]
mod tests;
