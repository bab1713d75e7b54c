//! `certificates.k8s.io/v1` `CertificateSigningRequest`.

use crate::Tree;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::strategy::keep;
use crate::strategy::keep_all_but;
use crate::tree::{at, default, list_at, make, maps_mut, text};
use crate::{Kind, Subresource};
use kontiki_object::{Value, time};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["csr"]),
        subresources: vec![
            Subresource::of_object("approval", "CertificateSigningRequest"),
            Subresource::status("CertificateSigningRequest"),
        ],
        selectable_fields: vec![SelectableField::new("spec.signerName", |csr| {
            crate::tree::text_at(csr, &["spec", "signerName"]).into()
        })],
        strategy: Rules {
            create,
            update,
            update_status,
            update_subresource,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
        )
    }
}

/// Who asked is what the server saw, never what the request says.
fn create(context: &Context<'_>, object: &mut Tree) {
    let spec = make(object, "spec");
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    let Some(requester) = context.requester else {
        return;
    };
    spec.insert("username".into(), requester.username.clone().into());
    if !requester.uid.is_empty() {
        spec.insert("uid".into(), requester.uid.clone().into());
    }
    if !requester.groups.is_empty() {
        spec.insert("groups".into(), requester.groups.clone().into());
    }
    if !requester.extra.is_empty() {
        let extra: Tree = requester
            .extra
            .iter()
            .map(|(key, values)| (key.clone(), values.clone().into()))
            .collect();
        spec.insert("extra".into(), extra.into());
    }
}

fn update(_: &Context<'_>, new: &mut Tree, old: &Tree) {
    keep(new, old, "spec");
}

fn stamp(context: &Context<'_>, new: &mut Tree, old: &Tree) {
    let now = time::format(context.now);
    let before = list_at(old, &["status", "conditions"]).to_vec();
    for condition in maps_mut(make(new, "status"), "conditions") {
        default(condition, "lastUpdateTime", now.as_str());
        let known = before.iter().filter_map(Value::as_object).find(|other| {
            other.get("type") == condition.get("type")
                && other.get("status") == condition.get("status")
        });
        let since = known.map_or(now.as_str(), |known| text(known, "lastTransitionTime"));
        default(condition, "lastTransitionTime", since);
    }
}

/// `status` issues the certificate; verdicts stay what they are.
fn update_status(context: &Context<'_>, new: &mut Tree, old: &Tree) {
    let verdict = |condition: &&Value| {
        let kind = condition.get("type").and_then(Value::as_str);
        matches!(kind, Some("Approved" | "Denied"))
    };
    let kept: Vec<Value> = list_at(old, &["status", "conditions"])
        .iter()
        .filter(verdict)
        .cloned()
        .collect();
    let others: Vec<Value> = list_at(new, &["status", "conditions"])
        .iter()
        .filter(|condition| !verdict(condition))
        .cloned()
        .collect();
    let conditions: Vec<Value> = kept.into_iter().chain(others).collect();
    if !conditions.is_empty() {
        make(new, "status").insert("conditions".into(), conditions.into());
    }
    stamp(context, new, old);
}

/// `approval` changes conditions and nothing else.
fn update_subresource(_: &str, context: &Context<'_>, new: &mut Tree, old: &Tree) {
    let conditions = at(new, &["status", "conditions"]).cloned();
    keep_all_but(new, old, &["metadata", "apiVersion", "kind"]);
    if let Some(conditions) = conditions {
        make(new, "status").insert("conditions".into(), conditions);
    }
    stamp(context, new, old);
}
