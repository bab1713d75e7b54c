//! `core/v1` `Node`.

use crate::Tree;
use crate::cells;
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{map_mut, text_at};
use crate::{Kind, Subresource};

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
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("", "v1", "Node", "nodes").stored_at("/registry/minions")
    }
}

fn defaults(object: &mut Tree) {
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
