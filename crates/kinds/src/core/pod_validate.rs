//! Validation of pods and pod templates.

mod containers;
mod environment;
mod handlers;
pub(crate) mod paths;
mod projected;
pub(crate) mod scheduling;
mod security;
mod status;
pub(crate) mod storage;
mod update;
pub(crate) mod volumes;

pub(crate) use handlers::port as port_number_or_name;
pub(crate) use status::status;
pub(crate) use update::{ephemeral_containers, resize, update};

use crate::Tree;
use crate::amounts;
use crate::field::{FieldError, FieldErrors, Path};
use crate::ip;
use crate::meta;
use crate::names;
use crate::tree::{map_at, text};
use crate::view::{View, quantity};
use containers::Surroundings;
use std::collections::BTreeSet;

/// Whose volumes are checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner<'a> {
    /// The name of a pod or persistent volume; empty for templates.
    pub name: &'a str,
    /// The name of the volume within a pod.
    pub volume: &'a str,
    /// Whether it is a pod, as opposed to a template.
    pub is_pod: bool,
    /// Whether it is a persistent volume.
    pub is_persistent: bool,
    /// Whether a persistent volume says which nodes reach it.
    pub has_node_affinity: bool,
}

/// Complaints about a pod.
pub(crate) fn pod(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let meta = View::of(object, "metadata");
    annotations(&mut errors, &meta, &spec, &meta.at("annotations"));
    let owner = Owner {
        name: meta.text("name"),
        is_pod: true,
        ..Owner::default()
    };
    pod_spec(&mut errors, &spec, &owner);
    if spec.text("serviceAccountName").is_empty() {
        for volume in spec.maps("volumes") {
            for source in volume.inner("projected").maps("sources") {
                let why = "must not be specified when serviceAccountName is not set";
                source.forbid(&mut errors, "serviceAccountToken", why);
            }
        }
    }
    for field in ["containers", "initContainers"] {
        for container in spec.maps(field) {
            containers::trimmed_image(&mut errors, &container);
        }
    }
    errors
}

/// What a new pod must not have: such things come later.
pub(crate) fn create(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    if !spec.list("ephemeralContainers").is_empty() {
        let path = spec.at("ephemeralContainers");
        errors.push(FieldError::forbidden(&path, "cannot be set on create"));
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&spec.at("nodeName"), why));
    }
    errors
}

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Annotations that mean something for pods.
fn annotations(errors: &mut FieldErrors, meta: &View<'_>, spec: &View<'_>, path: &Path) {
    let annotations = meta.inner("annotations");
    if annotations.has(MIRROR) && spec.text("nodeName").is_empty() {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        let value = annotations.text(MIRROR);
        errors.push(FieldError::invalid(&path.key(MIRROR), value, why));
    }
    if annotations.has(DELETION_COST) {
        let cost = annotations.text(DELETION_COST);
        let is_number = cost.parse::<i32>().is_ok()
            && !cost.starts_with('+')
            && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
        if !is_number {
            let why = "must be a 32bit integer";
            errors.push(FieldError::invalid(&path.key(DELETION_COST), cost, why));
        }
    }
}

/// Complaints about `template` within `parent`, whose path is given.
pub(crate) fn template(errors: &mut FieldErrors, parent: &Tree, path: &Path) {
    let template = View::new(parent, path.clone()).inner("template");
    template_spec(errors, &template);
}

/// Complaints about a pod template.
pub(crate) fn template_spec(errors: &mut FieldErrors, template: &View<'_>) {
    let meta = template.inner("metadata");
    // Upstream's paths leave `metadata` out.
    let (labels, notes) = (template.at("labels"), template.at("annotations"));
    errors.extend(meta::validate_labels(meta.value("labels"), &labels));
    errors.extend(meta::validate_annotations(
        meta.value("annotations"),
        &notes,
    ));
    let spec = template.inner("spec");
    annotations(errors, &meta, &spec, &notes);
    pod_spec(errors, &spec, &Owner::default());
    if !spec.list("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&spec.at("ephemeralContainers"), why));
    }
}

/// A template whose pods run for ever; `kind` is what makes them.
pub(crate) fn lasting_template(errors: &mut FieldErrors, spec: &Tree, kind: &str, path: &Path) {
    template(errors, spec, path);
    let policy = map_at(spec, &["template", "spec"]).map_or("", |spec| text(spec, "restartPolicy"));
    let at = path.child("template").child("spec");
    if policy != "Always" && !policy.is_empty() {
        let path = at.child("restartPolicy");
        errors.push(FieldError::not_supported(&path, policy, &["Always"]));
    }
    let deadline = crate::tree::at(spec, &["template", "spec", "activeDeadlineSeconds"]);
    if deadline.is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(
            &at.child("activeDeadlineSeconds"),
            why,
        ));
    }
}

fn pod_spec(errors: &mut FieldErrors, spec: &View<'_>, owner: &Owner<'_>) {
    let volumes = volumes::check_all(errors, spec, owner);
    let claims = resource_claims(errors, spec);
    let around = Surroundings {
        volumes,
        claims,
        grace: spec.number("terminationGracePeriodSeconds"),
        host_users: spec.value("hostUsers") != Some(&false.into()),
        restart_policy: spec.text("restartPolicy"),
    };
    containers::check_main(errors, spec, &around);
    containers::check_init(errors, spec, &around);
    containers::check_ephemeral(errors, spec, &around);
    if let Some(resources) = spec.map("resources") {
        pod_resources(errors, spec, &resources, &around.claims);
    }
    host_network(errors, spec, owner);
    // A spec without containers is empty altogether: nothing was defaulted.
    spec.one_of(errors, "restartPolicy", &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    spec.one_of(errors, "dnsPolicy", &policies);
    let path = spec.at("nodeSelector");
    errors.extend(meta::validate_labels(spec.value("nodeSelector"), &path));
    security::of_pod(errors, spec);
    scheduling::affinity(errors, spec);
    dns(errors, spec);
    scheduling::gates(errors, spec);
    scheduling::spread(errors, spec);
    security::host_process(errors, spec);
    security::host_users(errors, spec);
    spec.name(errors, "serviceAccountName", names::is_dns1123_subdomain);
    spec.name(errors, "nodeName", names::is_dns1123_subdomain);
    spec.within(errors, "activeDeadlineSeconds", 1, i64::from(i32::MAX));
    spec.name(errors, "hostname", names::is_dns1123_label);
    spec.name(errors, "subdomain", names::is_dns1123_label);
    hostname_override(errors, spec);
    scheduling::tolerations(errors, spec);
    host_aliases(errors, spec);
    spec.name(errors, "priorityClassName", names::is_dns1123_subdomain);
    if spec.has("runtimeClassName") {
        for text in names::is_dns1123_subdomain(spec.text("runtimeClassName")) {
            spec.invalid(errors, "runtimeClassName", text);
        }
    }
    let policies = ["PreemptLowerPriority", "Never"];
    spec.one_of(errors, "preemptionPolicy", &policies);
    overhead(errors, spec, "overhead", &spec.at("overhead"));
    security::operating_system(errors, spec);
}

/// What a pod needs beside its containers; checked as if it were limits.
pub(crate) fn overhead(errors: &mut FieldErrors, holder: &View<'_>, field: &str, path: &Path) {
    let Some(amounts) = holder.value(field) else {
        return;
    };
    let mut limits = Tree::new();
    limits.insert("limits".to_owned(), amounts.clone());
    let view = View::new(&limits, path.clone());
    let none = BTreeSet::new();
    amounts::requirements(errors, &view, amounts::Names::Container, &none);
}

fn resource_claims<'a>(errors: &mut FieldErrors, spec: &View<'a>) -> BTreeSet<&'a str> {
    const TYPE: &str = "io.k8s.api.core.v1.PodResourceClaim";
    let mut seen = BTreeSet::new();
    for claim in spec.maps("resourceClaims") {
        let name = claim.text("name");
        if name.is_empty() {
            errors.push(FieldError::required(&claim.at("name"), ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&claim.at("name"), name));
        } else {
            claim.name(errors, "name", names::is_dns1123_label);
        }
        let shown = || crate::go_form::shown(TYPE, claim.tree);
        match (
            claim.has("resourceClaimName"),
            claim.has("resourceClaimTemplateName"),
        ) {
            (true, true) => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(FieldError::invalid_shown(&claim.path, shown(), why));
            }
            (false, false) => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(FieldError::invalid_shown(&claim.path, shown(), why));
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.has(field) {
                for text in names::is_dns1123_subdomain(claim.text(field)) {
                    claim.invalid(errors, field, text);
                }
            }
        }
    }
    seen
}

/// KEP-2837: what the pod as a whole may use covers what its containers ask for.
fn pod_resources(
    errors: &mut FieldErrors,
    spec: &View<'_>,
    resources: &View<'_>,
    claims: &BTreeSet<&str>,
) {
    if resources.has("claims") {
        let why = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&resources.at("claims"), why));
    }
    amounts::requirements(errors, resources, amounts::Names::Pod, claims);
    let own = resources.inner("requests");
    for (name, sum) in crate::core::pod_defaults::aggregate(spec.tree, "requests") {
        let has = own.quantity(&name).unwrap_or_default();
        let is_pod_level = matches!(&*name, "cpu" | "memory") || amounts::is_huge_page(&name);
        if is_pod_level && sum > has {
            let why =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            let path = resources.at("requests").key(&name);
            errors.push(FieldError::invalid(&path, has.to_string(), why));
        }
    }
    let limits = resources.inner("limits");
    for (index, container) in spec.maps("containers").enumerate() {
        for (_, name, value) in container.inner("resources").entries("limits") {
            let (Some(limit), Some(most)) = (quantity(value), limits.quantity(name)) else {
                continue;
            };
            if limit > most {
                let path = resources
                    .at("containers")
                    .index(index)
                    .key(name)
                    .child("limits");
                let why = format!("must be less than or equal to pod limits of {most}");
                errors.push(FieldError::invalid(&path, limit.to_string(), why));
            }
        }
    }
}

/// On the host's network a port is the host's as well.
fn host_network(errors: &mut FieldErrors, spec: &View<'_>, owner: &Owner<'_>) {
    if !spec.is_true("hostNetwork") {
        return;
    }
    for container in spec.maps("containers") {
        for port in container.maps("ports") {
            let host = port.number("hostPort").unwrap_or_default();
            let own = port.number("containerPort").unwrap_or_default();
            if (owner.is_pod || host != 0) && host != own {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&port.at("hostPort"), host, why));
            }
        }
    }
}

const NAME_SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;

fn dns(errors: &mut FieldErrors, spec: &View<'_>) {
    let config = spec.inner("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        let (path, why) = if !spec.has("dnsConfig") {
            (
                config.path,
                "must provide `dnsConfig` when `dnsPolicy` is None",
            )
        } else if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            (config.at("nameservers"), why)
        } else {
            return dns_config(errors, &config);
        };
        errors.push(FieldError::required(&path, why));
        return;
    }
    dns_config(errors, &config);
}

fn dns_config(errors: &mut FieldErrors, config: &View<'_>) {
    if config.list("nameservers").len() > NAME_SERVERS_MAX {
        let why = format!("must not have more than {NAME_SERVERS_MAX} nameservers");
        config.invalid(errors, "nameservers", why);
    }
    for (path, server) in config.texts("nameservers") {
        ip::valid_ip(errors, &path, server, &[]);
    }
    let searches: Vec<&str> = config.texts("searches").map(|(_, one)| one).collect();
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        config.invalid(errors, "searches", why);
    }
    if searches.join(" ").len() > SEARCH_CHARACTERS_MAX {
        let why = format!(
            "must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        );
        config.invalid(errors, "searches", why);
    }
    for (path, search) in config.texts("searches").filter(|(_, one)| *one != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        for text in names::is_dns1123_subdomain_with_underscore(search) {
            errors.push(FieldError::invalid(&path, search, text));
        }
    }
    for option in config.maps("options") {
        if option.text("name").is_empty() {
            errors.push(FieldError::required(&option.path, "must not be empty"));
        }
    }
}

/// KEP-4762: a name of the pod's own choice.
fn hostname_override(errors: &mut FieldErrors, spec: &View<'_>) {
    if !spec.has("hostnameOverride") {
        return;
    }
    let path = spec.at("hostnameOverride");
    let name = spec.text("hostnameOverride");
    if name.len() > 64 {
        errors.push(FieldError::too_long(&path, 64));
    }
    for text in names::is_dns1123_subdomain(name) {
        errors.push(FieldError::invalid(&path, name, text));
    }
    if spec.is_true("hostNetwork") {
        let why = "may not be specified when hostNetwork is true";
        errors.push(FieldError::forbidden(&path, why));
    }
    if spec.is_true("setHostnameAsFQDN") {
        let why = "may not be specified when setHostnameAsFQDN is true";
        errors.push(FieldError::forbidden(&path, why));
    }
}

fn host_aliases(errors: &mut FieldErrors, spec: &View<'_>) {
    for alias in spec.maps("hostAliases") {
        ip::valid_ip(errors, &alias.at("ip"), alias.text("ip"), &[]);
        for (path, name) in alias.texts("hostnames") {
            let texts = names::is_dns1123_subdomain(name).into_iter();
            errors.extend(texts.map(|text| FieldError::invalid(&path, name, text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_object::Value;
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
            let mut container = json!({"name": "c", "image": "i",
                "terminationMessagePolicy": "File", "imagePullPolicy": "Always"});
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
                json!({"containers": [with(json!({}))["containers"][0], with(json!({}))["containers"][0]]}),
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
