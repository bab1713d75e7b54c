//! `core/v1` `PersistentVolumeClaim`.

use crate::Tree;
use crate::amounts;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_form;
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::strategy::{Context, keep};
use crate::table::Column;
use crate::tree::{default, list_at, make, map_at, map_mut_at, text_at};
use crate::view::{View, quantity};
use crate::{Kind, Subresource};
use kontiki_object::Quantity;
use kontiki_object::Value;
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pvc"]),
        subresources: vec![Subresource::status("PersistentVolumeClaim")],
        defaults,
        strategy: Rules {
            validate,
            validate_update,
            validate_status,
            revalidates_meta: true,
            create,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
    }
}

fn defaults(object: &mut Tree) {
    default(make(object, "spec"), "volumeMode", "Filesystem");
    default(make(object, "status"), "phase", "Pending");
}

fn create(_: &Context<'_>, object: &mut Tree) {
    object.insert("status".into(), json!({"phase": "Pending"}));
    drop_odd_source(object);
}

/// What volumes are filled from by `dataSource`; everything else takes
/// `dataSourceRef` and is dropped here.
fn drop_odd_source(object: &mut Tree) {
    let path = ["spec", "dataSource"];
    let of = |field: &str| text_at(object, &[path[0], path[1], field]).to_owned();
    let is_known = matches!(
        (&*of("apiGroup"), &*of("kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    let is_referred = map_at(object, &["spec", "dataSourceRef"]).is_some();
    if !is_known && !is_referred {
        make(object, "spec").remove("dataSource");
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Status", "string", "phase represents the current phase of PersistentVolumeClaim.", |o, _| cells::phase(o)),
        Column::new("Volume", "string", "volumeName is the binding reference to the PersistentVolume backing this claim.", |o, _| text_at(o, &["spec", "volumeName"]).into()),
        Column::new("Capacity", "string", "capacity represents the actual resources of the underlying volume.", |o, _| text_at(o, &["status", "capacity", "storage"]).into()),
        Column::new("Access Modes", "string", "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1", |o, _| cells::access_modes(list_at(o, &["status", "accessModes"]))),
        Column::new("StorageClass", "string", "StorageClass of the pvc", |o, _| text_at(o, &["spec", "storageClassName"]).into()),
        Column::new("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc", |o, _| cells::text_or(o, &["spec", "volumeAttributesClassName"], "<unset>")),
        Column::age(),
        Column::new("VolumeMode", "string", "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.", |o, _| cells::text_or(o, &["spec", "volumeMode"], "<unset>")).wide(),
    ]
}

/// What volumes may be used for by whom.
pub(crate) const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

/// Access modes that exclude each other, or that nobody knows.
pub(crate) fn access_modes(errors: &mut FieldErrors, spec: &View<'_>) {
    let path = spec.at("accessModes");
    let (mut alone, mut others) = (false, false);
    for (_, mode) in spec.texts("accessModes") {
        let is_known = ACCESS_MODES.contains(&mode);
        if !is_known {
            errors.push(FieldError::not_supported(&path, mode, &ACCESS_MODES));
        }
        alone |= mode == "ReadWriteOncePod";
        others |= is_known && mode != "ReadWriteOncePod";
    }
    if alone && others {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(&path, why));
    }
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    spec(&mut errors, &View::of(object, "spec"));
    errors
}

/// Complaints about the spec of a claim or of a template of claims.
pub(crate) fn spec(errors: &mut FieldErrors, spec: &View<'_>) {
    if spec.list("accessModes").is_empty() {
        let why = "at least 1 access mode is required";
        errors.push(FieldError::required(&spec.at("accessModes"), why));
    }
    check::selector(errors, spec.value("selector"), &spec.at("selector"));
    access_modes(errors, spec);
    let path = spec.at("resources").key("storage");
    match spec.inner("resources").inner("requests").value("storage") {
        None => errors.push(FieldError::required(&path, "")),
        Some(value) => {
            if amounts::positive(errors, value, &path) {
                amounts::amount(errors, "storage", value, &path);
            }
        }
    }
    spec.name(errors, "storageClassName", names::is_dns1123_subdomain);
    spec.one_of(errors, "volumeMode", &["Block", "Filesystem"]);
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.map(field) {
            data_source(errors, &source);
        }
    }
    data_sources(errors, spec);
    spec.name(
        errors,
        "volumeAttributesClassName",
        names::is_dns1123_subdomain,
    );
}

fn data_source(errors: &mut FieldErrors, source: &View<'_>) {
    source.required(errors, "name");
    source.required(errors, "kind");
    let kind = source.text("kind");
    if source.text("apiGroup").is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(&source.path, kind, why));
    }
    source.name(errors, "apiGroup", names::is_dns1123_subdomain);
    source.name(errors, "namespace", names::is_dns1123_label);
}

/// The two ways to name a source agree.
fn data_sources(errors: &mut FieldErrors, spec: &View<'_>) {
    let (Some(one), Some(other)) = (spec.map("dataSource"), spec.map("dataSourceRef")) else {
        return;
    };
    let agree = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| one.value(field) == other.value(field));
    let why = if !other.text("namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if !agree {
        "must match dataSourceRef"
    } else {
        return;
    };
    // Upstream shows the path as its value.
    errors.push(FieldError::invalid_shown(&spec.path, "{}".to_owned(), why));
}

fn request(object: &Tree) -> Option<Quantity> {
    let resources = View::of(object, "spec").inner("resources");
    resources.inner("requests").quantity("storage")
}

/// What changes about a claim: its volume once, and when it is bound its size
/// and class of attributes.
fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
    const ATTRIBUTES: &str = "volumeAttributesClassName";
    let mut errors = FieldErrors::new();
    let (spec, before) = (View::of(new, "spec"), View::of(old, "spec"));
    let class_of = |object| {
        View::of(object, "metadata")
            .inner("annotations")
            .text(ANNOTATION)
    };
    let (annotated, annotated_before) = (class_of(new), class_of(old));
    let mut now = spec.tree.clone();
    let class = spec.text("storageClassName");
    let from_annotation = !annotated_before.is_empty()
        && !before.has("storageClassName")
        && class == annotated_before
        && (annotated.is_empty() || annotated == annotated_before);
    if from_annotation {
        now.remove("storageClassName");
    } else {
        if annotated != annotated_before {
            let path = Path::new("metadata").child("annotations").child(ANNOTATION);
            errors.push(FieldError::invalid(&path, annotated, "field is immutable"));
        }
        let from_nothing = spec.has("storageClassName")
            && !before.has("storageClassName")
            && (annotated_before.is_empty() || annotated_before == class);
        if from_nothing {
            now.remove("storageClassName");
        }
    }
    let mut was = before.tree.clone();
    if before.text("volumeName").is_empty() {
        keep(&mut was, spec.tree, "volumeName");
    }
    if View::of(new, "status").text("phase") == "Bound" {
        let amount = before
            .inner("resources")
            .inner("requests")
            .value("storage")
            .cloned();
        if let (Some(requests), Some(amount)) =
            (map_mut_at(&mut now, &["resources", "requests"]), amount)
        {
            requests.insert("storage".to_owned(), amount);
        }
        if spec.has(ATTRIBUTES) {
            keep(&mut now, before.tree, ATTRIBUTES);
        }
    }
    let same = meta::same(
        Some(&Value::Object(now.clone())),
        Some(&Value::Object(was.clone())),
    );
    if !same {
        let diff = go_form::diff("io.k8s.api.core.v1.PersistentVolumeClaimSpec", &was, &now);
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{diff}"
        );
        errors.push(FieldError::forbidden(&spec.path, why));
    }
    sizes(&mut errors, new, old);
    let path = Path::new("volumeMode");
    errors.extend(meta::immutable(
        spec.value("volumeMode"),
        before.value("volumeMode"),
        &path,
    ));
    let (wish, had) = (spec.value(ATTRIBUTES), before.value(ATTRIBUTES));
    let why = match (wish, had) {
        (None, Some(_)) => "update from non-nil value to nil is forbidden",
        (Some(wish), Some(had)) if wish != had && wish == "" => {
            "update from non-nil value to an empty string is forbidden"
        }
        _ => return errors,
    };
    errors.push(FieldError::forbidden(&spec.at(ATTRIBUTES), why));
    errors
}

/// A claim whose growth failed may wish for less again, but for more than it has.
fn sizes(errors: &mut FieldErrors, new: &Tree, old: &Tree) {
    let (now, before) = (
        request(new).unwrap_or_default(),
        request(old).unwrap_or_default(),
    );
    let has = View::of(old, "status")
        .inner("capacity")
        .quantity("storage");
    if now < before && now <= has.unwrap_or_default() {
        let path = Path::new("spec").child("resources").child("requests");
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(&path.child("storage"), why));
    }
}

const RESIZING: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn validate_status(new: &Tree, _: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let status = View::of(new, "status");
    let basic = |errors: &mut FieldErrors, value: &Value, path: &Path| {
        let units = quantity(value).map(Quantity::units).unwrap_or_default();
        if units < 0 {
            let why = "must be a valid resource quantity";
            errors.push(FieldError::invalid(path, units, why));
        }
    };
    for (path, _, value) in status.entries("capacity") {
        basic(&mut errors, value, &path);
    }
    let path = status.at("allocatedResourceStatus");
    for (_, name, value) in status.entries("allocatedResourceStatuses") {
        resource_key(&mut errors, name, &path);
        if !value
            .as_str()
            .is_some_and(|value| RESIZING.contains(&value))
        {
            let mut sorted = RESIZING;
            sorted.sort_unstable();
            errors.push(FieldError::not_supported(&path, name, &sorted));
        }
    }
    for (at, name, value) in status.entries("allocatedResources") {
        let before = errors.len();
        resource_key(&mut errors, name, &status.at("allocatedResources"));
        if errors.len() == before {
            basic(&mut errors, value, &at);
        }
        if errors.len() == before {
            amounts::amount(&mut errors, "storage", value, &at);
        }
    }
    errors
}

fn resource_key(errors: &mut FieldErrors, name: &str, path: &Path) {
    let texts = names::is_qualified_name(name);
    if texts.is_empty() && amounts::is_native(name) && name != "storage" {
        errors.push(FieldError::not_supported(path, name, &["storage"]));
    }
    check::texts(errors, path, name, texts);
}
