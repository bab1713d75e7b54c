//! ResourceQuotas: what a namespace uses of what it may.
//!
//! Admission counts up as objects are created; this counts anew when they go or
//! change, so that nothing stays reserved for what no longer exists.

use crate::controller::Context;
use crate::fields::{list, text};
use crate::{Action, Keys, Moment, Plan, Reconciler, Target, Watch, pods};
use async_trait::async_trait;
use kontiki_client::Delta;
use kontiki_client::resources::{PODS, RESOURCE_QUOTAS};
use kontiki_object::{GroupVersionResource, Object, Quantity, SharedObject, Status, Value};
use serde_json::json;
use std::collections::BTreeMap;

pub(crate) struct ResourceQuotaController;

pub(crate) struct State {
    quota: SharedObject,
    pods: Vec<SharedObject>,
    /// `resource.group` → objects in the namespace.
    counts: BTreeMap<String, usize>,
    services: Vec<SharedObject>,
    claims: Vec<SharedObject>,
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
        let mut counts = BTreeMap::new();
        for served in served
            .iter()
            .filter(|r| r.namespaced && r.watchable && r.deletable)
        {
            let objects = context
                .caches
                .of(&served.resource)
                .list_namespace(namespace)
                .len();
            counts.insert(served.resource.group_resource(), objects);
        }
        let of = |resource| context.caches.of(&resource).list_namespace(namespace);
        let mut pods = of(PODS);
        pods.retain(|pod| !pods::is_terminal(pod) && in_scopes(&quota, pod));
        Ok(Some(State {
            pods,
            counts,
            services: of(kontiki_client::resources::SERVICES),
            claims: of(kontiki_client::resources::PERSISTENT_VOLUME_CLAIMS),
            quota,
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let hard = state
            .quota
            .get(&["spec", "hard"])
            .cloned()
            .unwrap_or_else(|| json!({}));
        let mut used = json!({});
        for name in hard.as_object().into_iter().flatten().map(|(name, _)| name) {
            if let Some(amount) = usage(state, name) {
                used[name] = json!(amount);
            }
        }
        let status = json!({"hard": hard, "used": used});
        Plan::of(Action::status(&RESOURCE_QUOTAS, &state.quota, status))
    }
}

fn in_scopes(quota: &Object, pod: &Object) -> bool {
    let best_effort = pod.str_at(&["status", "qosClass"]) == Some("BestEffort");
    let terminating = pod.get(&["spec", "activeDeadlineSeconds"]).is_some();
    let scopes = list(quota, &["spec", "scopes"])
        .iter()
        .filter_map(Value::as_str);
    let mut scopes = scopes;
    scopes.all(|scope| match scope {
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        _ => true,
    })
}

/// What is used of one constraint; `None` for one that is not known here.
fn usage(state: &State, name: &str) -> Option<String> {
    let ports = |kind: &'static str| {
        let of_kind = move |s: &&SharedObject| s.str_at(&["spec", "type"]) == Some(kind);
        state.services.iter().filter(of_kind)
    };
    let count = match name {
        "pods" => state.pods.len(),
        "services.loadbalancers" => ports("LoadBalancer").count(),
        "services.nodeports" => ports("NodePort")
            .chain(ports("LoadBalancer"))
            .map(|service| list(service, &["spec", "ports"]).len())
            .sum(),
        "requests.storage" => {
            return Some(sum(state.claims.iter().filter_map(|claim| {
                quantity(claim.get(&["spec", "resources", "requests", "storage"])?)
            })));
        }
        _ => {
            let resource = name.strip_prefix("count/").unwrap_or(name);
            match state.counts.get(resource) {
                Some(count) => *count,
                None => return compute(state, name),
            }
        }
    };
    Some(count.to_string())
}

/// `cpu`, `requests.memory`, `limits.cpu` …: the sum over the pods.
fn compute(state: &State, name: &str) -> Option<String> {
    let (side, resource) = match name.split_once('.') {
        Some((side @ ("requests" | "limits"), resource)) => (side, resource),
        _ if matches!(name, "cpu" | "memory" | "ephemeral-storage") => ("requests", name),
        _ => return None,
    };
    Some(sum(state
        .pods
        .iter()
        .map(|pod| of_pod(pod, side, resource))))
}

/// The containers together, or the largest of those that run before them.
fn of_pod(pod: &Object, side: &str, resource: &str) -> Quantity {
    let of = |container: &Value| quantity(&container["resources"][side][resource]);
    let mut together = Quantity::from_units(0);
    for container in list(pod, &["spec", "containers"]) {
        together += of(container).unwrap_or(Quantity::from_units(0));
    }
    let mut largest = Quantity::from_units(0);
    for container in list(pod, &["spec", "initContainers"]) {
        let amount = of(container).unwrap_or(Quantity::from_units(0));
        if text(container, "restartPolicy") == "Always" {
            together += amount;
        } else if amount > largest {
            largest = amount;
        }
    }
    if largest > together {
        largest
    } else {
        together
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn sum(amounts: impl Iterator<Item = Quantity>) -> String {
    let mut total: Option<Quantity> = None;
    for amount in amounts.filter(|amount| !amount.is_zero()) {
        match &mut total {
            Some(total) => *total += amount,
            None => total = Some(amount),
        }
    }
    total.map_or_else(|| "0".to_owned(), |total| total.to_string())
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
        let state = State {
            quota: object(quota),
            pods: vec![pod("400m", "50m"), pod("200m", "2")],
            counts: BTreeMap::from([("deployments.apps".to_owned(), 2)]),
            services: Vec::new(),
            claims: Vec::new(),
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
