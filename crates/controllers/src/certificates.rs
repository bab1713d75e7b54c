//! Certificate requests of nodes: approves what a node may ask for itself, signs
//! what is approved, and deletes old requests.

use crate::config::{SignRequest, Signer};
use crate::controller::Context;
use crate::fields::{Condition, is_true, list, set_condition, text, until};
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use kontiki_client::resources::CERTIFICATE_SIGNING_REQUESTS;
use kontiki_object::{Object, SharedObject, Status, Value};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const SIGNED_HERE: [&str; 3] = [
    KUBELET_CLIENT,
    KUBELET_SERVING,
    "kubernetes.io/kube-apiserver-client",
];

fn request_pem(csr: &Object) -> Option<Vec<u8>> {
    STANDARD.decode(csr.str_at(&["spec", "request"])?).ok()
}

fn signer_name(csr: &Object) -> &str {
    csr.str_at(&["spec", "signerName"]).unwrap_or_default()
}

fn is_decided(csr: &Object) -> bool {
    is_true(csr, "Approved") || is_true(csr, "Denied") || is_true(csr, "Failed")
}

fn own_keys() -> Vec<Watch> {
    vec![Watch::own(CERTIFICATE_SIGNING_REQUESTS)]
}

/// Approves the client certificates that nodes ask for.
pub(crate) struct CsrApprover;

/// A request, and who its certificate would be for.
pub(crate) struct Undecided {
    csr: SharedObject,
    subject: (String, Vec<String>),
}

#[async_trait]
impl Reconciler for CsrApprover {
    type State = Undecided;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        own_keys()
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<Undecided>, Status> {
        let csr = context.caches.of(&CERTIFICATE_SIGNING_REQUESTS).get(key);
        let csr = csr.filter(|csr| !is_decided(csr) && signer_name(csr) == KUBELET_CLIENT);
        let (Some(csr), Some(signer)) = (csr, &context.config.signer) else {
            return Ok(None);
        };
        let subject = request_pem(&csr).and_then(|pem| signer.subject(&pem).ok());
        Ok(subject.map(|subject| Undecided { csr, subject }))
    }

    fn plan(&self, state: &Undecided, at: &Moment) -> Plan {
        let Some(message) = approval(&state.csr, &state.subject) else {
            return Plan::nothing();
        };
        let mut conditions = list(&state.csr, &["status", "conditions"]).to_vec();
        let condition = Condition {
            kind: "Approved",
            status: "True",
            reason: "AutoApproved",
            message: message.into(),
        };
        let updated = json!(kontiki_object::time::format(at.now));
        set_condition(
            &mut conditions,
            &condition,
            &[("lastUpdateTime", updated)],
            at.now,
        );
        let mut body = state.csr.to_value();
        body["status"]["conditions"] = Value::Array(conditions);
        Plan::of([Action::Update {
            resource: CERTIFICATE_SIGNING_REQUESTS,
            subresource: Some("approval"),
            body,
        }])
    }
}

/// Why a request is approved: a node renews its own certificate, or a bootstrap
/// token asks for a node's first one.
fn approval(csr: &Object, (name, groups): &(String, Vec<String>)) -> Option<&'static str> {
    if !name.starts_with("system:node:") || groups[..] != ["system:nodes"] {
        return None;
    }
    let usages = list(csr, &["spec", "usages"]);
    let allowed = ["key encipherment", "digital signature", "client auth"];
    let wanted = usages.iter().filter_map(Value::as_str);
    if !usages.iter().any(|usage| usage == "client auth")
        || wanted.into_iter().any(|u| !allowed.contains(&u))
    {
        return None;
    }
    let asker = csr.str_at(&["spec", "username"]).unwrap_or_default();
    let asks_as = list(csr, &["spec", "groups"]);
    let in_group = |group: &str| asks_as.iter().any(|known| known == group);
    if asker == name && in_group("system:nodes") {
        return Some("Auto approving self kubelet client certificate after SubjectAccessReview.");
    }
    let bootstraps = asker.starts_with("system:bootstrap:") && in_group("system:bootstrappers");
    bootstraps.then_some("Auto approving kubelet client certificate after SubjectAccessReview.")
}

/// Signs approved requests.
pub(crate) struct CsrSigner;

/// An approved request and its certificate.
pub(crate) struct Signed {
    csr: SharedObject,
    certificate: Result<Vec<u8>, String>,
}

async fn sign(signer: &Arc<dyn Signer>, csr: &Object) -> Result<Vec<u8>, String> {
    let csr_pem = request_pem(csr).ok_or("the request is not base64")?;
    let seconds = csr
        .get(&["spec", "expirationSeconds"])
        .and_then(Value::as_u64);
    let usages = list(csr, &["spec", "usages"])
        .iter()
        .filter_map(Value::as_str);
    let request = SignRequest {
        csr_pem,
        signer_name: signer_name(csr).to_owned(),
        usages: usages.map(str::to_owned).collect(),
        expiration: seconds.map(Duration::from_secs),
    };
    signer.sign(request).await
}

#[async_trait]
impl Reconciler for CsrSigner {
    type State = Signed;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        own_keys()
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<Signed>, Status> {
        let csr = context.caches.of(&CERTIFICATE_SIGNING_REQUESTS).get(key);
        let csr = csr.filter(|csr| {
            let waits =
                is_true(csr, "Approved") && !is_true(csr, "Denied") && !is_true(csr, "Failed");
            waits
                && csr.str_at(&["status", "certificate"]).is_none()
                && SIGNED_HERE.contains(&signer_name(csr))
        });
        let (Some(csr), Some(signer)) = (csr, &context.config.signer) else {
            return Ok(None);
        };
        let certificate = sign(signer, &csr).await;
        Ok(Some(Signed { csr, certificate }))
    }

    fn plan(&self, state: &Signed, at: &Moment) -> Plan {
        let mut status = state
            .csr
            .get(&["status"])
            .cloned()
            .unwrap_or_else(|| json!({}));
        match &state.certificate {
            Ok(pem) => status["certificate"] = json!(STANDARD.encode(pem)),
            Err(message) => {
                let mut conditions = list(&state.csr, &["status", "conditions"]).to_vec();
                let condition = Condition {
                    kind: "Failed",
                    status: "True",
                    reason: "SignerValidationFailure",
                    message: message.clone(),
                };
                set_condition(&mut conditions, &condition, &[], at.now);
                status["conditions"] = Value::Array(conditions);
            }
        }
        Plan::of(Action::status(
            &CERTIFICATE_SIGNING_REQUESTS,
            &state.csr,
            status,
        ))
    }
}

/// Deletes requests that were answered an hour ago, or that nobody answered in a day.
pub(crate) struct CsrCleaner;

#[async_trait]
impl Reconciler for CsrCleaner {
    type State = SharedObject;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        own_keys()
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<SharedObject>, Status> {
        Ok(context.caches.of(&CERTIFICATE_SIGNING_REQUESTS).get(key))
    }

    fn plan(&self, csr: &SharedObject, at: &Moment) -> Plan {
        let hours = if is_decided(csr) { 1 } else { 24 };
        let decided = list(csr, &["status", "conditions"]).iter();
        let decided =
            decided.filter_map(|c| kontiki_object::time::parse(text(c, "lastUpdateTime")));
        let since = decided.max().or_else(|| csr.created_at()).unwrap_or(at.now);
        let due = since + SignedDuration::from_hours(hours);
        if due <= at.now {
            return Plan::of([Action::delete(&CERTIFICATE_SIGNING_REQUESTS, csr)]);
        }
        Plan {
            requeue_after: Some(until(due, at.now)),
            ..Plan::default()
        }
    }
}
