use super::*;
use crate::scenario::Scenario;
use kontiki_object::Value;

const CONTROLLERS: [&str; 2] = ["deployment-controller", "replicaset-controller"];

fn web(image: &str, replicas: i64, strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "n", "annotations": {"kubernetes.io/change-cause": image}},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
}

fn is_done(status: &Value, replicas: i64) -> bool {
    ["replicas", "updatedReplicas", "availableReplicas"]
        .iter()
        .all(|f| status[f] == replicas)
        && status["conditions"].as_array().is_some_and(|conditions| {
            conditions
                .iter()
                .any(|c| c["reason"] == "NewReplicaSetAvailable")
        })
}

fn images(api: &kontiki_client::testing::MemoryApi) -> Vec<String> {
    let pods = api
        .objects(&PODS)
        .into_iter()
        .filter(|pod| pods::is_active(pod));
    let image = |pod: SharedObject| pod.to_value()["spec"]["containers"][0]["image"].clone();
    pods.map(|pod| image(pod).as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_converges_and_can_be_undone() {
    let scenario = Scenario::start(&CONTROLLERS).await;
    scenario.run_pods("Running");
    scenario.create(&DEPLOYMENTS, web("v1", 4, rolling())).await;
    scenario
        .until_status(&DEPLOYMENTS, "n/web", |status| is_done(status, 4))
        .await;
    for (image, revision) in [("v2", "2"), ("v3", "3"), ("v1", "4")] {
        let mut tree = scenario.get(&DEPLOYMENTS, "n/web").to_value();
        tree["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        scenario.update(&DEPLOYMENTS, tree).await;
        scenario
            .until(|api| {
                let now = api.object(&DEPLOYMENTS, "n/web").expect("it exists");
                let status = now.get(&["status"]).cloned().unwrap_or_default();
                let images = images(api);
                is_done(&status, 4)
                    && images.len() == 4
                    && images.iter().all(|i| i == image)
                    && status["observedGeneration"] == now.generation()
            })
            .await;
        let now = scenario.get(&DEPLOYMENTS, "n/web");
        assert_eq!(
            now.annotation("deployment.kubernetes.io/revision"),
            Some(revision)
        );
    }
    let sets = scenario.api.objects(&REPLICA_SETS);
    assert_eq!(sets.len(), 3);
    let back = sets
        .iter()
        .find(|set| set.get(&["spec", "replicas"]) == Some(&json!(4)));
    let back = back.expect("the set of v1 is in use again");
    assert_eq!(
        back.annotation("deployment.kubernetes.io/revision-history"),
        Some("1")
    );
    scenario.settle().await;
    let writes = scenario.api.writes().len();
    tokio::time::sleep(std::time::Duration::from_secs(900)).await;
    assert_eq!(
        scenario.api.writes().len(),
        writes,
        "an idle deployment causes no write"
    );
}

#[tokio::test(start_paused = true)]
async fn recreate_never_mixes_templates() {
    let scenario = Scenario::start(&CONTROLLERS).await;
    scenario.run_pods("Running");
    scenario
        .create(&DEPLOYMENTS, web("v1", 3, json!({"type": "Recreate"})))
        .await;
    scenario
        .until_status(&DEPLOYMENTS, "n/web", |status| is_done(status, 3))
        .await;
    let mut tree = scenario.get(&DEPLOYMENTS, "n/web").to_value();
    tree["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    scenario.update(&DEPLOYMENTS, tree).await;
    scenario
        .until(|api| {
            let mut all: Vec<String> = api
                .objects(&PODS)
                .iter()
                .map(|pod| pod.to_value()["spec"]["containers"][0]["image"].to_string())
                .collect();
            all.sort();
            all.dedup();
            assert!(all.len() <= 1, "templates mixed: {all:?}");
            let images = images(api);
            images.len() == 3 && images.iter().all(|image| image == "v2")
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_come_along_misses_its_deadline() {
    let scenario = Scenario::start(&CONTROLLERS).await;
    scenario
        .create(&DEPLOYMENTS, web("broken", 2, rolling()))
        .await;
    scenario
        .until_status(&DEPLOYMENTS, "n/web", |status| {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            conditions
                .into_iter()
                .any(|c| c["reason"] == "ProgressDeadlineExceeded")
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_scales_but_does_not_roll() {
    let scenario = Scenario::start(&CONTROLLERS).await;
    scenario.run_pods("Running");
    scenario.create(&DEPLOYMENTS, web("v1", 2, rolling())).await;
    scenario
        .until_status(&DEPLOYMENTS, "n/web", |status| is_done(status, 2))
        .await;
    let mut tree = scenario.get(&DEPLOYMENTS, "n/web").to_value();
    tree["spec"]["paused"] = json!(true);
    tree["spec"]["replicas"] = json!(5);
    tree["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    scenario.update(&DEPLOYMENTS, tree).await;
    scenario.until(|api| images(api).len() == 5).await;
    scenario.settle().await;
    assert!(images(&scenario.api).iter().all(|image| image == "v1"));
}
