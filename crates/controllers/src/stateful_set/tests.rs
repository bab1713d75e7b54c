use super::*;
use crate::scenario::Scenario;

fn set(replicas: i64, policy: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "n"},
        "spec": {
            "replicas": replicas, "serviceName": "db", "podManagementPolicy": policy,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "selector": {"matchLabels": {"app": "db"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
            "template": {"metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    })
}

fn names(api: &kontiki_client::testing::MemoryApi) -> Vec<String> {
    api.objects(&PODS)
        .iter()
        .map(|pod| pod.name().to_owned())
        .collect()
}

fn is_done(status: &Value, replicas: i64) -> bool {
    [
        "replicas",
        "readyReplicas",
        "updatedReplicas",
        "currentReplicas",
    ]
    .iter()
    .all(|field| status[*field] == replicas)
        && status["currentRevision"] == status["updateRevision"]
}

#[tokio::test(start_paused = true)]
async fn pods_come_in_order_update_in_reverse_and_keep_their_claims() {
    let scenario = Scenario::start(&["statefulset-controller"]).await;
    scenario
        .create(&STATEFUL_SETS, set(3, "OrderedReady"))
        .await;
    scenario.until(|api| names(api) == ["db-0"]).await;
    scenario.settle().await;
    assert_eq!(
        names(&scenario.api),
        ["db-0"],
        "the next waits until it is ready"
    );
    scenario.run_pods("Running");
    scenario
        .until_status(&STATEFUL_SETS, "n/db", |status| is_done(status, 3))
        .await;
    assert_eq!(names(&scenario.api), ["db-0", "db-1", "db-2"]);
    let mut tree = scenario.get(&STATEFUL_SETS, "n/db").to_value();
    tree["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    tree["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(1);
    scenario.update(&STATEFUL_SETS, tree).await;
    let image = |pod: &SharedObject| pod.to_value()["spec"]["containers"][0]["image"].clone();
    scenario
        .until(|api| {
            let images: Vec<Value> = api.objects(&PODS).iter().map(image).collect();
            let ready = api
                .objects(&PODS)
                .iter()
                .filter(|pod| pods::is_ready(pod))
                .count();
            assert!(
                images.first().is_none_or(|first| first == "v1"),
                "below the partition"
            );
            images == ["v1", "v2", "v2"] && ready == 3
        })
        .await;
    let mut tree = scenario.get(&STATEFUL_SETS, "n/db").to_value();
    tree["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0);
    tree["spec"]["replicas"] = json!(2);
    scenario.update(&STATEFUL_SETS, tree).await;
    scenario
        .until(|api| {
            let pods = api.objects(&PODS);
            pods.len() == 2
                && pods
                    .iter()
                    .all(|pod| image(pod) == "v2" && pods::is_ready(pod))
        })
        .await;
    scenario
        .until_status(&STATEFUL_SETS, "n/db", |status| is_done(status, 2))
        .await;
    let claims = scenario.api.objects(&PERSISTENT_VOLUME_CLAIMS);
    let claims: Vec<&str> = claims.iter().map(|claim| claim.name()).collect();
    assert_eq!(claims, ["data-db-0", "data-db-1", "data-db-2"]);
}

#[tokio::test(start_paused = true)]
async fn in_parallel_all_come_at_once() {
    let scenario = Scenario::start(&["statefulset-controller"]).await;
    scenario.create(&STATEFUL_SETS, set(3, "Parallel")).await;
    scenario.until(|api| names(api).len() == 3).await;
}
