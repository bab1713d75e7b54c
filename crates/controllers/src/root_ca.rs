//! The `kube-root-ca.crt` ConfigMap of every namespace: by what pods trust the
//! API server.

use crate::controller::Context;
use crate::service_account::namespace_of;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use kontiki_client::Delta;
use kontiki_client::resources::{CONFIG_MAPS, NAMESPACES};
use kontiki_object::{GroupVersionResource, SharedObject, Status};
use serde_json::{Value, json};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub(crate) struct RootCaPublisher;

pub(crate) struct State {
    namespace: String,
    bundle: Option<SharedObject>,
    pem: String,
}

fn of_bundle(context: &Context, resource: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    if delta.object().name() == NAME {
        namespace_of(context, resource, delta)
    } else {
        Vec::new()
    }
}

#[async_trait]
impl Reconciler for RootCaPublisher {
    type State = State;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::own(NAMESPACES), Watch::map(CONFIG_MAPS, of_bundle)]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let namespace = context.caches.get(&NAMESPACES, "", key);
        let lives = namespace.is_some_and(|namespace| !namespace.is_terminating());
        let pem = &context.config.root_ca_pem;
        Ok((lives && !pem.is_empty()).then(|| State {
            namespace: key.to_owned(),
            bundle: context.caches.get(&CONFIG_MAPS, key, NAME),
            pem: pem.clone(),
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let data = json!({"ca.crt": state.pem});
        let description = json!({"kubernetes.io/description": DESCRIPTION});
        match &state.bundle {
            None => Plan::of([Action::create(
                &CONFIG_MAPS,
                &state.namespace,
                json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": NAME, "namespace": state.namespace, "annotations": description},
                    "data": data,
                }),
            )]),
            Some(bundle) if bundle.get(&["data"]) != Some(&data) => {
                let mut body = bundle.to_value();
                body["data"] = data;
                body["metadata"]["annotations"]["kubernetes.io/description"] =
                    Value::from(DESCRIPTION);
                Plan::of([Action::update(&CONFIG_MAPS, body)])
            }
            Some(_) => Plan::nothing(),
        }
    }
}
