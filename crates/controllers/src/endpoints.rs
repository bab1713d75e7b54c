//! Endpoints: the older form of EndpointSlices, one object a Service, with at
//! most 1000 addresses.

use crate::controller::Context;
use crate::fields::list;
use crate::service_endpoints::{
    address, hostname, inherited_labels, ports, publishes_not_ready, selected_pods, selector,
    services_of_pod, target,
};
use crate::{Action, Moment, Plan, Reconciler, Watch, pods};
use async_trait::async_trait;
use kontiki_client::resources::{ENDPOINTS, PODS, SERVICES};
use kontiki_object::{SharedObject, Status, Value};
use serde_json::json;
use std::collections::BTreeMap;

const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

pub(crate) struct EndpointsController;

pub(crate) struct State {
    service: SharedObject,
    pods: Vec<SharedObject>,
    endpoints: Option<SharedObject>,
}

#[async_trait]
impl Reconciler for EndpointsController {
    type State = State;

    fn name(&self) -> &'static str {
        "endpoints-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(SERVICES),
            Watch::map(PODS, services_of_pod),
            // Endpoints have the name of their service.
            Watch::own(ENDPOINTS),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some(service) = context.caches.of(&SERVICES).get(key) else {
            let orphan = context.caches.of(&ENDPOINTS).get(key);
            if let Some(endpoints) = orphan.filter(|e| e.label(MANAGED_BY).is_some()) {
                // Endpoints have no owner reference; their service takes them along.
                let gone = kontiki_object::Object::new(kontiki_object::Map::new());
                return Ok(Some(State {
                    service: std::sync::Arc::new(gone),
                    pods: Vec::new(),
                    endpoints: Some(endpoints),
                }));
            }
            return Ok(None);
        };
        if selector(&service).is_none() {
            return Ok(None);
        }
        Ok(Some(State {
            pods: selected_pods(context, &service),
            endpoints: context.caches.of(&ENDPOINTS).get(key),
            service,
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let service = &state.service;
        if service.name().is_empty() {
            let delete = state
                .endpoints
                .iter()
                .map(|gone| Action::delete(&ENDPOINTS, gone));
            return Plan::of(delete);
        }
        let mut body = match &state.endpoints {
            Some(endpoints) => endpoints.to_value(),
            None => json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": service.name(), "namespace": service.namespace()},
            }),
        };
        let mut labels = inherited_labels(service);
        labels[MANAGED_BY] = json!("endpoint-controller");
        body["metadata"]["labels"] = labels;
        let (subsets, truncated) = subsets(state);
        if subsets.is_empty() {
            if let Some(fields) = body.as_object_mut() {
                fields.remove("subsets");
            }
        } else {
            body["subsets"] = Value::Array(subsets);
        }
        if truncated {
            body["metadata"]["annotations"][OVER_CAPACITY] = json!("truncated");
        } else if let Some(annotations) = body["metadata"]["annotations"].as_object_mut() {
            annotations.remove(OVER_CAPACITY);
        } else if let Some(metadata) = body["metadata"].as_object_mut() {
            metadata.remove("annotations");
        }
        match &state.endpoints {
            None => Plan::of([Action::create(&ENDPOINTS, service.namespace(), body)]),
            Some(known) => Plan::of(Action::change(&ENDPOINTS, known, body)),
        }
    }
}

fn subsets(state: &State) -> (Vec<Value>, bool) {
    let service = &state.service;
    let unready_too = publishes_not_ready(service);
    let families = list(service, &["spec", "ipFamilies"]);
    let family = families.first().and_then(Value::as_str);
    let family = family.unwrap_or("IPv4");
    let mut groups: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    let mut pods: Vec<_> = state
        .pods
        .iter()
        .filter(|pod| unready_too || !pod.is_terminating())
        .filter_map(|pod| Some((address(pod, family)?, pod)))
        .collect();
    pods.sort_by_key(|(address, pod)| (!pods::is_ready(pod), (*address).to_owned()));
    let truncated = pods.len() > ADDRESSES_MAX;
    for (address, pod) in pods.into_iter().take(ADDRESSES_MAX) {
        let ports = Value::Array(ports(service, pod));
        let group = groups.entry(ports.to_string());
        let group = group.or_insert_with(|| (ports, Vec::new(), Vec::new()));
        let mut entry = json!({"ip": address, "targetRef": target(pod)});
        if let Some(node) = pods::node(pod) {
            entry["nodeName"] = json!(node);
        }
        if let Some(hostname) = hostname(service, pod) {
            entry["hostname"] = json!(hostname);
        }
        let ready = unready_too || pods::is_ready(pod);
        if ready {
            group.1.push(entry)
        } else {
            group.2.push(entry)
        }
    }
    let subsets = groups.into_values().map(|(ports, ready, unready)| {
        let mut subset = json!({});
        for (field, list) in [("addresses", ready), ("notReadyAddresses", unready)] {
            if !list.is_empty() {
                subset[field] = Value::Array(list);
            }
        }
        if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
            let mut ports = ports;
            for port in ports.as_array_mut().into_iter().flatten() {
                if text_is_empty(&port["name"]) {
                    port.as_object_mut().map(|port| port.remove("name"));
                }
            }
            subset["ports"] = ports;
        }
        subset
    });
    (subsets.collect(), truncated)
}

fn text_is_empty(value: &Value) -> bool {
    value.as_str().is_none_or(str::is_empty)
}
