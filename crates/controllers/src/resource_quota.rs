//! ResourceQuotas: what a namespace uses of what it may.
//!
//! Admission counts up as objects are created; this counts anew when they go or
//! change, so that nothing stays reserved for what no longer exists.

use crate::controller::Context;
use crate::{Action, Keys, Moment, Plan, Reconciler, Target, Watch, pods};
use async_trait::async_trait;
use kontiki_client::Delta;
use kontiki_client::resources::RESOURCE_QUOTAS;
use kontiki_kinds::quota::{Amounts, Evaluator, scopes_match};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status, Value};
use serde_json::json;

pub(crate) struct ResourceQuotaController;

pub(crate) struct State {
    quota: SharedObject,
    /// What the namespace has of every resource that the quota limits.
    content: Vec<(Evaluator, Vec<SharedObject>)>,
}

/// The quotas of a namespace in which something came, went, or is a pod that
/// began to count otherwise.
fn of_content(context: &Context, resource: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let updated = delta.old.is_some() && delta.new.is_some();
    let counts = |pod: &SharedObject| !pods::is_terminal(pod);
    let relevant = match resource.resource.as_ref() {
        "pods" if updated => delta.old.as_ref().map(counts) != delta.new.as_ref().map(counts),
        "services" | "persistentvolumeclaims" => true,
        _ => !updated,
    };
    let namespace = delta.object().namespace();
    if !relevant || namespace.is_empty() {
        return Vec::new();
    }
    let quotas = context
        .caches
        .of(&RESOURCE_QUOTAS)
        .list_namespace(namespace);
    quotas.iter().map(|quota| quota.key()).collect()
}

#[async_trait]
impl Reconciler for ResourceQuotaController {
    type State = State;

    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(RESOURCE_QUOTAS),
            Watch {
                target: Target::All,
                keys: Keys::Map(of_content),
            },
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(quota) = context.caches.of(&RESOURCE_QUOTAS).get(key) else {
            return Ok(None);
        };
        let namespace = quota.namespace();
        let served = context.config.resources.borrow().clone();
        let mut content = Vec::new();
        for served in served
            .iter()
            .filter(|r| r.namespaced && r.watchable && r.deletable)
        {
            let evaluator = Evaluator::of(&served.resource.group_resource());
            if limits(&quota).any(|name| evaluator.matches(name)) {
                let cache = context.caches.of(&served.resource);
                content.push((evaluator, cache.list_namespace(namespace)));
            }
        }
        Ok(Some(State { quota, content }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let quota = &state.quota;
        let hard = quota.get(&["spec", "hard"]).cloned();
        let mut used = json!({});
        for (name, amount) in usage(state) {
            used[name] = amount.to_string().into();
        }
        let status = json!({"hard": hard.unwrap_or_else(|| json!({})), "used": used});
        Plan::of(Action::status(&RESOURCE_QUOTAS, quota, status))
    }
}

/// The names of what a quota limits.
fn limits(quota: &Object) -> impl Iterator<Item = &str> {
    let hard = quota.get(&["spec", "hard"]).and_then(Value::as_object);
    hard.into_iter().flatten().map(|(name, _)| name.as_str())
}

/// What is used of everything that the quota limits and somebody knows how to
/// count.
fn usage(state: &State) -> Amounts {
    let mut used = Amounts::new();
    for (evaluator, objects) in &state.content {
        for name in limits(&state.quota).filter(|name| evaluator.matches(name)) {
            used.entry(name.to_owned()).or_default();
        }
        let quota = state.quota.tree();
        let counted = objects
            .iter()
            .map(|object| object.tree())
            .filter(|object| scopes_match(evaluator, quota, object));
        for (name, amount) in counted.flat_map(|object| evaluator.usage(object)) {
            if let Some(sum) = used.get_mut(&name) {
                // The first amount brings its notation along.
                *sum = if sum.is_zero() { amount } else { *sum + amount };
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::moment;
    use std::sync::Arc;

    #[test]
    fn usage_is_summed_over_pods_and_counted_over_objects() {
        let object = |tree: Value| Arc::new(Object::from_value(tree).expect("a map"));
        let pod = |cpu: &str, init: &str| {
            object(json!({"spec": {
                "containers": [{"resources": {"requests": {"cpu": cpu}}}, {"resources": {"requests": {"cpu": "100m"}}}],
                "initContainers": [{"resources": {"requests": {"cpu": init}}}],
            }}))
        };
        let quota = json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": {
            "requests.cpu": "4", "cpu": "4", "pods": "9", "count/deployments.apps": "3", "limits.memory": "1Gi"}}});
        let ended = object(json!({"status": {"phase": "Failed"}, "spec": {
            "containers": [{"resources": {"requests": {"cpu": "9"}}}]}}));
        let deployment = || object(json!({}));
        let state = State {
            quota: object(quota),
            content: vec![
                (
                    Evaluator::of("pods"),
                    vec![pod("400m", "50m"), pod("200m", "2"), ended],
                ),
                (
                    Evaluator::of("deployments.apps"),
                    vec![deployment(), deployment()],
                ),
            ],
        };
        let plan = ResourceQuotaController.plan(&state, &moment());
        let Some(Action::Update { body, .. }) = plan.actions.first() else {
            panic!("a status");
        };
        assert_eq!(
            body["status"]["used"],
            json!({"requests.cpu": "2500m", "cpu": "2500m", "pods": "2", "count/deployments.apps": "2", "limits.memory": "0"})
        );
    }
}
