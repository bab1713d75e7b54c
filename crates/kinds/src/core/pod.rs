//! `core/v1` `Pod`.

use crate::Tree;
use crate::core::{pod_cells, pod_defaults, pod_validate, pod_warnings, qos};
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::strategy::{DeleteOptions, Grace, keep_all_but, keep_metadata};
use crate::tree::{at, list_at, make, maps, maps_mut, text, text_at, unset};
use crate::{Kind, Subresource};
use kontiki_object::Value;
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["po"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::new("attach", "", "PodAttachOptions", &["create", "get"]),
            Subresource::new("binding", "", "Binding", &["create"]),
            Subresource::of_object("ephemeralcontainers", "Pod"),
            Subresource::new("eviction", "policy/v1", "Eviction", &["create"]),
            Subresource::new("exec", "", "PodExecOptions", &["create", "get"]),
            Subresource::new("log", "", "Pod", &["get"]),
            Subresource::new(
                "portforward",
                "",
                "PodPortForwardOptions",
                &["create", "get"],
            ),
            Subresource::new(
                "proxy",
                "",
                "PodProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::of_object("resize", "Pod"),
            Subresource::status("Pod"),
        ],
        defaults: pod_defaults::pod,
        columns: pod_cells::columns(),
        selectable_fields: selectable(),
        row_conditions: pod_cells::row_conditions,
        strategy: Rules {
            validate: pod_validate::pod,
            validate_create: pod_validate::create,
            validate_update: pod_validate::update,
            validate_status: pod_validate::status,
            validate_subresource: |subresource, new, old| match subresource {
                "resize" => pod_validate::resize(new, old),
                _ => pod_validate::ephemeral_containers(new, old),
            },
            warnings: pod_warnings::pod,
            revalidates_meta: true,
            generation: &["spec"],
            create,
            update,
            update_status,
            update_subresource,
            grace,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "Pod", "pods")
    }
}

fn selectable() -> Vec<SelectableField> {
    vec![
        SelectableField::new("spec.nodeName", |pod| {
            text_at(pod, &["spec", "nodeName"]).into()
        }),
        SelectableField::new("spec.restartPolicy", |pod| {
            text_at(pod, &["spec", "restartPolicy"]).into()
        }),
        SelectableField::new("spec.schedulerName", |pod| {
            text_at(pod, &["spec", "schedulerName"]).into()
        }),
        SelectableField::new("spec.serviceAccountName", |pod| {
            text_at(pod, &["spec", "serviceAccountName"]).into()
        }),
        SelectableField::new("spec.hostNetwork", |pod| {
            let host = at(pod, &["spec", "hostNetwork"]).and_then(Value::as_bool);
            host.unwrap_or_default().to_string()
        }),
        SelectableField::new("status.phase", |pod| {
            text_at(pod, &["status", "phase"]).into()
        }),
        SelectableField::new("status.podIP", |pod| {
            let ips = list_at(pod, &["status", "podIPs"]);
            let first = ips.first().and_then(|ip| ip.get("ip"));
            first.and_then(Value::as_str).unwrap_or_default().into()
        }),
        SelectableField::new("status.nominatedNodeName", |pod| {
            text_at(pod, &["status", "nominatedNodeName"]).into()
        }),
    ]
}

fn create(_: &Context<'_>, object: &mut Tree) {
    let qos = qos::class(object);
    let gated = !list_at(object, &["spec", "schedulingGates"]).is_empty();
    let mut status = json!({"phase": "Pending", "qosClass": qos});
    if gated {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    object.insert("status".into(), status);
}

fn update(_: &Context<'_>, new: &mut Tree, old: &Tree) {
    // Resources of containers change through the resize subresource only; what
    // else must not change is refused by validation.
    if unset(make(new, "spec"), "serviceAccountName")
        && let Some(name) = at(old, &["spec", "serviceAccountName"]).cloned()
    {
        make(new, "spec").insert("serviceAccountName".into(), name);
    }
}

fn update_status(_: &Context<'_>, new: &mut Tree, old: &Tree) {
    keep_metadata(new, old, "deletionTimestamp");
    // Owners are not a matter of status.
    keep_metadata(new, old, "ownerReferences");
    if let Some(class) = at(old, &["status", "qosClass"]).cloned() {
        make(new, "status").insert("qosClass".into(), class);
    }
}

fn update_subresource(subresource: &str, _: &Context<'_>, new: &mut Tree, old: &Tree) {
    let spec = new.get("spec").cloned();
    keep_all_but(new, old, &["metadata", "apiVersion", "kind"]);
    let Some(Value::Object(wished)) = spec else {
        return;
    };
    let field = match subresource {
        "ephemeralcontainers" => "ephemeralContainers",
        _ => "resources",
    };
    let spec = make(new, "spec");
    if let Some(value) = wished.get(field) {
        spec.insert(field.to_owned(), value.clone());
    }
    if subresource == "resize" {
        for list in ["containers", "initContainers"] {
            take_sizes(spec, &wished, list);
        }
    }
}

/// The resources of containers, by their names; nothing else of them.
fn take_sizes(spec: &mut Tree, wished: &Tree, list: &str) {
    for container in maps_mut(spec, list) {
        let name = text(container, "name").to_owned();
        let Some(wish) = maps(wished, list).find(|wish| text(wish, "name") == name) else {
            continue;
        };
        for field in ["resizePolicy", "resources"] {
            match wish.get(field) {
                Some(value) => container.insert(field.to_owned(), value.clone()),
                None => container.remove(field),
            };
        }
    }
}

/// A pod that runs somewhere is given the time it asks for; others go at once.
fn grace(object: &Tree, options: DeleteOptions) -> Grace {
    let wished = options
        .grace_period_seconds
        .or_else(|| at(object, &["spec", "terminationGracePeriodSeconds"])?.as_i64())
        .unwrap_or(30);
    let unscheduled = text_at(object, &["spec", "nodeName"]).is_empty();
    let ended = matches!(
        text_at(object, &["status", "phase"]),
        "Succeeded" | "Failed"
    );
    if unscheduled || ended {
        Grace::Seconds(0)
    } else if wished < 0 {
        Grace::Seconds(1)
    } else {
        Grace::Seconds(wished)
    }
}
