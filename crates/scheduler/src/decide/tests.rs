use super::*;
use crate::config::Config;
use crate::snapshot::tests::{asking, labelled_pod, node, pod, replica, snapshot};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::sync::Arc;

/// Nodes, a pod, and what is decided.
type Case<'a> = (&'a [(Value, Value)], Value, Result<&'a [&'a str], &'a str>);

fn plugins() -> Vec<Enabled> {
    Config::default().profiles[0].plugins.clone()
}

fn outcome(snapshot: &Snapshot, pod: &Pod) -> Result<Vec<String>, String> {
    feasible(&plugins(), snapshot, pod)
        .map(|nodes| {
            nodes
                .iter()
                .map(|at| snapshot.names[*at].to_string())
                .collect()
        })
        .map_err(|refusal| refusal.to_string())
}

/// Nodes `n0`, `n1`, … with the given labels and specs.
fn nodes(all: &[(Value, Value)]) -> Snapshot {
    let all: Vec<_> = all
        .iter()
        .map(|(l, s)| node(l.clone(), s.clone()))
        .collect();
    snapshot(&all)
}

#[test]
fn each_plugin_refuses_nodes_with_upstreams_words() {
    let plain = || (json!({"zone": "a"}), json!({}));
    let tainted = || {
        (
            json!({}),
            json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
        )
    };
    let cordoned = || (json!({}), json!({"unschedulable": true}));
    let affinity = |operator: &str, values: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}]}}}})
    };
    let cases: [Case<'_>; 12] = [
        (&[plain()], json!({}), Ok(&["n0"])),
        (&[], json!({}), Err("no nodes available to schedule pods")),
        (&[tainted(), plain()], json!({}), Ok(&["n1"])),
        (
            &[tainted()],
            json!({}),
            Err("0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
        ),
        (
            &[tainted()],
            json!({"tolerations": [{"key": "k", "operator": "Exists"}]}),
            Ok(&["n0"]),
        ),
        (
            &[tainted()],
            json!({"tolerations": [{"key": "k", "value": "w"}]}),
            Err("0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
        ),
        (&[cordoned(), plain()], json!({}), Ok(&["n1"])),
        (
            &[plain(), tainted()],
            json!({"nodeSelector": {"zone": "b"}}),
            Err(
                "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s).",
            ),
        ),
        (&[plain()], affinity("In", json!(["a"])), Ok(&["n0"])),
        (
            &[plain()],
            affinity("NotIn", json!(["a"])),
            Err("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        ),
        (
            &[plain()],
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "5", "memory": "9Gi"}}}]}),
            Err("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
        ),
        (
            &[plain(), plain()],
            json!({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]}),
            Err("0/2 nodes are available: 2 Insufficient example.com/gpu."),
        ),
    ];
    for (all, spec, expected) in cases {
        let found = outcome(&nodes(all), &pod("p", spec.clone()));
        let expected = expected
            .map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(ToString::to_string);
        assert_eq!(found, expected, "{spec}");
    }
}

#[test]
fn a_host_port_is_taken_once_a_node() {
    let mut all = nodes(&[(json!({}), json!({})), (json!({}), json!({}))]);
    let spec = |ip: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": ip}]}]});
    all.add_pod(&pod("a", spec("")).on("n0"));
    assert_eq!(
        outcome(&all, &pod("b", spec("10.0.0.1"))),
        Ok(vec!["n1".to_owned()])
    );
    all.add_pod(&pod("c", spec("10.0.0.2")).on("n1"));
    assert_eq!(
        outcome(&all, &pod("b", spec("10.0.0.1"))),
        Ok(vec!["n1".to_owned()])
    );
    assert!(
        outcome(&all, &pod("b", spec("")))
            .expect_err("taken")
            .contains("free ports")
    );
}

#[test]
fn spread_pods_keep_their_skew_and_hostile_pods_their_distance() {
    let mut all = nodes(&[
        (json!({"zone": "a"}), json!({})),
        (json!({"zone": "b"}), json!({})),
        (json!({}), json!({})),
    ]);
    let app = json!({"app": "x"});
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}}}]});
    all.add_pod(&labelled_pod("a", app.clone(), json!({})).on("n0"));
    let wanted = labelled_pod("p", app.clone(), spread);
    assert_eq!(outcome(&all, &wanted), Ok(vec!["n1".to_owned()]));

    let term = json!([{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let hostile = labelled_pod(
        "q",
        app.clone(),
        json!({"affinity": {"podAntiAffinity": {required: term}}}),
    );
    assert_eq!(
        outcome(&all, &hostile),
        Ok(vec!["n1".to_owned(), "n2".to_owned()])
    );
    let friendly = labelled_pod(
        "r",
        json!({}),
        json!({"affinity": {"podAffinity": {required: term}}}),
    );
    assert_eq!(outcome(&all, &friendly), Ok(vec!["n0".to_owned()]));

    all.add_pod(&hostile.on("n1"));
    let refused = outcome(
        &all,
        &labelled_pod("s", app, json!({"nodeSelector": {"zone": "b"}})),
    );
    assert!(
        refused
            .expect_err("hostile")
            .contains("didn't satisfy existing pods anti-affinity rules")
    );
}

#[test]
fn the_emptiest_node_wins_and_equals_are_drawn() {
    let mut all = nodes(&[
        (json!({}), json!({})),
        (json!({}), json!({})),
        (json!({}), json!({})),
    ]);
    all.add_pod(&asking("a", 2000).on("n1"));
    let mut rng = StdRng::seed_from_u64(7);
    let mut seen = BTreeSet::new();
    for _ in 0..64 {
        seen.insert(decide(&plugins(), &all, &asking("p", 100), &mut rng).expect("fits"));
    }
    assert_eq!(seen, BTreeSet::from([0, 2]));
}

#[test]
fn three_replicas_on_two_nodes_are_never_all_on_one() {
    let plain = || node(json!({}), json!({}));
    let zoned = || node(json!({"topology.kubernetes.io/zone": "a"}), json!({}));
    let mut with_image = plain();
    with_image.status.as_mut().expect("a status").images = serde_json::from_value(
        json!([{"names": ["registry.example/app:1"], "sizeBytes": 300 << 20}]),
    )
    .expect("images");
    let none = json!({"containers": [{"name": "c", "image": "registry.example/app:1"}]});
    let some = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}]});
    let cases = [
        ([plain(), plain()], 0, &none),
        ([plain(), plain()], 0, &some),
        ([zoned(), zoned()], 0, &none),
        // Neither other pods nor an image that is there already outweigh the spread.
        ([plain(), plain()], 2000, &none),
        ([plain(), plain()], 1000, &some),
        ([with_image, plain()], 0, &none),
    ];
    for (at, (nodes, taken, spec)) in cases.iter().enumerate() {
        for kind in ["ReplicaSet", "StatefulSet"] {
            for seed in 0..32 {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut all = snapshot(nodes);
                if *taken > 0 {
                    all.add_pod(&asking("other", *taken).on("n0"));
                }
                let mut used = BTreeSet::new();
                for index in 0..3 {
                    let pod = replica(&format!("p{index}"), kind, (*spec).clone());
                    let chosen = decide(&plugins(), &all, &pod, &mut rng).expect("fits");
                    used.insert(chosen);
                    all.add_pod(&pod.on(&format!("n{chosen}")));
                }
                assert_eq!(used.len(), 2, "case {at}, {kind}, seed {seed}");
            }
        }
    }
}

/// The rule of fit, written down as plainly as can be.
fn fits_plainly(pods: &[(i64, usize)], wanted: i64, at: usize) -> bool {
    let used: i64 = pods
        .iter()
        .filter(|(_, on)| *on == at)
        .map(|(milli, _)| milli)
        .sum();
    let count = pods.iter().filter(|(_, on)| *on == at).count();
    used + wanted <= 4000 && count < 10
}

#[test]
fn fit_agrees_with_the_plain_rule_on_random_clusters() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut all = nodes(&[(json!({}), json!({})), (json!({}), json!({}))]);
        let mut pods = Vec::new();
        for index in 0..rng.random_range(0..30) {
            let (milli, on) = (rng.random_range(0..900), rng.random_range(0..2_usize));
            if !fits_plainly(&pods, milli, on) {
                continue;
            }
            pods.push((milli, on));
            let pod: Arc<Pod> = asking(&format!("p{index}"), milli).on(&format!("n{on}"));
            all.add_pod(&pod);
        }
        let wanted = rng.random_range(1..4000);
        let expected: Vec<String> = (0..2)
            .filter(|at| fits_plainly(&pods, wanted, *at))
            .map(|at| format!("n{at}"))
            .collect();
        let found = outcome(&all, &asking("p", wanted)).unwrap_or_default();
        assert_eq!(found, expected, "seed {seed}");
    }
}
