//! EndpointSlices: the endpoints of each Service with a selector, in slices of
//! at most 100.
//!
//! A change of one endpoint rewrites one slice: endpoints stay in the slice they
//! are in, new ones fill up what has room, and only then is a slice added.

use crate::controller::Context;
use crate::fields::{list, text};
use crate::owners::controller_reference;
use crate::service_endpoints::{
    address, hostname, inherited_labels, ports, publishes_not_ready, selected_pods, selector,
    services_of_pod, target,
};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use kontiki_client::Delta;
use kontiki_client::resources::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status, Value};
use serde_json::json;
use std::collections::BTreeMap;

const ENDPOINTS_MAX: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) struct EndpointSliceController;

pub(crate) struct State {
    service: SharedObject,
    pods: Vec<SharedObject>,
    slices: Vec<SharedObject>,
    /// Node → zone.
    zones: BTreeMap<String, String>,
}

fn of_slice(_: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let slice = delta.object();
    let ours = slice.label(MANAGED_BY) == Some(MANAGER);
    let service = slice.label(SERVICE_NAME).filter(|_| ours);
    service
        .map(|name| format!("{}/{name}", slice.namespace()))
        .into_iter()
        .collect()
}

#[async_trait]
impl Reconciler for EndpointSliceController {
    type State = State;

    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(SERVICES),
            Watch::map(PODS, services_of_pod),
            Watch::map(ENDPOINT_SLICES, of_slice),
            Watch::read(NODES),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(service) = context.caches.of(&SERVICES).get(key) else {
            // The garbage collector takes the slices along with their owner.
            return Ok(None);
        };
        if selector(&service).is_none() || service.is_terminating() {
            return Ok(None);
        }
        let mut slices = context.caches.owned(&ENDPOINT_SLICES, service.uid());
        slices.retain(|slice| slice.label(MANAGED_BY) == Some(MANAGER) && !slice.is_terminating());
        let pods = selected_pods(context, &service);
        let zone = |pod: &SharedObject| {
            let node = context.caches.get(&NODES, "", pods::node(pod)?)?;
            Some((node.name().to_owned(), node.label(ZONE)?.to_owned()))
        };
        Ok(Some(State {
            zones: pods.iter().filter_map(zone).collect(),
            service,
            pods,
            slices,
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let families = list(&state.service, &["spec", "ipFamilies"]);
        let mut families: Vec<&str> = families.iter().filter_map(Value::as_str).collect();
        if families.is_empty() {
            families.push("IPv4");
        }
        let mut plan = Plan::nothing();
        for slice in &state.slices {
            let family = slice.str_at(&["addressType"]).unwrap_or_default();
            if !families.contains(&family) {
                plan.actions.push(Action::delete(&ENDPOINT_SLICES, slice));
            }
        }
        for family in families {
            plan_family(state, family, &mut plan.actions);
        }
        plan
    }
}

fn endpoint(state: &State, pod: &Object, address: &str) -> Value {
    let ready = pods::is_ready(pod);
    let terminating = pod.is_terminating();
    let shown = publishes_not_ready(&state.service) || (ready && !terminating);
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": shown, "serving": ready, "terminating": terminating},
        "targetRef": target(pod),
    });
    if let Some(node) = pods::node(pod) {
        endpoint["nodeName"] = json!(node);
        if let Some(zone) = state.zones.get(node) {
            endpoint["zone"] = json!(zone);
        }
    }
    if let Some(hostname) = hostname(&state.service, pod) {
        endpoint["hostname"] = json!(hostname);
    }
    endpoint
}

/// Endpoints by the pod they stand for.
type Endpoints = BTreeMap<String, Value>;

fn plan_family(state: &State, family: &str, actions: &mut Vec<Action>) {
    // Pods whose ports differ (named target ports) go to slices of their own.
    let mut groups: BTreeMap<String, (Value, Endpoints)> = BTreeMap::new();
    for pod in &state.pods {
        if let Some(address) = address(pod, family) {
            let ports = Value::Array(ports(&state.service, pod));
            let group = groups
                .entry(ports.to_string())
                .or_insert((ports, Endpoints::new()));
            group
                .1
                .insert(pod.uid().to_owned(), endpoint(state, pod, address));
        }
    }
    if groups.is_empty() {
        // A slice without endpoints says that the service was looked at.
        groups.insert("[]".into(), (json!([]), Endpoints::new()));
    }
    let of_family = |slice: &&SharedObject| slice.str_at(&["addressType"]) == Some(family);
    let mut known: BTreeMap<String, Vec<&SharedObject>> = BTreeMap::new();
    for slice in state.slices.iter().filter(of_family) {
        let ports = Value::Array(list(slice, &["ports"]).to_vec());
        known.entry(ports.to_string()).or_default().push(slice);
    }
    let mut spare: Vec<&SharedObject> = Vec::new();
    for (ports, slices) in &known {
        if !groups.contains_key(ports) {
            spare.extend(slices);
        }
    }
    for (key, (ports, endpoints)) in groups {
        let slices = known.remove(&key).unwrap_or_default();
        plan_group(
            state, family, &ports, endpoints, slices, &mut spare, actions,
        );
    }
    actions.extend(
        spare
            .into_iter()
            .map(|slice| Action::delete(&ENDPOINT_SLICES, slice)),
    );
}

fn plan_group(
    state: &State,
    family: &str,
    ports: &Value,
    mut wanted: Endpoints,
    slices: Vec<&SharedObject>,
    spare: &mut Vec<&SharedObject>,
    actions: &mut Vec<Action>,
) {
    let mut kept: Vec<(&SharedObject, Vec<Value>)> = Vec::new();
    for slice in slices {
        let known = list(slice, &["endpoints"]).iter();
        let uids = known.map(|endpoint| text(&endpoint["targetRef"], "uid").to_owned());
        let endpoints = uids.filter_map(|uid| wanted.remove(&uid)).collect();
        kept.push((slice, endpoints));
    }
    let mut rest = wanted.into_values();
    for (_, endpoints) in &mut kept {
        let room = ENDPOINTS_MAX.saturating_sub(endpoints.len());
        endpoints.extend(rest.by_ref().take(room));
    }
    // Of slices that have become empty one is kept, and only if nothing else is left.
    let mut rest: Vec<Value> = rest.collect();
    let total: usize = kept.iter().map(|(_, endpoints)| endpoints.len()).sum();
    let mut placeholder = total == 0 && rest.is_empty();
    for (slice, endpoints) in kept {
        if endpoints.is_empty() && !std::mem::take(&mut placeholder) {
            actions.push(Action::delete(&ENDPOINT_SLICES, slice));
            continue;
        }
        let body = body(state, Some(slice), family, ports, endpoints);
        actions.extend(Action::change(&ENDPOINT_SLICES, slice, body));
    }
    while !rest.is_empty() || placeholder {
        placeholder = false;
        let chunk = rest.drain(..rest.len().min(ENDPOINTS_MAX)).collect();
        let action = match spare.pop() {
            Some(slice) => {
                let body = body(state, Some(slice), family, ports, chunk);
                Action::update(&ENDPOINT_SLICES, body)
            }
            None => {
                let body = body(state, None, family, ports, chunk);
                Action::create(&ENDPOINT_SLICES, state.service.namespace(), body)
            }
        };
        actions.push(action);
    }
}

fn body(
    state: &State,
    slice: Option<&SharedObject>,
    family: &str,
    ports: &Value,
    endpoints: Vec<Value>,
) -> Value {
    let service = &state.service;
    let mut labels = inherited_labels(service);
    labels[SERVICE_NAME] = json!(service.name());
    labels[MANAGED_BY] = json!(MANAGER);
    let mut body = match slice {
        Some(slice) => slice.to_value(),
        None => json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", service.name()), "namespace": service.namespace(),
                "ownerReferences": [controller_reference(service)],
            },
        }),
    };
    body["metadata"]["labels"] = labels;
    body["addressType"] = json!(family);
    body["ports"] = ports.clone();
    body["endpoints"] = Value::Array(endpoints);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
                "ports": [{"name": "http", "port": 80, "targetPort": "page", "protocol": "TCP"}]},
        })
    }

    fn pod(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "n", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "page", "containerPort": 8080}]}]},
        })
    }

    fn sizes(api: &kontiki_client::testing::MemoryApi) -> Vec<usize> {
        let slices = api.objects(&ENDPOINT_SLICES);
        let mut sizes: Vec<usize> = slices
            .iter()
            .map(|s| list(s, &["endpoints"]).len())
            .collect();
        sizes.sort_unstable();
        sizes
    }

    #[tokio::test(start_paused = true)]
    async fn slices_follow_pods_and_hold_at_most_a_hundred() {
        let names = ["endpointslice-controller", "endpoints-controller"];
        let scenario = Scenario::start(&names).await;
        scenario.create(&SERVICES, service()).await;
        scenario.until(|api| sizes(api) == [0]).await;
        scenario.run_pods("Running");
        for i in 0..150 {
            scenario.create(&PODS, pod(&format!("p{i}"))).await;
        }
        scenario.until(|api| sizes(api) == [50, 100]).await;
        let slice = &scenario.api.objects(&ENDPOINT_SLICES)[0];
        assert_eq!(
            list(slice, &["ports"]),
            [json!({"name": "http", "port": 8080, "protocol": "TCP"})]
        );
        let ready = list(slice, &["endpoints"])
            .iter()
            .all(|e| e["conditions"]["ready"] == true);
        assert!(ready);
        let endpoints = kontiki_client::resources::ENDPOINTS;
        scenario
            .until(|api| {
                let all = api.object(&endpoints, "n/web").map(|e| e.to_value());
                let all = all.and_then(|e| e["subsets"][0]["addresses"].as_array().cloned());
                all.is_some_and(|addresses| addresses.len() == 150)
            })
            .await;
        scenario.settle().await;
        let writes = scenario.api.writes().len();
        scenario.settle().await;
        assert_eq!(
            scenario.api.writes().len(),
            writes,
            "at rest nothing is written"
        );
    }
}
