//! Certificates that a node asks for on behalf of its pods.

use super::{Refusal, Verdict, field, find, node_of, refuse, text};
use crate::admission::{Attributes, Operation};
use kontiki_auth::node::MIRROR_POD;
use kontiki_object::{SharedObject, Status, Value};

/// What the cache may not know yet is no reason to forbid: the node tries again.
fn unknown_yet(why: String) -> Verdict {
    Err(Refusal::Status(Status::internal(why)))
}

async fn named(
    attributes: &Attributes<'_>,
    what: [&str; 2],
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<SharedObject, Refusal> {
    let [word, resource] = what;
    let shown = match namespace {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    };
    let found = find(attributes, resource, namespace, name, |found| {
        found.uid() == uid
    })
    .await;
    found.map_err(|status| {
        Refusal::Status(Status::internal(format!(
            "while retrieving {word} {shown:?} named in the PodCertificateRequest: {status}"
        )))
    })
}

pub(super) async fn check(node: &str, attributes: &Attributes<'_>) -> Verdict {
    if attributes.operation != Operation::Create {
        let word = attributes.operation.word();
        return refuse(format!("unexpected operation {word}"));
    }
    let target = attributes.target;
    if !target.subresource.is_empty() {
        return refuse(format!("unexpected subresource {}", target.subresource));
    }
    let spec = field(attributes.object.as_deref(), "spec").unwrap_or(&Value::Null);
    let namespace = &*target.namespace;
    let own = text(spec, "nodeName");
    if own != node {
        return refuse(format!(
            "PodCertificateRequest.Spec.NodeName={own:?}, which is not the requesting node {node:?}"
        ));
    }
    let uid = text(spec, "nodeUID");
    let found = named(attributes, ["node", "nodes"], "", own, uid).await?;
    let pod = text(spec, "podName");
    let shown = format!("{namespace}/{pod}");
    if found.uid() != uid {
        return unknown_yet(format!(
            "PodCertificateRequest for pod {shown:?} names node UID {uid:?}, inconsistent with the running node ({:?})",
            found.uid()
        ));
    }
    let uid = text(spec, "podUID");
    let pod = named(attributes, ["pod", "pods"], namespace, pod, uid).await?;
    if pod.uid() != uid {
        return unknown_yet(format!(
            "PodCertificateRequest for pod {shown:?} contains pod UID ({uid:?}) which differs from running pod {:?}",
            pod.uid()
        ));
    }
    if node_of(&pod) != node {
        return refuse(format!(
            "pod {shown:?} is not running on node {node:?} named in the PodCertificateRequest"
        ));
    }
    if pod.annotation(MIRROR_POD).is_some() {
        return refuse(format!("pod {shown:?} is a mirror pod"));
    }
    account(attributes, spec, &pod, &shown).await
}

async fn account(
    attributes: &Attributes<'_>,
    spec: &Value,
    pod: &SharedObject,
    shown: &str,
) -> Verdict {
    let name = text(spec, "serviceAccountName");
    let running = pod
        .str_at(&["spec", "serviceAccountName"])
        .unwrap_or_default();
    if name != running {
        return refuse(format!(
            "PodCertificateRequest for pod {shown:?} contains serviceAccountName ({name:?}) that differs from running pod ({running:?})"
        ));
    }
    let uid = text(spec, "serviceAccountUID");
    let what = ["service account", "serviceaccounts"];
    let account = named(attributes, what, pod.namespace(), name, uid).await?;
    if account.uid() != uid {
        return unknown_yet(format!(
            "PodCertificateRequest for pod {shown:?} names service account UID {uid:?}, which differs from the running service account ({:?})",
            account.uid()
        ));
    }
    Ok(())
}
