//! Validation of pods and pod templates.

use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::meta;
use crate::names;
use crate::tree::{flag, list, map, map_at, maps, number, text};
use kontiki_object::{Quantity, Value};

use std::collections::BTreeSet;

/// Complaints about a pod.
pub(crate) fn pod(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    pod_spec(&mut errors, spec, &Path::new("spec"));
    errors
}

/// What a new pod must not have: such containers come later.
pub(crate) fn create(object: &Tree) -> FieldErrors {
    let at = Path::new("spec").child("ephemeralContainers");
    match map(object, "spec").map(|spec| list(spec, "ephemeralContainers")) {
        None | Some([]) => FieldErrors::new(),
        Some(_) => vec![FieldError::forbidden(&at, "cannot be set on create")],
    }
}

/// Complaints about `template` within `parent`, whose path is given.
pub(crate) fn template(errors: &mut FieldErrors, parent: &Tree, path: &Path) {
    let empty = Tree::new();
    let path = path.child("template");
    let template = map(parent, "template").unwrap_or(&empty);
    let meta = map(template, "metadata").unwrap_or(&empty);
    let at = path.child("metadata");
    errors.extend(meta::validate_labels(
        meta.get("labels"),
        &at.child("labels"),
    ));
    errors.extend(meta::validate_annotations(
        meta.get("annotations"),
        &at.child("annotations"),
    ));
    let spec = map(template, "spec").unwrap_or(&empty);
    pod_spec(errors, spec, &path.child("spec"));
    if !list(spec, "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        let at = path.child("spec").child("ephemeralContainers");
        errors.push(FieldError::forbidden(&at, why));
    }
}

/// A template whose pods run for ever.
pub(crate) fn lasting_template(errors: &mut FieldErrors, spec: &Tree, path: &Path) {
    template(errors, spec, path);
    let policy = map_at(spec, &["template", "spec"]).map_or("", |spec| text(spec, "restartPolicy"));
    if !matches!(policy, "" | "Always") {
        let at = path.child("template").child("spec").child("restartPolicy");
        errors.push(FieldError::not_supported(&at, policy, &["Always"]));
    }
}

fn pod_spec(errors: &mut FieldErrors, spec: &Tree, path: &Path) {
    let volumes = volumes(errors, spec, &path.child("volumes"));
    let mut seen = BTreeSet::new();
    let host_network = flag(spec, "hostNetwork") == Some(true);
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    for field in ["containers", "initContainers"] {
        for (index, one) in maps(spec, field).enumerate() {
            let path = path.child(field).index(index);
            container(errors, one, &path, &volumes, host_network);
            let name = text(one, "name");
            if !name.is_empty() && !seen.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            if field == "initContainers" {
                init_container(errors, one, &path);
            }
        }
    }
    check::one_of(
        errors,
        spec,
        "restartPolicy",
        path,
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check::one_of(errors, spec, "dnsPolicy", path, &policies);
    if text(spec, "dnsPolicy") == "None" && map(spec, "dnsConfig").is_none() {
        let why = "must provide `dnsConfig` when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("dnsConfig"), why));
    }
    for field in [
        "serviceAccountName",
        "nodeName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        let name = text(spec, field);
        if !name.is_empty() {
            check::texts(
                errors,
                &path.child(field),
                name,
                names::dns_subdomain(name, false),
            );
        }
    }
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            check::texts(
                errors,
                &path.child(field),
                name,
                names::is_dns1123_label(name),
            );
        }
    }
    errors.extend(meta::validate_labels(
        spec.get("nodeSelector"),
        &path.child("nodeSelector"),
    ));
    if let Some(seconds) = number(spec, "activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            &path.child("activeDeadlineSeconds"),
            seconds,
            why,
        ));
    }
    tolerations(errors, spec, &path.child("tolerations"));
    gates(errors, spec, &path.child("schedulingGates"));
    spread(errors, spec, &path.child("topologySpreadConstraints"));
    let policies = ["PreemptLowerPriority", "Never"];
    check::one_of(errors, spec, "preemptionPolicy", path, &policies);
}

fn init_container(errors: &mut FieldErrors, one: &Tree, path: &Path) {
    if text(one, "restartPolicy") == "Always" {
        return;
    }
    for field in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if map(one, field).is_some() {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(&path.child(field), why));
        }
    }
}

fn volumes(errors: &mut FieldErrors, spec: &Tree, path: &Path) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for (index, volume) in maps(spec, "volumes").enumerate() {
        let path = path.index(index);
        let mut sources = volume
            .iter()
            .filter(|(name, value)| *name != "name" && !value.is_null());
        let first = sources.next();
        for (name, _) in sources {
            let why = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&path.child(name), why));
        }
        if first.is_none() {
            errors.push(FieldError::required(&path, "must specify a volume type"));
        }
        let name = text(volume, "name");
        let at = path.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        check::texts(errors, &at, name, names::is_dns1123_label(name));
        if !seen.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(&at, name));
        }
    }
    seen
}

fn container(
    errors: &mut FieldErrors,
    one: &Tree,
    path: &Path,
    volumes: &BTreeSet<String>,
    host_network: bool,
) {
    let name = text(one, "name");
    if check::required(errors, one, "name", path) {
        check::texts(
            errors,
            &path.child("name"),
            name,
            names::is_dns1123_label(name),
        );
    }
    if check::required(errors, one, "image", path) {
        let image = text(one, "image");
        if image.trim() != image {
            let why = "must not have leading or trailing whitespace";
            errors.push(FieldError::invalid(&path.child("image"), image, why));
        }
    }
    let policies = ["File", "FallbackToLogsOnError"];
    check::one_of(errors, one, "terminationMessagePolicy", path, &policies);
    ports(errors, one, &path.child("ports"), host_network);
    environment(errors, one, &path.child("env"));
    mounts(errors, one, &path.child("volumeMounts"), volumes);
    let policies = ["Always", "IfNotPresent", "Never"];
    check::one_of(errors, one, "imagePullPolicy", path, &policies);
    if let Some(found) = map(one, "resources") {
        resources(errors, found, &path.child("resources"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = map(one, probe) {
            check_probe(errors, found, &path.child(probe));
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(found) = map_at(one, &["lifecycle", hook]) {
            let path = path.child("lifecycle").child(hook);
            handler(
                errors,
                found,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                &path,
            );
        }
    }
}

fn handler(errors: &mut FieldErrors, found: &Tree, kinds: &[&str], path: &Path) {
    let mut set = kinds.iter().filter(|kind| map(found, kind).is_some());
    if set.next().is_none() {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    for kind in set {
        let why = "may not specify more than 1 handler type";
        errors.push(FieldError::forbidden(&path.child(kind), why));
    }
}

fn check_probe(errors: &mut FieldErrors, probe: &Tree, path: &Path) {
    handler(
        errors,
        probe,
        &["exec", "httpGet", "tcpSocket", "grpc"],
        path,
    );
    let fields = [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ];
    check::not_negative(errors, probe, &fields, path);
}

fn ports(errors: &mut FieldErrors, one: &Tree, path: &Path, host_network: bool) {
    let mut seen = BTreeSet::new();
    for (index, port) in maps(one, "ports").enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let at = path.child("name");
            let complaints = names::is_port_name(name);
            if complaints.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&at, name));
            }
            check::texts(errors, &at, name, complaints);
        }
        let number_of = number(port, "containerPort").unwrap_or_default();
        if number_of == 0 {
            errors.push(FieldError::required(&path.child("containerPort"), ""));
        } else {
            for text in names::is_port_number(number_of) {
                errors.push(FieldError::invalid(
                    &path.child("containerPort"),
                    number_of,
                    text,
                ));
            }
        }
        let host = number(port, "hostPort").unwrap_or_default();
        if host != 0 {
            for text in names::is_port_number(host) {
                errors.push(FieldError::invalid(&path.child("hostPort"), host, text));
            }
        }
        if host_network && host != number_of {
            let why = "must match `containerPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(&path.child("hostPort"), host, why));
        }
        check::one_of(errors, port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
    }
}

fn environment(errors: &mut FieldErrors, one: &Tree, path: &Path) {
    for (index, env) in maps(one, "env").enumerate() {
        let path = path.index(index);
        let name = text(env, "name");
        if check::required(errors, env, "name", &path) {
            check::texts(
                errors,
                &path.child("name"),
                name,
                names::is_env_var_name(name),
            );
        }
        let Some(source) = map(env, "valueFrom") else {
            continue;
        };
        let at = path.child("valueFrom");
        let sources = source.values().filter(|value| !value.is_null()).count();
        if !text(env, "value").is_empty() && sources > 0 {
            let why = "may not be specified when `value` is not empty";
            errors.push(FieldError::invalid(&at, "", why));
        } else if sources > 1 {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(&at, "", why));
        } else if sources == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(&at, "", why));
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(reference) = map(source, kind) {
                let at = at.child(kind);
                check::required(errors, reference, "key", &at);
            }
        }
    }
}

fn mounts(errors: &mut FieldErrors, one: &Tree, path: &Path, volumes: &BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    for (index, mount) in maps(one, "volumeMounts").enumerate() {
        let path = path.index(index);
        let name = text(mount, "name");
        if check::required(errors, mount, "name", &path) && !volumes.contains(name) {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        check::required(errors, mount, "mountPath", &path);
        let place = text(mount, "mountPath");
        if !seen.insert(place) {
            errors.push(FieldError::invalid(
                &path.child("mountPath"),
                place,
                "must be unique",
            ));
        }
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64().map(Quantity::from_units),
    }
}

/// Complaints about requests and limits.
pub(crate) fn resources(errors: &mut FieldErrors, found: &Tree, path: &Path) {
    let empty = Tree::new();
    let limits = map(found, "limits").unwrap_or(&empty);
    let requests = map(found, "requests").unwrap_or(&empty);
    for (field, amounts) in [("limits", limits), ("requests", requests)] {
        for (name, value) in amounts {
            let at = path.child(field).key(name);
            if quantity(value).is_some_and(Quantity::is_negative) {
                let why = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(&at, value.clone(), why));
            }
        }
    }
    for (name, request) in requests {
        let Some(limit) = limits.get(name) else {
            continue;
        };
        let (Some(asked), Some(most)) = (quantity(request), quantity(limit)) else {
            continue;
        };
        if asked > most {
            let shown = most.to_string();
            let why = format!("must be less than or equal to {name} limit of {shown}");
            let at = path.child("requests");
            errors.push(FieldError::invalid(&at, asked.to_string(), why));
        }
    }
}

fn tolerations(errors: &mut FieldErrors, spec: &Tree, path: &Path) {
    for (index, one) in maps(spec, "tolerations").enumerate() {
        let path = path.index(index);
        let key = text(one, "key");
        if !key.is_empty() {
            errors.extend(meta::validate_label_name(key, &path.child("key")));
        }
        let operator = text(one, "operator");
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&path.child("operator"), operator, why));
        }
        if number(one, "tolerationSeconds").is_some() && text(one, "effect") != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(
                &path.child("effect"),
                text(one, "effect"),
                why,
            ));
        }
        let value = text(one, "value");
        match operator {
            "" | "Equal" => {
                let complaints = names::is_label_value(value);
                if let Some(first) = complaints.into_iter().next() {
                    errors.push(FieldError::invalid(&path.child("operator"), value, first));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                let shown = Value::Object(one.clone());
                errors.push(FieldError::invalid(&path.child("operator"), shown, why));
            }
            "Exists" => {}
            other => {
                let supported = ["Equal", "Exists"];
                errors.push(FieldError::not_supported(
                    &path.child("operator"),
                    other,
                    &supported,
                ));
            }
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !text(one, "effect").is_empty() {
            check::one_of(errors, one, "effect", &path, &effects);
        }
    }
}

fn gates(errors: &mut FieldErrors, spec: &Tree, path: &Path) {
    let mut seen = BTreeSet::new();
    for (index, gate) in maps(spec, "schedulingGates").enumerate() {
        let path = path.index(index);
        let name = text(gate, "name");
        check::texts(errors, &path, name, names::is_qualified_name(name));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

fn spread(errors: &mut FieldErrors, spec: &Tree, path: &Path) {
    for (index, one) in maps(spec, "topologySpreadConstraints").enumerate() {
        let path = path.index(index);
        let skew = number(one, "maxSkew").unwrap_or_default();
        if skew <= 0 {
            let why = "must be greater than zero";
            errors.push(FieldError::invalid(&path.child("maxSkew"), skew, why));
        }
        let key = text(one, "topologyKey");
        if key.is_empty() {
            let why = "can not be empty";
            errors.push(FieldError::required(&path.child("topologyKey"), why));
        } else {
            errors.extend(meta::validate_label_name(key, &path.child("topologyKey")));
        }
        let supported = ["DoNotSchedule", "ScheduleAnyway"];
        check::one_of(errors, one, "whenUnsatisfiable", &path, &supported);
        let at = path.child("labelSelector");
        check::selector(errors, one.get("labelSelector"), &at);
    }
}

/// What an update of a pod's spec may change.
const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Complaints about a changed pod.
pub(crate) fn update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let path = Path::new("spec");
    let empty = Tree::new();
    let (new, old) = (
        map(new, "spec").unwrap_or(&empty),
        map(old, "spec").unwrap_or(&empty),
    );
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            let why = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(field), why));
            return errors;
        }
    }
    let old_tolerations = list(old, "tolerations");
    let new_tolerations = list(new, "tolerations");
    if !old_tolerations
        .iter()
        .all(|one| new_tolerations.contains(one))
    {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&path.child("tolerations"), why));
    }
    let gates = |spec: &Tree| -> Vec<String> {
        maps(spec, "schedulingGates")
            .map(|gate| text(gate, "name").to_owned())
            .collect()
    };
    let before = gates(old);
    let added = gates(new).into_iter().any(|gate| !before.contains(&gate));
    if added {
        let why = "only deletion is allowed, but found new scheduling gates";
        errors.push(FieldError::forbidden(&path.child("schedulingGates"), why));
    }
    let gated = !before.is_empty();
    let frozen = |spec: &Tree| {
        let mut spec = spec.clone();
        for field in [
            "tolerations",
            "activeDeadlineSeconds",
            "schedulingGates",
            "terminationGracePeriodSeconds",
        ] {
            spec.remove(field);
        }
        if gated {
            // KEP-3838: a gated pod may still be directed elsewhere.
            spec.remove("nodeSelector");
            spec.remove("affinity");
        }
        for field in ["containers", "initContainers"] {
            for one in crate::tree::maps_mut(&mut spec, field) {
                one.remove("image");
            }
        }
        Value::Object(spec)
    };
    if !meta::same(Some(&frozen(new)), Some(&frozen(old))) {
        errors.push(FieldError::forbidden(&path, MUTABLE));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn complaints(spec: Value) -> Vec<String> {
        let object = json!({"spec": spec});
        pod(object.as_object().expect("a map"))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_bad_pod_is_told_field_by_field() {
        let with = |extra: Value| {
            let mut container = json!({"name": "c", "image": "i"});
            for (field, value) in extra.as_object().expect("a map") {
                container[field] = value.clone();
            }
            json!({"containers": [container]})
        };
        for (spec, expected) in [
            (with(json!({})), vec![]),
            (json!({}), vec!["spec.containers: Required value"]),
            (
                with(json!({"image": ""})),
                vec!["spec.containers[0].image: Required value"],
            ),
            (
                with(json!({"imagePullPolicy": "Maybe"})),
                vec![
                    "spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                ],
            ),
            (
                with(json!({"ports": [{"containerPort": 70000, "protocol": "TCP"}]})),
                vec![
                    "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                with(json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]})),
                vec!["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
            ),
            (
                with(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
                vec![
                    "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                ],
            ),
            (
                json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}),
                vec!["spec.containers[1].name: Duplicate value: \"c\""],
            ),
        ] {
            assert_eq!(complaints(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn only_images_deadlines_and_further_tolerations_change() {
        let old = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}});
        for (field, value, fine) in [
            ("activeDeadlineSeconds", json!(5), true),
            ("tolerations", json!([{"operator": "Exists"}]), true),
            ("containers", json!([{"name": "c", "image": "j"}]), true),
            (
                "containers",
                json!([{"name": "c", "image": "i", "command": ["x"]}]),
                false,
            ),
            ("nodeName", json!("m"), false),
            ("containers", json!([]), false),
        ] {
            let mut new = old.clone();
            new["spec"][field] = value;
            let errors = update(
                new.as_object().expect("a map"),
                old.as_object().expect("a map"),
            );
            assert_eq!(errors.is_empty(), fine, "{new}");
        }
    }
}
