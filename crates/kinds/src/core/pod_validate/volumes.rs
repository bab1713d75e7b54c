//! Validation of volumes: those of pods and persistent volumes.

use super::{Owner, environment, paths};
use crate::core::{persistent_volume_claim, pod_template};
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::view::View;
use std::collections::{BTreeMap, BTreeSet};

use crate::check;
use crate::field::Path;

/// Checks one source of volumes.
type Check = fn(&mut FieldErrors, &View<'_>, &Owner<'_>);

/// A source of volumes: its field, its name when it is one too many, its name
/// in other complaints (three of which upstream spells in its own way), and
/// its rules.
pub(crate) struct Source {
    field: &'static str,
    surplus: &'static str,
    shown: &'static str,
    check: Check,
}

const fn source(field: &'static str, check: Check) -> Source {
    Source {
        field,
        surplus: field,
        shown: field,
        check,
    }
}

/// What a pod's volumes come from, in upstream's order.
const OF_PODS: [Source; 30] = [
    source("emptyDir", empty_dir),
    source("hostPath", host_path),
    source("gitRepo", git_repo),
    GCE,
    source("awsElasticBlockStore", aws_disk),
    source("secret", secret),
    source("nfs", nfs),
    source("iscsi", super::storage::iscsi),
    source("glusterfs", super::storage::glusterfs),
    source("flocker", super::storage::flocker),
    source("persistentVolumeClaim", claim),
    source("rbd", super::storage::rbd),
    source("cinder", super::storage::cinder),
    CEPH,
    source("quobyte", super::storage::quobyte),
    Source {
        surplus: "downwarAPI",
        ..source("downwardAPI", downward)
    },
    source("fc", super::storage::fibre_channel),
    source("flexVolume", super::storage::flex),
    source("configMap", config_map),
    source("azureFile", super::storage::azure_file),
    source("vsphereVolume", |e, v, _| needs(e, v, &["volumePath"])),
    source("photonPersistentDisk", |e, v, _| needs(e, v, &["pdID"])),
    source("portworxVolume", |e, v, _| needs(e, v, &["volumeID"])),
    source("azureDisk", super::storage::azure_disk),
    source("storageos", super::storage::storage_os),
    source("projected", super::projected::check),
    source("scaleIO", |e, v, _| {
        needs(e, v, &["gateway", "system", "volumeName"])
    }),
    source("csi", super::storage::csi),
    source("ephemeral", ephemeral),
    source("image", image),
];

const GCE: Source = Source {
    shown: "persistentDisk",
    ..source("gcePersistentDisk", gce_disk)
};
const CEPH: Source = Source {
    surplus: "cephFS",
    ..source("cephfs", |e, v, _| needs_list(e, v, "monitors"))
};

/// What a persistent volume comes from, in upstream's order.
pub(crate) const PERSISTENT: [Source; 22] = [
    source("hostPath", host_path),
    GCE,
    source("awsElasticBlockStore", aws_disk),
    source("glusterfs", super::storage::glusterfs),
    source("flocker", super::storage::flocker),
    source("nfs", nfs),
    source("rbd", super::storage::rbd),
    source("quobyte", super::storage::quobyte),
    CEPH,
    source("iscsi", super::storage::iscsi),
    source("cinder", super::storage::cinder),
    source("fc", super::storage::fibre_channel),
    source("flexVolume", super::storage::flex),
    source("azureFile", super::storage::azure_file),
    source("vsphereVolume", |e, v, _| needs(e, v, &["volumePath"])),
    source("photonPersistentDisk", |e, v, _| needs(e, v, &["pdID"])),
    source("portworxVolume", |e, v, _| needs(e, v, &["volumeID"])),
    source("azureDisk", super::storage::azure_disk),
    source("scaleIO", |e, v, _| {
        needs(e, v, &["gateway", "system", "volumeName"])
    }),
    source("local", local),
    source("storageos", super::storage::storage_os),
    source("csi", super::storage::csi),
];

/// Texts that must be set.
pub(super) fn needs(errors: &mut FieldErrors, view: &View<'_>, fields: &[&str]) {
    for field in fields {
        view.required(errors, field);
    }
}

/// A list that must not be empty.
pub(super) fn needs_list(errors: &mut FieldErrors, view: &View<'_>, field: &str) {
    if view.list(field).is_empty() {
        errors.push(FieldError::required(&view.at(field), ""));
    }
}

/// Complaints about the one source that a volume has.
pub(crate) fn sources(
    errors: &mut FieldErrors,
    volume: &View<'_>,
    known: &[Source],
    owner: &Owner<'_>,
) {
    let mut found = false;
    for source in known {
        let Some(view) = volume.map(source.field) else {
            continue;
        };
        if found {
            let why = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&volume.at(source.surplus), why));
            continue;
        }
        found = true;
        let view = View::new(view.tree, volume.at(source.shown));
        (source.check)(errors, &view, owner);
    }
    if !found {
        let why = "must specify a volume type";
        errors.push(FieldError::required(&volume.path, why));
    }
}

/// Checks `spec.volumes`; answers the sound ones by their names.
pub(super) fn check_all<'a>(
    errors: &mut FieldErrors,
    spec: &View<'a>,
    owner: &Owner<'_>,
) -> BTreeMap<&'a str, View<'a>> {
    let created: BTreeSet<String> = spec
        .maps("volumes")
        .filter(|volume| volume.has("ephemeral") && !owner.name.is_empty())
        .map(|volume| format!("{}-{}", owner.name, volume.text("name")))
        .collect();
    let mut sound = BTreeMap::new();
    for volume in spec.maps("volumes") {
        let before = errors.len();
        let name = volume.text("name");
        let owner = Owner {
            volume: name,
            ..*owner
        };
        sources(errors, &volume, &OF_PODS, &owner);
        volume.required_name(errors, "name", names::is_dns1123_label);
        if sound.contains_key(name) {
            errors.push(FieldError::duplicate(&volume.at("name"), name));
        }
        let claim = volume.inner("persistentVolumeClaim");
        if errors.len() == before {
            sound.insert(name, volume);
        }
        if created.contains(claim.text("claimName")) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            claim.invalid(errors, "claimName", why);
        }
    }
    sound
}

const MODE_TEXT: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// A file mode, if it is there.
pub(super) fn mode(errors: &mut FieldErrors, view: &View<'_>, field: &str) {
    if let Some(mode) = view.number(field).filter(|m| !(0..=0o777).contains(m)) {
        errors.push(FieldError::invalid(&view.at(field), mode, MODE_TEXT));
    }
}

/// Keys of a config map or secret and the files that they become.
pub(super) fn items(errors: &mut FieldErrors, view: &View<'_>) {
    for item in view.maps("items") {
        item.required(errors, "key");
        item.required(errors, "path");
        paths::local(errors, item.text("path"), &item.at("path"));
        mode(errors, &item, "mode");
    }
}

fn empty_dir(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    if view
        .quantity("sizeLimit")
        .is_some_and(|size| size.is_negative())
    {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&view.at("sizeLimit"), why));
    }
}

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

fn host_path(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    if view.required(errors, "path") {
        paths::no_backsteps(errors, view.text("path"), &view.at("path"));
        view.one_of(errors, "type", &HOST_PATH_TYPES);
    }
}

fn local(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    if view.required(errors, "path") {
        paths::no_backsteps(errors, view.text("path"), &view.at("path"));
    }
    if !owner.has_node_affinity {
        let path = Path::new("spec").child("nodeAffinity");
        let why = "Local volume requires node affinity";
        errors.push(FieldError::required(&path, why));
    }
}

fn git_repo(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "repository");
    paths::descending(errors, view.text("directory"), &view.at("directory"));
}

fn gce_disk(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "pdName");
    partition(errors, view);
}

fn aws_disk(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "volumeID");
    partition(errors, view);
}

fn partition(errors: &mut FieldErrors, view: &View<'_>) {
    if let Some(number) = view.number("partition").filter(|n| !(0..=255).contains(n)) {
        let why = "must be between 1 and 255, inclusive";
        errors.push(FieldError::invalid(&view.at("partition"), number, why));
    }
}

fn secret(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "secretName");
    mode(errors, view, "defaultMode");
    items(errors, view);
}

fn config_map(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "name");
    mode(errors, view, "defaultMode");
    items(errors, view);
}

fn nfs(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    needs(errors, view, &["server", "path"]);
    if !view.text("path").starts_with('/') {
        let path = view.text("path");
        errors.push(FieldError::invalid(
            &view.at("path"),
            path,
            "must be an absolute path",
        ));
    }
}

fn claim(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "claimName");
}

fn downward(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    mode(errors, view, "defaultMode");
    for file in view.maps("items") {
        downward_file(errors, &file, &view.path);
    }
}

/// A file made of a field of the pod. Upstream names its parent in complaints.
pub(super) fn downward_file(errors: &mut FieldErrors, file: &View<'_>, path: &Path) {
    let file = View::new(file.tree, path.clone());
    file.required(errors, "path");
    paths::local(errors, file.text("path"), &file.at("path"));
    if let Some(reference) = file.map("fieldRef") {
        environment::field_ref(errors, &reference, &environment::VOLUME_FIELDS);
        if file.has("resourceFieldRef") {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", why));
        }
    } else if let Some(reference) = file.map("resourceFieldRef") {
        environment::resource_ref(errors, &reference, true);
    } else {
        let why = "one of fieldRef and resourceFieldRef is required";
        errors.push(FieldError::required(path, why));
    }
    mode(errors, &file, "mode");
}

fn ephemeral(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    let Some(template) = view.map("volumeClaimTemplate") else {
        let path = view.at("volumeClaimTemplate");
        errors.push(FieldError::required(&path, ""));
        return;
    };
    pod_template::only_labels_and_annotations(errors, &template.inner("metadata"));
    persistent_volume_claim::spec(errors, &template.inner("spec"));
    if !owner.name.is_empty() && !owner.volume.is_empty() {
        let name = format!("{}-{}", owner.name, owner.volume);
        let path = view.path.parent().child("name");
        for text in names::is_dns1123_subdomain(&name) {
            let why = format!("PVC name \"{name}\": {text}");
            errors.push(FieldError::invalid(&path, owner.volume, why));
        }
    }
}

fn image(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    if owner.is_pod {
        view.required(errors, "reference");
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    check::one_of(errors, view.tree, "pullPolicy", &view.path, &policies);
}
