use super::*;
use crate::scenario::Scenario;

fn job(spec: Value) -> Value {
    let mut tree = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"},
        "spec": {
            "parallelism": 2, "completions": 5, "backoffLimit": 2,
            "selector": {"matchLabels": {"job": "j"}},
            "template": {"metadata": {"labels": {"job": "j"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}},
        },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        tree["spec"][field] = value.clone();
    }
    tree
}

fn has(status: &Value, kind: &str, reason: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| c["type"] == kind && c["status"] == "True" && c["reason"] == reason)
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_to_completion_and_counts_every_pod_once() {
    for mode in ["NonIndexed", "Indexed"] {
        let scenario = Scenario::start(&["job-controller"]).await;
        scenario.run_pods("Succeeded");
        scenario
            .create(&JOBS, job(json!({"completionMode": mode})))
            .await;
        scenario
            .until(|api| {
                let active = api
                    .objects(&PODS)
                    .iter()
                    .filter(|pod| pods::is_active(pod))
                    .count();
                assert!(active <= 2, "no more than the parallelism");
                let job = api.object(&JOBS, "n/j");
                job.is_some_and(|job| finished_condition(&job).is_some())
            })
            .await;
        scenario.settle().await;
        let job = scenario.get(&JOBS, "n/j");
        let status = job.get(&["status"]).expect("set");
        assert!(has(status, "Complete", "CompletionsReached"), "{status}");
        assert_eq!(status["succeeded"], 5);
        assert_eq!(scenario.api.objects(&PODS).len(), 5);
        assert!(
            scenario
                .api
                .objects(&PODS)
                .iter()
                .all(|pod| pod.finalizers().next().is_none())
        );
        if mode == "Indexed" {
            assert_eq!(status["completedIndexes"], "0-4");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_gives_up_after_its_backoff_limit() {
    let scenario = Scenario::start(&["job-controller"]).await;
    scenario.run_pods("Failed");
    scenario
        .create(&JOBS, job(json!({"parallelism": 1, "completions": 1})))
        .await;
    scenario
        .until_status(&JOBS, "n/j", |status| {
            has(status, "Failed", "BackoffLimitExceeded")
        })
        .await;
    let job = scenario.get(&JOBS, "n/j");
    assert_eq!(job.get(&["status", "failed"]), Some(&json!(3)));
    let seconds = scenario
        .now()
        .duration_since(crate::scenario::START.parse().expect("a time"));
    assert!(
        seconds.as_secs() >= 30,
        "the pods were started with back-off: {seconds}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_job_and_suspension_stops_its_pods() {
    let scenario = Scenario::start(&["job-controller"]).await;
    scenario.run_pods("Running");
    scenario
        .create(&JOBS, job(json!({"activeDeadlineSeconds": 60})))
        .await;
    scenario.until(|api| api.objects(&PODS).len() == 2).await;
    let mut tree = scenario.get(&JOBS, "n/j").to_value();
    tree["spec"]["suspend"] = json!(true);
    scenario.update(&JOBS, tree).await;
    scenario
        .until_status(&JOBS, "n/j", |status| {
            has(status, "Suspended", "JobSuspended")
        })
        .await;
    scenario
        .until(|api| !api.objects(&PODS).iter().any(|pod| pods::is_active(pod)))
        .await;
    let mut tree = scenario.get(&JOBS, "n/j").to_value();
    tree["spec"]["suspend"] = json!(false);
    scenario.update(&JOBS, tree).await;
    scenario
        .until_status(&JOBS, "n/j", |status| {
            has(status, "Failed", "DeadlineExceeded")
        })
        .await;
}
