//! `apps/v1` `StatefulSet`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::core::pod_defaults;
use crate::core::pod_validate;
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_form;
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, list_at, make, map, map_mut, maps, maps_mut, text, text_at, unset};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sts"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::scale(), Subresource::status("StatefulSet")],
        defaults,
        strategy: Rules {
            validate,
            validate_update,
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

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let policy = text(spec, "podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid(
            &path.child("podManagementPolicy"),
            policy,
            why,
        ));
    }
    if let Some(strategy) = map(spec, "updateStrategy") {
        let at = path.child("updateStrategy");
        let kind = text(strategy, "type");
        if !matches!(kind, "RollingUpdate" | "OnDelete") {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(
                &at,
                Value::Object(strategy.clone()),
                why,
            ));
        }
        if let Some(rolling) = map(strategy, "rollingUpdate")
            && kind == "OnDelete"
        {
            let shown = go_form::shown(
                "io.k8s.api.apps.v1.RollingUpdateStatefulSetStrategy",
                rolling,
            );
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid_shown(
                &at.child("rollingUpdate"),
                shown,
                why,
            ));
        } else if let Some(rolling) = map(strategy, "rollingUpdate") {
            check::not_negative(
                &mut errors,
                rolling,
                &["partition"],
                &at.child("rollingUpdate"),
            );
        }
    }
    if let Some(retention) = map(spec, "persistentVolumeClaimRetentionPolicy") {
        let at = path.child("persistentVolumeClaimRetentionPolicy");
        for field in ["whenDeleted", "whenScaled"] {
            check::one_of(&mut errors, retention, field, &at, &["Retain", "Delete"]);
        }
    }
    check::not_negative(&mut errors, spec, &["replicas", "minReadySeconds"], &path);
    if let Some(ordinals) = map(spec, "ordinals") {
        check::not_negative(&mut errors, ordinals, &["start"], &path.child("ordinals"));
    }
    let service = text(spec, "serviceName");
    if !service.is_empty() {
        let complaints = names::is_dns1123_label(service);
        check::texts(&mut errors, &path.child("serviceName"), service, complaints);
    }
    check::workload_selector(&mut errors, spec, "statefulset", &path);
    pod_validate::lasting_template(&mut errors, &with_claims(spec), "StatefulSet", &path);
    errors
}

/// The spec with the claims' volumes in its template, because mounts may name them.
fn with_claims(spec: &Tree) -> Tree {
    let mut spec = spec.clone();
    let names: Vec<String> = maps(&spec, "volumeClaimTemplates")
        .map(|claim| text_at(claim, &["metadata", "name"]).to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let template = make(make(&mut spec, "template"), "spec");
    let volumes = template
        .entry("volumes")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.retain(|volume| {
            let name = volume.get("name").and_then(Value::as_str);
            name.is_none_or(|name| !names.iter().any(|claim| claim == name))
        });
        let claims = names.iter().map(
            |name| serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}}),
        );
        volumes.extend(claims);
    }
    spec
}

/// What an update may change.
const MUTABLE: [&str; 8] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "status",
];

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let fixed = |object: &Tree| {
        let mut spec = map(object, "spec").cloned().unwrap_or_default();
        spec.retain(|field, _| !MUTABLE.contains(&field.as_str()));
        // What is stored does not say what kind of object a template is.
        for claim in maps_mut(&mut spec, "volumeClaimTemplates") {
            claim.remove("apiVersion");
            claim.remove("kind");
        }
        Value::Object(spec)
    };
    if meta::same(Some(&fixed(new)), Some(&fixed(old))) {
        return FieldErrors::new();
    }
    let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    vec![FieldError::forbidden(&Path::new("spec"), why)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_claims_are_the_same_with_and_without_their_kind() {
        let object = |claim: serde_json::Value| {
            let object = serde_json::json!({"spec": {"volumeClaimTemplates": [claim]}});
            object.as_object().expect("a map").clone()
        };
        let stored = object(serde_json::json!({"metadata": {"name": "v"}}));
        let sent = object(serde_json::json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "v"},
        }));
        assert!(validate_update(&sent, &stored).is_empty());
        let other = object(serde_json::json!({"metadata": {"name": "w"}}));
        assert!(!validate_update(&other, &stored).is_empty());
    }
}
