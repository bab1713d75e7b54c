//! The end of namespaces: their content first, pods before all else, then they.
//!
//! What is left is read live, never from a cache: a namespace that went while
//! something was still in it would leave that behind for ever.

use crate::controller::Context;
use crate::fields::{Condition, list, set_condition, text};
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use futures::StreamExt;
use kontiki_client::ListParams;
use kontiki_client::resources::{NAMESPACES, PODS};
use kontiki_object::{GroupVersionResource, SharedObject, Status, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Lists at the same time.
const LISTS_MAX: usize = 8;
/// How soon to look again while something is left.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) struct NamespaceController;

/// What is left of one resource.
pub(crate) struct Rest {
    resource: GroupVersionResource,
    left: Result<Vec<SharedObject>, Status>,
}

pub(crate) struct State {
    namespace: SharedObject,
    rest: Vec<Rest>,
}

#[async_trait]
impl Reconciler for NamespaceController {
    type State = State;

    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::own(NAMESPACES)]
    }

    fn workers(&self) -> Option<usize> {
        Some(10)
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let namespace = context.caches.get(&NAMESPACES, "", key);
        let Some(namespace) = namespace.filter(|namespace| namespace.is_terminating()) else {
            return Ok(None);
        };
        let held = list(&namespace, &["spec", "finalizers"]).iter();
        if !held.into_iter().any(|finalizer| finalizer == "kubernetes") {
            return Ok(None);
        }
        let served = context.config.resources.borrow().clone();
        let deletable = served
            .iter()
            .filter(|r| r.namespaced && r.deletable && r.watchable);
        let lists = deletable.map(|served| {
            let resource = served.resource.clone();
            let target = context.client.namespaced(&resource, key);
            async move {
                let left = target
                    .list(ListParams::default())
                    .await
                    .map(|(items, _)| items);
                Rest { resource, left }
            }
        });
        let lists: Vec<_> = lists.collect();
        let rest = futures::stream::iter(lists)
            .buffer_unordered(LISTS_MAX)
            .collect()
            .await;
        Ok(Some(State { namespace, rest }))
    }

    fn plan(&self, state: &State, at: &Moment) -> Plan {
        let left: Vec<(&GroupVersionResource, &Vec<SharedObject>)> = state
            .rest
            .iter()
            .filter_map(|rest| Some((&rest.resource, rest.left.as_ref().ok()?)))
            .filter(|(_, left)| !left.is_empty())
            .collect();
        let failed = state.rest.iter().any(|rest| rest.left.is_err());
        if left.is_empty() && !failed {
            return finalize(&state.namespace);
        }
        let mut plan = Plan::nothing();
        plan.actions.extend(status(state, &left, at));
        let pods_left = left.iter().any(|(resource, _)| **resource == PODS);
        let mut resources: Vec<&GroupVersionResource> = left
            .iter()
            .filter(|(resource, _)| !pods_left || **resource == PODS)
            .filter(|(_, objects)| objects.iter().any(|object| !object.is_terminating()))
            .map(|(resource, _)| *resource)
            .collect();
        resources.sort();
        plan.actions.extend(
            resources
                .into_iter()
                .map(|resource| Action::DeleteCollection {
                    resource: resource.clone(),
                    namespace: state.namespace.name().to_owned(),
                }),
        );
        plan.requeue(LOOK_AGAIN);
        plan
    }
}

fn finalize(namespace: &SharedObject) -> Plan {
    let mut body = namespace.to_value();
    if let Some(finalizers) = body["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != "kubernetes");
    }
    Plan::of([Action::Update {
        resource: NAMESPACES,
        subresource: Some("finalize"),
        body,
    }])
}

fn status(
    state: &State,
    left: &[(&GroupVersionResource, &Vec<SharedObject>)],
    at: &Moment,
) -> Option<Action> {
    let namespace = &state.namespace;
    let mut conditions = list(namespace, &["status", "conditions"]).to_vec();
    let errors: Vec<String> = state
        .rest
        .iter()
        .filter_map(|rest| {
            Some(format!(
                "{}: {}",
                rest.resource.group_resource(),
                rest.left.as_ref().err()?
            ))
        })
        .collect();
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for object in left.iter().flat_map(|(_, objects)| objects.iter()) {
        for finalizer in object.finalizers() {
            *holders.entry(finalizer).or_default() += 1;
        }
    }
    let counts: Vec<String> = left
        .iter()
        .map(|(resource, objects)| {
            format!(
                "{}. has {} resource instances",
                resource.group_resource(),
                objects.len()
            )
        })
        .collect();
    let holders: Vec<String> = holders
        .into_iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    let some = |list: &[String]| if list.is_empty() { "False" } else { "True" };
    let verdicts = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            some(&errors),
            if errors.is_empty() {
                "ContentDeleted"
            } else {
                "ContentDeletionFailed"
            },
            if errors.is_empty() {
                "All content successfully deleted, may be waiting on finalization".to_owned()
            } else {
                errors.join("; ")
            },
        ),
        (
            "NamespaceContentRemaining",
            some(&counts),
            if counts.is_empty() {
                "ContentRemoved"
            } else {
                "SomeResourcesRemain"
            },
            if counts.is_empty() {
                "All content successfully removed".to_owned()
            } else {
                format!("Some resources are remaining: {}", counts.join(", "))
            },
        ),
        (
            "NamespaceFinalizersRemaining",
            some(&holders),
            if holders.is_empty() {
                "ContentHasNoFinalizers"
            } else {
                "SomeFinalizersRemain"
            },
            if holders.is_empty() {
                "All content-preserving finalizers finished".to_owned()
            } else {
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    holders.join(", ")
                )
            },
        ),
    ];
    for (kind, verdict, reason, message) in verdicts {
        let same = |known: &Value| {
            text(known, "type") == kind
                && text(known, "status") == verdict
                && text(known, "message") == message
        };
        if !conditions.iter().any(same) {
            let condition = Condition {
                kind,
                status: verdict,
                reason,
                message,
            };
            set_condition(&mut conditions, &condition, &[], at.now);
        }
    }
    let mut status = namespace
        .get(&["status"])
        .cloned()
        .unwrap_or_else(|| json!({}));
    status["conditions"] = Value::Array(conditions);
    Action::status(&NAMESPACES, namespace, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use kontiki_client::DeleteOptions;
    use kontiki_client::resources::CONFIG_MAPS;

    #[tokio::test(start_paused = true)]
    async fn a_namespace_goes_after_its_content_and_pods_go_first() {
        let scenario = Scenario::start(&["namespace-controller"]).await;
        let tree = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
        scenario.create(&NAMESPACES, tree).await;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}});
        scenario.create(&CONFIG_MAPS, map).await;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {}});
        scenario.create(&PODS, pod).await;
        scenario.run_pods("Running");
        scenario
            .until(|api| api.objects(&PODS)[0].get(&["status", "phase"]).is_some())
            .await;
        scenario
            .delete(&NAMESPACES, "n", DeleteOptions::default())
            .await;
        scenario
            .until(|api| {
                let pods = api.objects(&PODS).len();
                assert!(
                    pods == 0 || !api.objects(&CONFIG_MAPS).is_empty(),
                    "pods go first"
                );
                api.objects(&NAMESPACES).is_empty()
            })
            .await;
        assert!(scenario.api.objects(&CONFIG_MAPS).is_empty());
    }
}
