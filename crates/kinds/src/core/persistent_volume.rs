//! `core/v1` `PersistentVolume`.

use crate::Tree;
use crate::amounts;
use crate::cells;
use crate::core::persistent_volume_claim::access_modes;
use crate::core::pod_defaults;
use crate::core::pod_validate::{Owner, scheduling, volumes};
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_form;
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::table::Column;
use crate::tree::{default, list_at, make, text_at};
use crate::view::{View, quantity};
use crate::{Kind, Subresource};
use kontiki_object::{Quantity, Value, time};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pv"]),
        subresources: vec![Subresource::status("PersistentVolume")],
        defaults,
        strategy: Rules {
            validate,
            validate_update,
            revalidates_meta: true,
            create,
            update_status,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("", "v1", "PersistentVolume", "persistentvolumes")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "persistentVolumeReclaimPolicy", "Retain");
    default(spec, "volumeMode", "Filesystem");
    pod_defaults::volume_source(spec);
    default(make(object, "status"), "phase", "Pending");
}

fn create(context: &Context<'_>, object: &mut Tree) {
    object.insert(
        "status".into(),
        json!({"phase": "Pending", "lastPhaseTransitionTime": time::format(context.now)}),
    );
}

/// Notes when the phase changed.
fn update_status(context: &Context<'_>, new: &mut Tree, old: &Tree) {
    let phase = |volume| text_at(volume, &["status", "phase"]).to_owned();
    let since = |volume| text_at(volume, &["status", "lastPhaseTransitionTime"]).to_owned();
    let (former, own) = (since(old), since(new));
    let time = if phase(new) == phase(old) {
        if own.is_empty() { former } else { own }
    } else if own.is_empty() || own == former {
        time::format(context.now)
    } else {
        own
    };
    if !time.is_empty() {
        make(new, "status").insert("lastPhaseTransitionTime".into(), time.into());
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Capacity", "string", "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity", |o, _| text_at(o, &["spec", "capacity", "storage"]).into()),
        Column::new("Access Modes", "string", "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes", |o, _| cells::access_modes(list_at(o, &["spec", "accessModes"]))),
        Column::new("Reclaim Policy", "string", "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming", |o, _| text_at(o, &["spec", "persistentVolumeReclaimPolicy"]).into()),
        Column::new("Status", "string", "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase", |o, _| cells::phase(o)),
        Column::new("Claim", "string", "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding", |o, _| cells::claim(o)),
        Column::new("StorageClass", "string", "StorageClass of the pv", |o, _| text_at(o, &["spec", "storageClassName"]).into()),
        Column::new("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv", |o, _| cells::text_or(o, &["spec", "volumeAttributesClassName"], "<unset>")),
        Column::new("Reason", "string", "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.", |o, _| text_at(o, &["status", "reason"]).into()),
        Column::age(),
        Column::new("VolumeMode", "string", "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.", |o, _| cells::text_or(o, &["spec", "volumeMode"], "<unset>")).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let meta = View::of(object, "metadata");
    let spec = View::of(object, "spec");
    volume_spec(&mut errors, &spec, meta.text("name"));
    errors
}

/// Complaints about the spec of a volume called `name`.
fn volume_spec(errors: &mut FieldErrors, spec: &View<'_>, name: &str) {
    if spec.list("accessModes").is_empty() {
        errors.push(FieldError::required(&spec.at("accessModes"), ""));
    }
    access_modes(errors, spec);
    capacity(errors, spec);
    let policies = ["Delete", "Recycle", "Retain"];
    spec.one_of(errors, "persistentVolumeReclaimPolicy", &policies);
    if let Some(affinity) = spec.map("nodeAffinity") {
        match affinity.map("required") {
            Some(selector) => scheduling::node_selector(errors, &selector),
            None => {
                let why = "must specify required node constraints";
                errors.push(FieldError::required(&affinity.at("required"), why));
            }
        }
    }
    let owner = Owner {
        name,
        is_persistent: true,
        has_node_affinity: spec.has("nodeAffinity"),
        ..Owner::default()
    };
    volumes::sources(errors, spec, &volumes::PERSISTENT, &owner);
    let place = spec.inner("hostPath").text("path");
    let is_root = place.starts_with('/') && place.split('/').all(|part| matches!(part, "" | "."));
    if is_root && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        let path = spec.at("persistentVolumeReclaimPolicy");
        errors.push(FieldError::forbidden(&path, why));
    }
    spec.name(errors, "storageClassName", names::is_dns1123_subdomain);
    spec.one_of(errors, "volumeMode", &["Block", "Filesystem"]);
    let class = "volumeAttributesClassName";
    if spec.has(class) {
        if spec.text(class).is_empty() {
            let why = "an empty string is disallowed";
            errors.push(FieldError::required(&spec.at(class), why));
        } else {
            spec.name(errors, class, names::is_dns1123_subdomain);
        }
        if !spec.has("csi") {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&spec.at("csi"), why));
        }
    }
}

fn capacity(errors: &mut FieldErrors, spec: &View<'_>) {
    let path = spec.at("capacity");
    let amounts_of = spec.inner("capacity");
    if amounts_of.tree.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    if amounts_of.tree.len() > 1 || !amounts_of.has("storage") {
        let shown = spec.value("capacity").cloned().unwrap_or_default();
        errors.push(FieldError::not_supported(&path, shown, &["storage"]));
    }
    for (path, _, value) in spec.entries("capacity") {
        let units = quantity(value).map(Quantity::units).unwrap_or_default();
        if units < 0 {
            let why = "must be a valid resource quantity";
            errors.push(FieldError::invalid(&path, units, why));
        }
        amounts::positive(errors, value, &path);
    }
}

/// The members of a spec that say where the volume comes from.
fn source(spec: &Tree) -> Tree {
    const OTHERS: [&str; 9] = [
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    ];
    let kept = spec
        .iter()
        .filter(|(field, _)| !OTHERS.contains(&field.as_str()));
    kept.map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (spec, before) = (View::of(new, "spec"), View::of(old, "spec"));
    let (mut now, was) = (source(spec.tree), source(before.tree));
    let secret = "controllerExpandSecretRef";
    let had = before.inner("csi").has(secret);
    // A secret for growing may be added later.
    if before.has("csi")
        && !had
        && let Some(csi) = now.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(secret);
    }
    let as_value = |tree: &Tree| Value::Object(tree.clone());
    if !meta::same(Some(&as_value(&now)), Some(&as_value(&was))) {
        let diff = go_form::diff(go_form::PERSISTENT_VOLUME_SOURCE, &was, &now);
        let why = format!("spec.persistentvolumesource is immutable after creation\n{diff}");
        let path = spec.at("persistentvolumesource");
        errors.push(FieldError::forbidden(&path, why));
    }
    let mode = Path::new("volumeMode");
    errors.extend(meta::immutable(
        spec.value("volumeMode"),
        before.value("volumeMode"),
        &mode,
    ));
    if before.has("nodeAffinity") && !same_affinity(&spec, &before) {
        let shown = go_form::shown(
            "io.k8s.api.core.v1.VolumeNodeAffinity",
            spec.inner("nodeAffinity").tree,
        );
        let why = "field is immutable, except for updating from beta label to GA";
        let path = Path::new("nodeAffinity");
        errors.push(FieldError::invalid_shown(&path, shown, why));
    }
    let class = "volumeAttributesClassName";
    if before.has(class) && !spec.has(class) {
        let why = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&spec.at(class), why));
    }
    errors
}

/// Whether two volumes are for the same nodes; names of labels may have become
/// general availability's.
fn same_affinity(new: &View<'_>, old: &View<'_>) -> bool {
    const RENAMED: [(&str, &str); 5] = [
        (
            "failure-domain.beta.kubernetes.io/zone",
            "topology.kubernetes.io/zone",
        ),
        (
            "failure-domain.beta.kubernetes.io/region",
            "topology.kubernetes.io/region",
        ),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        (
            "beta.kubernetes.io/instance-type",
            "node.kubernetes.io/instance-type",
        ),
    ];
    fn renamed(new: &Value, old: &mut Value) {
        match (new, old) {
            (Value::Object(new), Value::Object(old)) => {
                for (field, old) in old.iter_mut() {
                    if let Some(new) = new.get(field) {
                        let key = old.as_str().unwrap_or_default();
                        let pair = RENAMED.iter().find(|(beta, _)| *beta == key);
                        if pair.is_some_and(|(_, stable)| new == stable) && field == "key" {
                            *old = new.clone();
                        }
                        renamed(new, old);
                    }
                }
            }
            (Value::Array(new), Value::Array(old)) => {
                for (new, old) in new.iter().zip(old) {
                    renamed(new, old);
                }
            }
            _ => {}
        }
    }
    let (Some(new), Some(old)) = (new.value("nodeAffinity"), old.value("nodeAffinity")) else {
        return false;
    };
    let mut old = old.clone();
    renamed(new, &mut old);
    meta::same(Some(new), Some(&old))
}
