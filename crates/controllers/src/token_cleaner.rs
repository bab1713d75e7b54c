//! Deletes bootstrap tokens that have expired.

use crate::controller::Context;
use crate::fields::until;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_client::resources::SECRETS;
use kontiki_object::{Object, SharedObject, Status, time};

pub(crate) struct TokenCleaner;

#[async_trait]
impl Reconciler for TokenCleaner {
    type State = SharedObject;

    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::own(SECRETS)]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<SharedObject>, Status> {
        if !key.starts_with("kube-system/") {
            return Ok(None);
        }
        let secret = context.caches.of(&SECRETS).get(key);
        Ok(secret
            .filter(|secret| secret.str_at(&["type"]) == Some("bootstrap.kubernetes.io/token")))
    }

    fn plan(&self, secret: &SharedObject, at: &Moment) -> Plan {
        match expiration(secret) {
            Some(ends) if ends > at.now => Plan {
                requeue_after: Some(until(ends, at.now)),
                ..Plan::default()
            },
            Some(_) => Plan::of([Action::delete(&SECRETS, secret)]),
            None => Plan::nothing(),
        }
    }
}

fn expiration(secret: &Object) -> Option<jiff::Timestamp> {
    let encoded = secret.str_at(&["data", "expiration"])?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    time::parse(decoded.trim())
}
