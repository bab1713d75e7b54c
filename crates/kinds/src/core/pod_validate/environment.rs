//! Validation of environment variables.

use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::view::{View, named};
use std::collections::BTreeMap;

use super::paths;

/// What volumes may show of a pod.
pub(super) const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// What variables may show of a pod.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Every label that Kubernetes knows as a field of a pod.
const CONVERTIBLE: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Checks `env` and `envFrom`; `volumes` are those of the pod.
pub(super) fn check(
    errors: &mut FieldErrors,
    container: &View<'_>,
    volumes: &BTreeMap<&str, View<'_>>,
) {
    for variable in container.maps("env") {
        variable.required_name(errors, "name", names::is_env_var_name);
        if let Some(source) = variable.map("valueFrom") {
            value_from(errors, &variable, &source, volumes);
        }
    }
    for source in container.maps("envFrom") {
        env_from(errors, container, &source);
    }
}

fn value_from(
    errors: &mut FieldErrors,
    variable: &View<'_>,
    source: &View<'_>,
    volumes: &BTreeMap<&str, View<'_>>,
) {
    let mut count = 0;
    if let Some(reference) = source.map("fieldRef") {
        count += 1;
        field_ref(errors, &reference, &VARIABLE_FIELDS);
    }
    if let Some(reference) = source.map("resourceFieldRef") {
        count += 1;
        resource_ref(errors, &reference, false);
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = source.map(field) {
            count += 1;
            let name = reference.text("name");
            named(
                errors,
                &reference.at("name"),
                name,
                names::is_dns1123_subdomain,
            );
            reference.required_name(errors, "key", names::is_config_map_key);
        }
    }
    if let Some(reference) = source.map("fileKeyRef") {
        count += 1;
        file_ref(errors, &reference, volumes);
    }
    let why = if count == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !variable.text("value").is_empty() {
        "may not be specified when `value` is not empty"
    } else if count > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.push(FieldError::invalid(&source.path, "", why));
}

/// A variable that a file in a volume of the pod sets.
fn file_ref(errors: &mut FieldErrors, reference: &View<'_>, volumes: &BTreeMap<&str, View<'_>>) {
    reference.required_name(errors, "key", names::is_env_var_name);
    if reference.required(errors, "path") {
        paths::local(errors, reference.text("path"), &reference.at("path"));
    }
    if reference.required(errors, "volumeName") {
        let name = reference.text("volumeName");
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(&reference.at("volumeName"), name)),
            Some(volume) if !volume.has("emptyDir") => {
                let why = "referenced volume must be of type emptyDir";
                reference.invalid(errors, "volumeName", why);
            }
            Some(_) => {}
        }
    }
}

/// `metadata.labels['a']`: the map and the key.
fn subscript(field: &str) -> Option<(&str, &str)> {
    let (map, key) = field.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// A field of the pod.
pub(super) fn field_ref(errors: &mut FieldErrors, reference: &View<'_>, known: &[&str]) {
    if !reference.required(errors, "apiVersion") || !reference.required(errors, "fieldPath") {
        return;
    }
    let field = reference.text("fieldPath");
    let path = reference.at("fieldPath");
    let version = reference.text("apiVersion");
    if version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        errors.push(FieldError::invalid(&path, field, why));
        return;
    }
    if let Some((map, key)) = subscript(field) {
        let at = &reference.path;
        match map {
            "metadata.annotations" => {
                let key = key.to_lowercase();
                named(errors, at, &key, names::is_qualified_name);
            }
            "metadata.labels" => named(errors, at, key, names::is_qualified_name),
            _ => {
                let why = format!(
                    "error converting fieldPath: field label does not support subscript: {field}"
                );
                errors.push(FieldError::invalid(&path, field, why));
            }
        }
        return;
    }
    // `spec.host` is what `spec.nodeName` was once called.
    let field = if field == "spec.host" {
        "spec.nodeName"
    } else {
        field
    };
    if !CONVERTIBLE.contains(&field) {
        let why = format!("error converting fieldPath: field label not supported: {field}");
        errors.push(FieldError::invalid(&path, field, why));
    } else if !known.contains(&field) {
        errors.push(FieldError::not_supported(&path, field, known));
    }
}

/// An amount that a container asks for.
pub(super) fn resource_ref(errors: &mut FieldErrors, reference: &View<'_>, in_volume: bool) {
    let resource = reference.text("resource");
    let is_huge = ["limits.hugepages-", "requests.hugepages-"]
        .iter()
        .any(|prefix| resource.starts_with(prefix));
    if in_volume && reference.text("containerName").is_empty() {
        errors.push(FieldError::required(&reference.at("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&reference.at("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge {
        reference.one_of(errors, "resource", &RESOURCES);
    }
    divisor(errors, reference, resource, is_huge);
}

fn divisor(errors: &mut FieldErrors, reference: &View<'_>, resource: &str, is_huge: bool) {
    const BYTES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let Some(divisor) = reference.quantity("divisor").filter(|one| !one.is_zero()) else {
        return;
    };
    let divisor = divisor.to_string();
    let (fine, values, what) = match resource {
        "limits.cpu" | "requests.cpu" => (["1", "1m"].contains(&&*divisor), "1m and 1", "cpu"),
        "limits.memory" | "requests.memory" => {
            (BYTES.split(", ").any(|v| v == divisor), BYTES, "memory")
        }
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (
            BYTES.split(", ").any(|v| v == divisor),
            BYTES,
            "local ephemeral storage",
        ),
        _ if is_huge => (BYTES.split(", ").any(|v| v == divisor), BYTES, "hugepages"),
        _ => return,
    };
    if !fine {
        let why = format!("only divisor's values {values} are supported with the {what} resource");
        errors.push(FieldError::invalid(&reference.at("divisor"), resource, why));
    }
}

fn env_from(errors: &mut FieldErrors, container: &View<'_>, source: &View<'_>) {
    source.name(errors, "prefix", names::is_env_var_name);
    let mut count = 0;
    for field in ["configMapRef", "secretRef"] {
        if let Some(reference) = source.map(field) {
            count += 1;
            if reference.required(errors, "name") {
                let name = reference.text("name");
                let texts = names::dns_subdomain(name, true).into_iter();
                let path = reference.at("name");
                errors.extend(texts.map(|text| FieldError::invalid(&path, name, text)));
            }
        }
    }
    let why = match count {
        0 => "must specify one of: `configMapRef` or `secretRef`",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(&container.at("envFrom"), "", why));
}
