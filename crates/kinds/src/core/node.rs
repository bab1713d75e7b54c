//! `core/v1` `Node`.

use crate::Tree;
use crate::amounts;
use crate::cells;
use crate::core::pod_validate::scheduling;
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_form;
use crate::ip;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{list, map_mut, text, text_at};
use crate::view::{TextRule, View, named};
use crate::{Kind, Subresource};
use std::collections::BTreeSet;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["no"]),
        subresources: vec![
            Subresource::new(
                "proxy",
                "",
                "NodeProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::status("Node"),
        ],
        defaults,
        selectable_fields: vec![SelectableField::new("spec.unschedulable", |node| {
            let value = crate::tree::at(node, &["spec", "unschedulable"]);
            value
                .and_then(|v| v.as_bool())
                .unwrap_or_default()
                .to_string()
        })],
        strategy: Rules {
            keeps_status: true,
            validate,
            validate_create,
            validate_update,
            validate_status: validate_update,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("", "v1", "Node", "nodes").stored_at("/registry/minions")
    }
}

/// What `spec.podCIDR` says, `spec.podCIDRs` says as well.
fn defaults(object: &mut Tree) {
    if let Some(spec) = map_mut(object, "spec") {
        let first = text(spec, "podCIDR").to_owned();
        if !first.is_empty() && list(spec, "podCIDRs").is_empty() {
            spec.insert("podCIDRs".into(), vec![first].into());
        }
    }
    let Some(status) = map_mut(object, "status") else {
        return;
    };
    if let Some(capacity) = status.get("capacity").cloned() {
        status.entry("allocatable").or_insert(capacity);
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Status", "string", "The status of the node", |o, _| cells::node_status(o)),
        Column::new("Roles", "string", "The roles of the node", |o, _| cells::node_roles(o)),
        Column::age(),
        Column::new("Version", "string", "Kubelet Version reported by the node.", |o, _| text_at(o, &["status", "nodeInfo", "kubeletVersion"]).into()),
        Column::new("Internal-IP", "string", "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).", |o, _| cells::node_address(o, "InternalIP")).wide(),
        Column::new("External-IP", "string", "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).", |o, _| cells::node_address(o, "ExternalIP")).wide(),
        Column::new("OS-Image", "string", "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).", |o, _| cells::text_or(o, &["status", "nodeInfo", "osImage"], "<unknown>")).wide(),
        Column::new("Kernel-Version", "string", "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).", |o, _| cells::kernel(o)).wide(),
        Column::new("Container-Runtime", "string", "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).", |o, _| cells::text_or(o, &["status", "nodeInfo", "containerRuntimeVersion"], "<unknown>")).wide(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    // Upstream's path for taints is one of metadata.
    taints(
        &mut errors,
        &View::of(object, "spec"),
        &Path::new("metadata").child("taints"),
    );
    let status = View::of(object, "status");
    for field in ["capacity", "allocatable"] {
        for (_, name, value) in status.entries(field) {
            let path = status.at(field).child(name);
            amounts::amount(&mut errors, name, value, &path);
        }
    }
    errors
}

fn taints(errors: &mut FieldErrors, spec: &View<'_>, path: &Path) {
    let mut seen = BTreeSet::new();
    for (index, taint) in spec.maps("taints").enumerate() {
        let taint = View::new(taint.tree, path.index(index));
        let (key, effect) = (taint.text("key"), taint.text("effect"));
        errors.extend(meta::validate_label_name(key, &taint.at("key")));
        let value = taint.text("value");
        let texts = names::is_label_value(value);
        if !texts.is_empty() {
            let why = texts.join(";");
            errors.push(FieldError::invalid(&taint.at("value"), value, why));
        }
        taint.required_one_of(errors, "effect", &scheduling::EFFECTS);
        if !seen.insert((key, effect)) {
            let shown = go_form::shown("io.k8s.api.core.v1.Taint", taint.tree);
            let why = "taints must be unique by key and effect pair";
            errors.push(FieldError::duplicate_shown(&taint.path, shown).because(why));
        }
    }
}

fn validate_create(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let path = spec.at("podCIDRs");
    let all: Vec<(Path, &str)> = spec.texts("podCIDRs").collect();
    for (path, cidr) in &all {
        ip::valid_cidr(&mut errors, path, cidr, &[]);
    }
    if all.len() > 1 {
        let parsed = all
            .iter()
            .map(|(_, cidr)| ip::sloppy_cidr(cidr).map(|net| net.0));
        let parsed: Vec<_> = parsed.collect();
        if parsed.contains(&None) {
            let why =
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR address";
            errors.push(FieldError::internal(&path, why));
        }
        if !ip::is_dual_stack(&parsed) || all.len() > 2 {
            let why = "may specify no more than one CIDR for each IP family";
            spec.invalid(&mut errors, "podCIDRs", why);
        }
        let mut seen = BTreeSet::new();
        for (path, cidr) in &all {
            if !seen.insert(*cidr) {
                errors.push(FieldError::duplicate(path, *cidr));
            }
        }
    }
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (spec, before) = (View::of(new, "spec"), View::of(old, "spec"));
    let mut seen = BTreeSet::new();
    for address in View::of(new, "status").maps("addresses") {
        if !seen.insert((address.text("type"), address.text("address"))) {
            let shown = go_form::shown("io.k8s.api.core.v1.NodeAddress", address.tree);
            errors.push(FieldError::duplicate_shown(&address.path, shown));
        }
    }
    let (now, was) = (spec.list("podCIDRs"), before.list("podCIDRs"));
    let changes = if was.len() == now.len() {
        was.iter().zip(now).filter(|(was, now)| was != now).count()
    } else {
        usize::from(!was.is_empty())
    };
    let why = "node updates may not change podCIDR except from \"\" to valid";
    let path = spec.at("podCIDRs");
    errors.extend((0..changes).map(|_| FieldError::forbidden(&path, why)));
    let was = before.text("providerID");
    if !was.is_empty() && was != spec.text("providerID") {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&spec.at("providerID"), why));
    }
    if let Some(source) = spec.map("configSource") {
        config_source(&mut errors, &source);
    }
    if spec.text("externalID") != before.text("externalID") {
        let why = "may not be updated";
        errors.push(FieldError::forbidden(&spec.at("externalID"), why));
    }
    errors
}

/// A source of the kubelet's configuration: no longer used, still checked.
fn config_source(errors: &mut FieldErrors, source: &View<'_>) {
    let Some(map) = source.map("configMap") else {
        let shown = go_form::shown("io.k8s.api.core.v1.NodeConfigSource", source.tree);
        let why = "exactly one reference subfield must be non-nil";
        errors.push(FieldError::invalid_shown(&source.path, shown, why));
        return;
    };
    for field in ["uid", "resourceVersion"] {
        if !map.text(field).is_empty() {
            let why = format!("{field} must not be set in spec");
            errors.push(FieldError::forbidden(&map.at(field), why));
        }
    }
    let rules: [(&str, TextRule); 3] = [
        ("namespace", names::is_dns1123_label),
        ("name", names::is_dns1123_subdomain),
        ("kubeletConfigKey", names::is_config_map_key),
    ];
    for (field, rule) in rules {
        if map.text(field).is_empty() {
            let why = format!("{field} must be set");
            errors.push(FieldError::required(&map.at(field), why));
        } else {
            named(errors, &map.at(field), map.text(field), rule);
        }
    }
}
