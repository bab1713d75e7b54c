use super::*;
use crate::scenario::Scenario;

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": crate::scenario::START}]},
    })
}

fn lease(name: &str, renewed: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": name, "renewTime": time::format_micro(renewed)},
    })
}

fn effects(scenario: &Scenario, name: &str) -> Vec<String> {
    let node = scenario.get(&NODES, name);
    let taints = list(&node, &["spec", "taints"]).iter();
    taints
        .map(|t| format!("{} {}", text(t, "key"), text(t, "effect")))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_tainted_its_pods_go_and_it_recovers() {
    let names = ["node-lifecycle-controller", "taint-eviction-controller"];
    let scenario = Scenario::start(&names).await;
    for name in ["a", "b"] {
        scenario.create(&NODES, node(name)).await;
        scenario.create(&LEASES, lease(name, scenario.now())).await;
    }
    let toleration = json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"nodeName": "b", "tolerations": toleration},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    scenario.create(&PODS, pod).await;
    let start = scenario.now();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        scenario.update(&LEASES, lease("a", scenario.now())).await;
        let unreachable = !effects(&scenario, "b").is_empty();
        let age = scenario.now().duration_since(start).as_secs();
        assert_eq!(unreachable, age >= 60, "after {age} s");
        let evicted = scenario.get(&PODS, "n/p").is_terminating();
        assert_eq!(evicted, age >= 360, "after {age} s");
        let ready = pods::is_ready(&scenario.get(&PODS, "n/p"));
        assert_eq!(ready, age < 60, "after {age} s");
    }
    assert!(effects(&scenario, "a").is_empty());
    assert_eq!(
        effects(&scenario, "b"),
        [
            format!("{UNREACHABLE} NoSchedule"),
            format!("{UNREACHABLE} NoExecute")
        ]
    );
    scenario.update(&LEASES, lease("b", scenario.now())).await;
    scenario
        .set_status(&NODES, "b", node("b")["status"].clone())
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(effects(&scenario, "b").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_wrong_lives_as_long_as_its_lease_changes() {
    let scenario = Scenario::start(&["node-lifecycle-controller"]).await;
    for (name, ahead) in [("past", -7200), ("future", 7200)] {
        scenario.create(&NODES, node(name)).await;
        let renewed = scenario.now() + SignedDuration::from_secs(ahead);
        scenario.create(&LEASES, lease(name, renewed)).await;
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        for (name, ahead) in [("past", -7200), ("future", 7200)] {
            let renewed = scenario.now() + SignedDuration::from_secs(ahead);
            scenario.update(&LEASES, lease(name, renewed)).await;
            assert!(effects(&scenario, name).is_empty(), "{name}");
        }
    }
    // What is old stays old, whatever it says.
    tokio::time::sleep(Duration::from_secs(70)).await;
    for name in ["past", "future"] {
        assert!(!effects(&scenario, name).is_empty(), "{name}");
    }
}

#[test]
fn the_pace_of_evictions_depends_on_the_zone() {
    let state = |ready: usize, silent: usize| {
        let watched = |i: usize, silent| {
            let mut tree = node(&i.to_string());
            tree["metadata"]["uid"] = json!(i.to_string());
            let node = kontiki_object::Object::from_value(tree).expect("a map");
            Watched {
                node: node.into(),
                silent,
                never_reported: false,
                pods: Vec::new(),
            }
        };
        let long = Duration::from_secs(999);
        State {
            nodes: (0..ready)
                .map(|i| watched(i, Duration::ZERO))
                .chain((0..silent).map(|i| watched(1000 + i, long)))
                .collect(),
            grace: Duration::from_secs(50),
            rate: 0.1,
            secondary_rate: 0.01,
        }
    };
    // ready, silent → pause between taints
    for (ready, silent, pause) in [
        (1, 1, Some(10.0)),
        (0, 3, None),
        (4, 6, None),
        (20, 40, Some(100.0)),
        (50, 10, Some(10.0)),
    ] {
        let budget = Budget::of(&state(ready, silent));
        let zone = budget.zones.values().next().expect("one zone");
        assert_eq!(zone.0, pause, "{ready} ready, {silent} silent");
    }
}
