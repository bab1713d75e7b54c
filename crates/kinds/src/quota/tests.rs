//! What objects use, by hand.

use super::*;
use serde_json::{Value, json};

fn usage(resource: &str, object: Value) -> Vec<(String, String)> {
    let object = object.as_object().expect("a map");
    let usage = Evaluator::of(resource).usage(object);
    usage
        .into_iter()
        .map(|(name, amount)| (name, amount.to_string()))
        .collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, amount): &(&str, &str)| ((*name).to_owned(), (*amount).to_owned());
    all.iter().map(own).collect()
}

#[test]
fn a_pod_uses_what_its_containers_ask_for_until_it_has_ended() {
    let container =
        |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "2"}}});
    let mut pod = json!({"spec": {
        "containers": [container("400m"), container("100m")],
        "initContainers": [container("50m")],
    }});
    let wanted = [
        ("count/pods", "1"),
        ("cpu", "500m"),
        ("limits.cpu", "4"),
        ("pods", "1"),
        ("requests.cpu", "500m"),
    ];
    assert_eq!(usage("pods", pod.clone()), pairs(&wanted));
    pod["spec"]["initContainers"][0] = container("3");
    let of_cpu = usage("pods", pod.clone())
        .into_iter()
        .find(|(name, _)| name == "cpu");
    assert_eq!(of_cpu, Some(("cpu".to_owned(), "3".to_owned())));
    pod["status"] = json!({"phase": "Succeeded"});
    assert_eq!(usage("pods", pod), pairs(&[("count/pods", "1")]));
}

#[test]
fn services_and_claims_use_more_than_their_number() {
    let service = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}});
    let wanted = [
        ("count/services", "1"),
        ("services", "1"),
        ("services.loadbalancers", "1"),
        ("services.nodeports", "2"),
    ];
    assert_eq!(usage("services", service), pairs(&wanted));
    let claim = json!({"spec": {
        "storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}},
    }});
    let wanted = [
        ("count/persistentvolumeclaims", "1"),
        (
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims",
            "1",
        ),
        ("gold.storageclass.storage.k8s.io/requests.storage", "1Gi"),
        ("persistentvolumeclaims", "1"),
        ("requests.storage", "1Gi"),
    ];
    assert_eq!(usage("persistentvolumeclaims", claim), pairs(&wanted));
    let other = usage("deployments.apps", json!({}));
    assert_eq!(other, pairs(&[("count/deployments.apps", "1")]));
}

#[test]
fn a_quota_is_about_what_its_name_says() {
    for (resource, name, matches) in [
        ("pods", "pods", true),
        ("pods", "count/pods", true),
        ("pods", "requests.example.com/gpu", true),
        ("pods", "requests.storage", false),
        ("pods", "services", false),
        ("services", "services.nodeports", true),
        ("configmaps", "configmaps", true),
        ("deployments.apps", "deployments.apps", false),
        ("deployments.apps", "count/deployments.apps", true),
        (
            "persistentvolumeclaims",
            "gold.storageclass.storage.k8s.io/requests.storage",
            true,
        ),
    ] {
        assert_eq!(
            Evaluator::of(resource).matches(name),
            matches,
            "{resource} {name}"
        );
    }
}

#[test]
fn containers_say_what_a_quota_is_about() {
    let pod = json!({"spec": {"containers": [
        {"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"},
    ]}});
    let unmet = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Evaluator::of("pods").unmet_constraints(&names, pod.as_object().expect("a map"))
    };
    assert_eq!(unmet(&["pods"]), None);
    let told = "must specify limits.memory for: a,b; requests.cpu for: b";
    assert_eq!(
        unmet(&["limits.memory", "requests.cpu"]).as_deref(),
        Some(told)
    );
}

#[test]
fn scopes_say_which_pods_count() {
    let pod = |spec: Value| json!({"spec": spec});
    let matches = |quota: Value, pod: Value| {
        scopes_match(
            &Evaluator::of("pods"),
            json!({"spec": quota}).as_object().expect("a map"),
            pod.as_object().expect("a map"),
        )
    };
    let best = pod(json!({"containers": [{"name": "c"}]}));
    let burst =
        pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
    assert!(matches(json!({"scopes": ["BestEffort"]}), best.clone()));
    assert!(!matches(json!({"scopes": ["BestEffort"]}), burst.clone()));
    assert!(matches(
        json!({"scopes": ["NotBestEffort", "NotTerminating"]}),
        burst
    ));
    let class = json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
    ]}});
    assert!(!matches(class.clone(), best));
    assert!(matches(class, pod(json!({"priorityClassName": "high"}))));
}
