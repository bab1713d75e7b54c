//! `certificates.k8s.io/v1` `CertificateSigningRequest`.

use super::checks;
use crate::Tree;
use crate::cells;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::strategy::keep;
use crate::strategy::keep_all_but;
use crate::table::Column;
use crate::tree::{at, default, list_at, make, maps_mut, text, text_at};
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
            validate: checks::object,
            validate_create: checks::create,
            validate_update: checks::update,
            validate_status: checks::status,
            validate_subresource: |_, new, old| checks::approval(new, old),
            unowned: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
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

/// `status` issues the certificate; [`checks`] refuses verdicts by it.
fn update_status(context: &Context<'_>, new: &mut Tree, old: &Tree) {
    // Writers that know no verdict do not take it back.
    let known = list_at(new, &["status", "conditions"]).to_vec();
    let is_told = |kind: &Value| known.iter().any(|own| own.get("type") == Some(kind));
    let kept: Vec<Value> = list_at(old, &["status", "conditions"])
        .iter()
        .filter(|own| matches!(own["type"].as_str(), Some("Approved" | "Denied")))
        .filter(|own| !is_told(&own["type"]))
        .cloned()
        .collect();
    let conditions: Vec<Value> = kept.into_iter().chain(known).collect();
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

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::age(),
        Column::new(
            "SignerName",
            "string",
            "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.",
            |o, _| cells::text_or(o, &["spec", "signerName"], "<none>"),
        ),
        Column::new(
            "Requestor",
            "string",
            "Base64-encoded PKCS#10 CSR data",
            |o, _| text_at(o, &["spec", "username"]).into(),
        ),
        Column::new(
            "RequestedDuration",
            "string",
            "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this field as long as the requested duration is not greater than the maximum duration they will honor per the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter than the requested duration\n  3. Signer whose configured minimum is longer than the requested duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes.",
            |o, _| cells::requested_duration(o),
        ),
        Column::new(
            "Condition",
            "string",
            "Conditions applied to the request, such as approval or denial.",
            |o, _| cells::csr_condition(o),
        ),
    ]
}
