//! Validation of containers.

use super::{environment, handlers, paths, security};
use crate::amounts;
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::view::View;
use std::collections::{BTreeMap, BTreeSet};

/// What containers are checked against.
pub(super) struct Surroundings<'a> {
    /// The sound volumes of the pod.
    pub volumes: BTreeMap<&'a str, View<'a>>,
    /// The claims of the pod.
    pub claims: BTreeSet<&'a str>,
    /// How long the pod may take to end.
    pub grace: Option<i64>,
    /// Whether users in the pod are those of the host.
    pub host_users: bool,
    /// What becomes of containers that end.
    pub restart_policy: &'a str,
}

/// Checks `containers`.
pub(super) fn check_main(errors: &mut FieldErrors, spec: &View<'_>, around: &Surroundings<'_>) {
    if spec.list("containers").is_empty() {
        errors.push(FieldError::required(&spec.at("containers"), ""));
        return;
    }
    let mut seen = BTreeSet::new();
    for container in spec.maps("containers") {
        check_common(errors, &container, around);
        let name = container.text("name");
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&container.at("name"), name));
        }
        handlers::check(errors, &container, around.grace);
        restart_policy(errors, &container);
    }
    host_ports(errors, spec.maps("containers"));
}

/// Checks `initContainers`.
pub(super) fn check_init(errors: &mut FieldErrors, spec: &View<'_>, around: &Surroundings<'_>) {
    let mut seen: BTreeSet<&str> = spec.maps("containers").map(|c| c.text("name")).collect();
    for container in spec.maps("initContainers") {
        check_common(errors, &container, around);
        restart_policy(errors, &container);
        let name = container.text("name");
        if seen.contains(name) {
            errors.push(FieldError::duplicate(&container.at("name"), name));
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // They run one by one: only a container's own ports can collide.
        host_ports(errors, std::iter::once(container.clone()));
        if container.text("restartPolicy") == "Always" {
            handlers::check(errors, &container, around.grace);
            continue;
        }
        let why = "may not be set for init containers without restartPolicy=Always";
        for field in [
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
        ] {
            container.forbid(errors, field, why);
        }
    }
}

/// What containers that are added to a running pod must not have.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Checks `ephemeralContainers`.
pub(super) fn check_ephemeral(
    errors: &mut FieldErrors,
    spec: &View<'_>,
    around: &Surroundings<'_>,
) {
    let lasting: BTreeSet<&str> = spec
        .maps("containers")
        .chain(spec.maps("initContainers"))
        .map(|container| container.text("name"))
        .collect();
    let mut seen = lasting.clone();
    for container in spec.maps("ephemeralContainers") {
        check_common(errors, &container, around);
        trimmed_image(errors, &container);
        let name = container.text("name");
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&container.at("name"), name));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !lasting.contains(target) {
            let path = container.at("targetContainerName");
            errors.push(FieldError::not_found(&path, target));
        }
        let why = "cannot be set for an Ephemeral Container";
        for field in NOT_EPHEMERAL {
            let is_empty = crate::meta::same(container.value(field), None);
            if !is_empty {
                errors.push(FieldError::forbidden(&container.at(field), why));
            }
        }
        for mount in container.maps("volumeMounts") {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    errors.push(FieldError::forbidden(&mount.at(field), why));
                }
            }
        }
    }
}

/// Images without white space around them: asked of pods, not of templates.
pub(super) fn trimmed_image(errors: &mut FieldErrors, container: &View<'_>) {
    let image = container.text("image");
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        container.invalid(errors, "image", why);
    }
}

fn check_common(errors: &mut FieldErrors, container: &View<'_>, around: &Surroundings<'_>) {
    container.required_name(errors, "name", names::is_dns1123_label);
    container.required(errors, "image");
    let policies = ["File", "FallbackToLogsOnError"];
    container.required_one_of(errors, "terminationMessagePolicy", &policies);
    ports(errors, container);
    environment::check(errors, container, &around.volumes);
    mounts(errors, container, around);
    devices(errors, container, around);
    let policies = ["Always", "IfNotPresent", "Never"];
    container.required_one_of(errors, "imagePullPolicy", &policies);
    let resources = container.inner("resources");
    amounts::requirements(
        errors,
        &resources,
        amounts::Names::Container,
        &around.claims,
    );
    resize_policy(errors, container, around.restart_policy);
    security::of_container(errors, container, around.host_users);
}

fn ports(errors: &mut FieldErrors, container: &View<'_>) {
    let mut seen = BTreeSet::new();
    for port in container.maps("ports") {
        let name = port.text("name");
        if !name.is_empty() {
            let before = errors.len();
            port.name(errors, "name", names::is_port_name);
            if errors.len() == before && !seen.insert(name) {
                errors.push(FieldError::duplicate(&port.at("name"), name));
            }
        }
        for field in ["containerPort", "hostPort"] {
            let number = port.number(field).unwrap_or_default();
            if number == 0 {
                if field == "containerPort" {
                    errors.push(FieldError::required(&port.at(field), ""));
                }
                continue;
            }
            for text in names::is_port_number(number) {
                errors.push(FieldError::invalid(&port.at(field), number, text));
            }
        }
        port.required_one_of(errors, "protocol", &["SCTP", "TCP", "UDP"]);
    }
}

fn host_ports<'a>(errors: &mut FieldErrors, containers: impl Iterator<Item = View<'a>>) {
    let mut seen = BTreeSet::new();
    for container in containers {
        for port in container.maps("ports") {
            let number = port.number("hostPort").unwrap_or_default();
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if number != 0 && !seen.insert(key.clone()) {
                errors.push(FieldError::duplicate(&port.at("hostPort"), key));
            }
        }
    }
}

fn mounts(errors: &mut FieldErrors, container: &View<'_>, around: &Surroundings<'_>) {
    let devices: Vec<View<'_>> = container.maps("volumeDevices").collect();
    let list = container.at("volumeMounts");
    let mut seen = BTreeSet::new();
    for mount in container.maps("volumeMounts") {
        let (name, place) = (mount.text("name"), mount.text("mountPath"));
        mount.required(errors, "name");
        let volume = around.volumes.get(name);
        if volume.is_none() {
            errors.push(FieldError::not_found(&mount.at("name"), name));
        }
        mount.required(errors, "mountPath");
        if !seen.insert(place) {
            mount.invalid(errors, "mountPath", "must be unique");
        }
        if devices.iter().any(|device| device.text("name") == name) {
            mount.invalid(errors, "name", "must not already exist in volumeDevices");
        }
        if devices
            .iter()
            .any(|device| device.text("devicePath") == place)
        {
            let why = "must not already exist as a path in volumeDevices";
            mount.invalid(errors, "mountPath", why);
        }
        if volume.is_some_and(|volume| volume.has("image")) {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    mount.invalid(errors, field, "not allowed in image volume sources");
                }
            }
        }
        let (part, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
        if !part.is_empty() {
            paths::descending(errors, part, &list.child("subPath"));
        }
        if !expression.is_empty() {
            if !part.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                mount.invalid(errors, "subPathExpr", why);
            }
            paths::descending(errors, expression, &list.child("subPathExpr"));
        }
        propagation(errors, container, &mount);
    }
}

fn propagation(errors: &mut FieldErrors, container: &View<'_>, mount: &View<'_>) {
    let list = View::new(mount.tree, container.at("volumeMounts"));
    list.one_of(
        errors,
        "mountPropagation",
        &["Bidirectional", "HostToContainer", "None"],
    );
    let privileged = container.inner("securityContext").is_true("privileged");
    if mount.text("mountPropagation") == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&list.at("mountPropagation"), why));
    }
    let path = list.at("recursiveReadOnly");
    match mount.text("recursiveReadOnly") {
        "Enabled" | "IfPossible" => {
            if !mount.is_true("readOnly") {
                let why = "may only be specified when readOnly is true";
                errors.push(FieldError::forbidden(&path, why));
            }
            if mount.has("mountPropagation") && mount.text("mountPropagation") != "None" {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&path, why));
            }
        }
        _ => list.one_of(
            errors,
            "recursiveReadOnly",
            &["Disabled", "Enabled", "IfPossible"],
        ),
    }
}

fn devices(errors: &mut FieldErrors, container: &View<'_>, around: &Surroundings<'_>) {
    let mounts: Vec<View<'_>> = container.maps("volumeMounts").collect();
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for device in container.maps("volumeDevices") {
        let (name, place) = (device.text("name"), device.text("devicePath"));
        device.required(errors, "name");
        if names.contains(name) {
            device.invalid(errors, "name", "must be unique");
        }
        match around.volumes.get(name) {
            None => errors.push(FieldError::not_found(&device.at("name"), name)),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                device.invalid(errors, "name", why);
            }
            Some(_) => {}
        }
        device.required(errors, "devicePath");
        if places.contains(place) {
            device.invalid(errors, "devicePath", "must be unique");
        }
        if place.split('/').any(|part| part == "..") {
            device.invalid(errors, "devicePath", "can not contain backsteps ('..')");
        } else {
            places.insert(place);
        }
        if mounts.iter().any(|mount| mount.text("name") == name) {
            device.invalid(errors, "name", "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.text("mountPath") == place) {
            let why = "must not already exist as a path in volumeMounts";
            device.invalid(errors, "devicePath", why);
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}

fn resize_policy(errors: &mut FieldErrors, container: &View<'_>, restart_policy: &str) {
    let path = container.at("resizePolicy");
    let mut seen = BTreeSet::new();
    for policy in container.maps("resizePolicy") {
        let resource = policy.text("resourceName");
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&policy.path, resource));
        }
        let known: [(&str, &[&str]); 2] = [
            ("resourceName", &["cpu", "memory"]),
            ("restartPolicy", &["NotRequired", "RestartContainer"]),
        ];
        for (field, supported) in known {
            let value = policy.text(field);
            if value.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if !supported.contains(&value) {
                errors.push(FieldError::not_supported(&path, value, supported));
            }
        }
        let wish = policy.text("restartPolicy");
        if restart_policy == "Never" && wish != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(&path, wish, why));
        }
    }
}

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// KEP-5307: what becomes of one container that ends.
fn restart_policy(errors: &mut FieldErrors, container: &View<'_>) {
    let rules = container.list("restartPolicyRules").len();
    if !container.has("restartPolicy") {
        if rules > 0 {
            let why = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&container.at("restartPolicy"), why));
        }
        return;
    }
    container.one_of(errors, "restartPolicy", &["Always", "Never", "OnFailure"]);
    if rules > RULES_MAX {
        let path = container.at("restartPolicyRules");
        errors.push(FieldError::too_long(&path, RULES_MAX));
    }
    for rule in container.maps("restartPolicyRules") {
        rule.required_one_of(errors, "action", &["Restart", "RestartAllContainers"]);
        let Some(codes) = rule.map("exitCodes") else {
            let why = "must be specified";
            errors.push(FieldError::required(&rule.at("exitCodes"), why));
            continue;
        };
        codes.required_one_of(errors, "operator", &["In", "NotIn"]);
        if codes.list("values").len() > EXIT_CODES_MAX {
            errors.push(FieldError::too_long(&codes.at("values"), EXIT_CODES_MAX));
        }
    }
}
