//! Validation of volumes that storage systems provide.

use super::Owner;
use super::volumes::{needs, needs_list};
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::view::{View, named};

fn lun(errors: &mut FieldErrors, view: &View<'_>) {
    let why = "must be between 0 and 255, inclusive";
    if let Some(lun) = view.number("lun").filter(|lun| !(0..=255).contains(lun)) {
        errors.push(FieldError::invalid(&view.at("lun"), lun, why));
    }
}

/// Whether a name of an initiator or target has the form that its prefix promises.
fn is_iscsi_name(name: &str) -> bool {
    let alnum = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if let Some(rest) = name.strip_prefix("eui") {
        return rest.get(1..).is_some_and(|rest| alnum(rest, 16));
    }
    if let Some(rest) = name.strip_prefix("naa") {
        return rest.get(1..).is_some_and(|rest| alnum(rest, 32));
    }
    let Some((date, rest)) = name
        .strip_prefix("iqn.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let is_date = date.len() == 7
        && date.bytes().enumerate().all(|(at, b)| {
            if at == 4 {
                b == b'-'
            } else {
                b.is_ascii_digit()
            }
        });
    let Some((authority, unique)) = rest.split_once(':') else {
        return false;
    };
    let in_authority = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    is_date
        && !authority.is_empty()
        && authority.bytes().all(in_authority)
        && !unique.is_empty()
        && !unique
            .chars()
            .any(|c| c.is_whitespace() || ",;*&$|".contains(c))
}

fn has_iscsi_prefix(name: &str) -> bool {
    ["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p))
}

pub(super) fn iscsi(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    const FORM: &str = "must be valid format";
    const PREFIX: &str = "must be valid format starting with iqn, eui, or naa";
    let is_pv = owner.is_persistent;
    view.required(errors, "targetPortal");
    if view.required(errors, "iqn") {
        let iqn = view.text("iqn");
        if !has_iscsi_prefix(iqn) {
            view.invalid(errors, "iqn", PREFIX);
        } else if !is_iscsi_name(iqn) {
            view.invalid(errors, "iqn", FORM);
        }
    }
    lun(errors, view);
    let needs_secret = view.is_true("chapAuthDiscovery") || view.is_true("chapAuthSession");
    if needs_secret && !view.has("secretRef") {
        errors.push(FieldError::required(&view.at("secretRef"), ""));
    }
    if is_pv && let Some(secret) = view.map("secretRef") {
        secret.required(errors, "name");
    }
    if view.has("initiatorName") {
        let name = view.text("initiatorName");
        let path = view.at("initiatorname");
        if !has_iscsi_prefix(name) {
            let why = if is_pv { FORM } else { PREFIX };
            errors.push(FieldError::invalid(&path, name, why));
        } else if !is_iscsi_name(name) {
            errors.push(FieldError::invalid(&path, name, FORM));
        }
        let portal = view.text("targetPortal");
        let holder = if is_pv { owner.name } else { owner.volume };
        if holder.len() + 1 + portal.len() > 64 {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(if is_pv {
                FieldError::invalid(&view.at("targetportal"), portal, why)
            } else {
                FieldError::invalid(&view.path.parent().child("name"), holder, why)
            });
        }
    }
}

pub(super) fn fibre_channel(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    let names = view.list("targetWWNs");
    let ids = view.list("wwids");
    let path = view.at("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&path, why));
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&path, names.to_vec(), why));
    }
    if !names.is_empty() {
        if view.has("lun") {
            lun(errors, view);
        } else {
            let why = "lun is required if targetWWNs is specified";
            errors.push(FieldError::required(&view.at("lun"), why));
        }
    }
}

pub(super) fn quobyte(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = view.text("registry");
    if registry.is_empty() {
        errors.push(FieldError::required(&view.at("registry"), PAIRS));
    } else if view.text("tenant").len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&view.at("tenant"), why));
    } else {
        let is_pair = |pair: &&str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| {
                !host.contains(':') || (host.starts_with('[') && host.ends_with(']'))
            })
        };
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            view.invalid(errors, "registry", PAIRS);
        }
    }
    view.required(errors, "volume");
}

pub(super) fn glusterfs(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    needs(errors, view, &["endpoints", "path"]);
    if owner.is_persistent && view.has("endpointsNamespace") {
        if view.text("endpointsNamespace").is_empty() {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            view.invalid(errors, "endpointsNamespace", why);
        } else {
            view.name(errors, "endpointsNamespace", names::is_dns1123_label);
        }
    }
}

pub(super) fn flocker(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    let (name, uuid) = (view.text("datasetName"), view.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        let why = "one of datasetName and datasetUUID is required";
        errors.push(FieldError::required(&view.path, why));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(&view.path, "resource", why));
    }
    if name.contains('/') {
        view.invalid(errors, "datasetName", "must not contain '/'");
    }
}

pub(super) fn rbd(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    needs_list(errors, view, "monitors");
    view.required(errors, "image");
}

fn secret(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    if let Some(secret) = view.map("secretRef") {
        secret.required(errors, "name");
        if owner.is_persistent {
            secret.required(errors, "namespace");
        }
    }
}

pub(super) fn cinder(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    view.required(errors, "volumeID");
    secret(errors, view, owner);
}

pub(super) fn flex(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    view.required(errors, "driver");
    for (path, key, _) in view.entries("options") {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let domain = format!(".{}", namespace.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&path, key, why));
        }
    }
}

pub(super) fn azure_file(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    needs(errors, view, &["secretName", "shareName"]);
    if owner.is_persistent && view.has("secretNamespace") {
        view.required(errors, "secretNamespace");
    }
}

pub(super) fn azure_disk(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    const MANAGED: &str = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str =
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    needs(errors, view, &["diskName", "diskURI"]);
    view.one_of(errors, "cachingMode", &["None", "ReadOnly", "ReadWrite"]);
    view.one_of(errors, "kind", &["Dedicated", "Managed", "Shared"]);
    let uri = view.text("diskURI");
    let (start, form) = match view.text("kind") {
        "Managed" => ("/subscriptions/", MANAGED),
        _ => ("https://", BLOB),
    };
    if view.has("kind") && !uri.starts_with(start) {
        errors.push(FieldError::not_supported(&view.at("diskURI"), uri, &[form]));
    }
}

pub(super) fn storage_os(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    view.required_name(errors, "volumeName", names::is_dns1123_label);
    view.name(errors, "volumeNamespace", names::is_dns1123_label);
    secret(errors, view, owner);
}

/// The name of a CSI driver.
pub(crate) fn driver_name(errors: &mut FieldErrors, view: &View<'_>, field: &str) {
    let name = view.text(field);
    let path = view.at(field);
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(&path, 63));
    }
    let texts = names::is_dns1123_subdomain(&name.to_lowercase()).into_iter();
    errors.extend(texts.map(|text| FieldError::invalid(&path, name, text)));
}

pub(super) fn csi(errors: &mut FieldErrors, view: &View<'_>, owner: &Owner<'_>) {
    driver_name(errors, view, "driver");
    if !owner.is_persistent {
        if let Some(secret) = view.map("nodePublishSecretRef")
            && secret.required(errors, "name")
        {
            let name = secret.text("name");
            named(errors, &view.at("name"), name, names::is_dns1123_subdomain);
        }
        return;
    }
    view.required(errors, "volumeHandle");
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        if let Some(secret) = view.map(field) {
            secret.required_name(errors, "name", names::is_dns1123_subdomain);
            secret.required_name(errors, "namespace", names::is_dns1123_label);
        }
    }
}
