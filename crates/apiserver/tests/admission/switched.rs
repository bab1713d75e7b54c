//! Plugins that are off by default, and default ones that are switched off.

use crate::world::{World, refusal};
use kontiki_apiserver::admission::{AdmissionConfig, EventLimit, LimitType};
use serde_json::{Value, json};

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent"}],
            "initContainers": [{"name": "d", "image": "i:2"}],
        },
    })
}

#[tokio::test]
async fn images_are_pulled_anew_where_that_is_wanted() {
    let config = AdmissionConfig {
        enable: names(&["AlwaysPullImages"]),
        disable: names(&["ServiceAccount"]),
        ..AdmissionConfig::default()
    };
    let world = World::start_switched(config).await;
    // Without the plugin that is off there is no need of an account either.
    let made = world.admin().make("v1/pods", pod("p")).await;
    for list in ["containers", "initContainers"] {
        let containers = made.get(&["spec", list]).expect("containers");
        assert_eq!(containers[0]["imagePullPolicy"], "Always", "{list}");
    }
    let plain = World::start().await;
    let why = refusal(plain.admin().create("v1/pods", pod("p")).await);
    assert!(why.contains("service account default/default"), "{why}");
}

#[tokio::test]
async fn events_that_come_too_fast_are_refused() {
    let config = AdmissionConfig {
        enable: names(&["EventRateLimit"]),
        event_limits: vec![EventLimit {
            ty: LimitType::Namespace,
            qps: 1,
            burst: 2,
            cache_size: 0,
        }],
        ..AdmissionConfig::default()
    };
    let world = World::start_switched(config).await;
    let admin = world.admin();
    let event = |namespace: &str, name: &str| {
        json!({
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "p"},
            "reason": "Tried", "type": "Normal",
        })
    };
    let mut refused = Vec::new();
    for at in 0..20 {
        let name = format!("e{at}");
        if let Err(status) = admin.create("v1/events", event("default", &name)).await {
            refused.push(status);
        }
    }
    let status = refused.first().expect("twenty at once are too many");
    assert_eq!((status.code, &*status.reason), (429, "TooManyRequests"));
    let wanted = "Too many requests: limit reached on type Namespace for key default";
    assert_eq!(status.message, wanted);
    admin.make("v1/events", event("kube-system", "e")).await;
}
