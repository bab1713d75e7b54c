//! `apps/v1` `StatefulSet`.

use crate::Tree;
use crate::cells;
use crate::core::pod_defaults;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, list_at, make, map_mut, maps_mut, text, unset};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sts"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("StatefulSet")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            name: names::dns_label,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("apps", "v1", "StatefulSet", "statefulsets")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "podManagementPolicy", "OrderedReady");
    let strategy = make(spec, "updateStrategy");
    if unset(strategy, "type") {
        default(strategy, "type", "RollingUpdate");
        make(strategy, "rollingUpdate");
    }
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = map_mut(strategy, "rollingUpdate")
    {
        default(rolling, "partition", 0);
    }
    let retention = make(spec, "persistentVolumeClaimRetentionPolicy");
    default(retention, "whenDeleted", "Retain");
    default(retention, "whenScaled", "Retain");
    for claim in maps_mut(spec, "volumeClaimTemplates") {
        // Upstream defaults the templates as whole objects, status included.
        default(claim, "apiVersion", "v1");
        default(claim, "kind", "PersistentVolumeClaim");
        default(make(claim, "spec"), "volumeMode", "Filesystem");
        default(make(claim, "status"), "phase", "Pending");
    }
    pod_defaults::template(spec);
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Ready",
            "string",
            "Number of the pod with ready state",
            |o, _| cells::ratio(o, "readyReplicas", "replicas"),
        ),
        Column::age(),
        Column::new(
            "Containers",
            "string",
            "Names of each container in the template.",
            |o, _| {
                cells::joined(
                    list_at(o, &["spec", "template", "spec", "containers"]),
                    "name",
                )
            },
        )
        .wide(),
        Column::new(
            "Images",
            "string",
            "Images referenced by each container in the template.",
            |o, _| {
                cells::joined(
                    list_at(o, &["spec", "template", "spec", "containers"]),
                    "image",
                )
            },
        )
        .wide(),
    ]
}
