//! `storage.k8s.io/v1` `StorageClass`.

use crate::Kind;
use crate::Tree;
use crate::check;
use crate::field::{FieldErrors, Path};
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, flag, text_at};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sc"]),
        defaults,
        strategy: Rules {
            validate,
            validate_update,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses")
    }
}

fn defaults(object: &mut Tree) {
    default(object, "reclaimPolicy", "Delete");
    default(object, "volumeBindingMode", "Immediate");
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Provisioner",
            "string",
            "provisioner indicates the type of the provisioner.",
            |o, _| text_at(o, &["provisioner"]).into(),
        ),
        Column::new(
            "ReclaimPolicy",
            "string",
            "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
            |o, _| text_at(o, &["reclaimPolicy"]).into(),
        ),
        Column::new(
            "VolumeBindingMode",
            "string",
            "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature.",
            |o, _| text_at(o, &["volumeBindingMode"]).into(),
        ),
        Column::new(
            "AllowVolumeExpansion",
            "string",
            "allowVolumeExpansion shows whether the storage class allow volume expand.",
            |o, _| flag(o, "allowVolumeExpansion").unwrap_or_default().into(),
        ),
        Column::age(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let root = Path::root();
    check::required(&mut errors, object, "provisioner", &root);
    check::one_of(
        &mut errors,
        object,
        "reclaimPolicy",
        &root,
        &["Delete", "Retain"],
    );
    let supported = ["Immediate", "WaitForFirstConsumer"];
    check::one_of(&mut errors, object, "volumeBindingMode", &root, &supported);
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let fields = [
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ];
    check::immutable(&mut errors, new, old, &fields, &Path::root());
    errors
}
