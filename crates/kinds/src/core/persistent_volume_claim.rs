//! `core/v1` `PersistentVolumeClaim`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::table::Column;
use crate::tree::{default, list, list_at, make, map, text_at};
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

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let modes = list(spec, "accessModes");
    let at = path.child("accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(
            &at,
            "at least 1 access mode is required",
        ));
    }
    let supported = [
        "ReadOnlyMany",
        "ReadWriteMany",
        "ReadWriteOnce",
        "ReadWriteOncePod",
    ];
    for mode in modes.iter().filter_map(Value::as_str) {
        if !supported.contains(&mode) {
            errors.push(FieldError::not_supported(&at, mode, &supported));
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(&at, why));
    }
    let at = path.child("resources").key("storage");
    match crate::tree::at(spec, &["resources", "requests", "storage"]) {
        None => errors.push(FieldError::required(&at, "")),
        Some(value) => {
            let amount = value
                .as_str()
                .and_then(|text| text.parse::<Quantity>().ok());
            if amount.is_some_and(|amount| amount.is_zero() || amount.is_negative()) {
                let why = "must be greater than zero";
                errors.push(FieldError::invalid(&at, value.clone(), why));
            }
        }
    }
    check::one_of(
        &mut errors,
        spec,
        "volumeMode",
        &path,
        &["Block", "Filesystem"],
    );
    errors
}
