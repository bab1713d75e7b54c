use super::*;
use crate::cri::{ContainerPhase, ContainerRecord, SandboxRecord};
use serde_json::{Value, json};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

fn pod(spec: Value, status: Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "n", "uid": "u", "generation": 4});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
        .expect("a pod")
}

/// Runs as `name=up`, `name=made` or `name=<exit code>`, oldest first.
fn observed(runs: &str) -> PodObservation {
    let sandbox = SandboxRecord {
        id: "box".into(),
        ready: true,
        ips: vec!["10.1.0.2".into()],
        ..SandboxRecord::default()
    };
    let mut found = PodObservation {
        sandboxes: vec![sandbox],
        containers: Vec::new(),
    };
    for (index, run) in runs.split_whitespace().enumerate() {
        let (name, state) = run.split_once('=').expect("name=state");
        let phase = match state {
            "up" => ContainerPhase::Running,
            "made" => ContainerPhase::Created,
            _ => ContainerPhase::Exited,
        };
        let restart_count = u32::try_from(found.runs(name).count()).expect("few");
        let record = ContainerRecord {
            id: format!("{name}{index}"),
            name: name.into(),
            sandbox_id: "box".into(),
            restart_count,
            phase,
            exit_code: state.parse().unwrap_or_default(),
            started_at: at(100),
            ..ContainerRecord::default()
        };
        found.containers.insert(0, record);
    }
    found
}

struct Case {
    stopping: bool,
    waiting: &'static str,
    unready: bool,
}

const PLAIN: Case = Case {
    stopping: false,
    waiting: "",
    unready: false,
};

fn status(pod: &Pod, runs: &str, case: &Case) -> PodStatus {
    let observed = observed(runs);
    let started: std::collections::BTreeSet<String> = observed
        .containers
        .iter()
        .map(|run| run.id.clone())
        .collect();
    let ready = if case.unready {
        Default::default()
    } else {
        started.clone()
    };
    let probes = ProbeView {
        started,
        ready,
        ..ProbeView::default()
    };
    let waiting = Waiting {
        reason: "CrashLoopBackOff".into(),
        message: "wait".into(),
    };
    let waiting: BTreeMap<String, Waiting> = case
        .waiting
        .split_whitespace()
        .map(|name| (name.to_owned(), waiting.clone()))
        .collect();
    pod_status(&StatusInput {
        pod,
        observed: &observed,
        probes: &probes,
        waiting: &waiting,
        host_ips: &["10.0.0.1".into()],
        is_stopping: case.stopping,
        verdict: None,
        now: at(1000),
    })
}

fn simple(policy: &str) -> Pod {
    pod(
        json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}),
        json!({}),
    )
}

fn conditions_of(status: &PodStatus) -> String {
    let words = status.conditions.iter().flatten().map(|condition| {
        let sign = if condition.status == "True" { '+' } else { '-' };
        let letter = match condition.type_.as_str() {
            "PodReadyToStartContainers" => 'n',
            "Initialized" => 'i',
            "Ready" => 'r',
            "ContainersReady" => 'c',
            _ => 's',
        };
        format!("{sign}{letter}")
    });
    words.collect()
}

#[test]
fn the_phase_follows_the_containers() {
    let stopping = Case {
        stopping: true,
        ..PLAIN
    };
    let waiting = Case {
        waiting: "a",
        ..PLAIN
    };
    for (policy, runs, case, expected) in [
        ("Always", "", &PLAIN, "Pending"),
        ("Always", "a=up", &PLAIN, "Pending"),
        ("Always", "a=up b=made", &PLAIN, "Pending"),
        ("Always", "a=up b=up", &PLAIN, "Running"),
        ("Always", "a=1 b=up", &waiting, "Running"),
        ("Always", "a=0 b=0", &PLAIN, "Running"),
        ("OnFailure", "a=0 b=1", &PLAIN, "Running"),
        ("OnFailure", "a=0 b=0", &PLAIN, "Succeeded"),
        ("Never", "a=0 b=up", &PLAIN, "Running"),
        ("Never", "a=0 b=1", &PLAIN, "Failed"),
        ("Never", "a=0 b=0", &PLAIN, "Succeeded"),
        ("Always", "a=137 b=137", &stopping, "Failed"),
        ("Always", "a=0 b=0", &stopping, "Succeeded"),
        ("Always", "a=up b=0", &stopping, "Running"),
        ("Always", "", &stopping, "Failed"),
    ] {
        let status = status(&simple(policy), runs, case);
        assert_eq!(status.phase.as_deref(), Some(expected), "{policy}: {runs}");
    }
}

#[test]
fn init_containers_hold_a_pod_pending() {
    let pod = |policy: &str| {
        let init = json!([{"name": "i", "image": "x"}, {"name": "s", "image": "x", "restartPolicy": "Always"}]);
        pod(
            json!({"restartPolicy": policy, "initContainers": init, "containers": [{"name": "a", "image": "x"}]}),
            json!({}),
        )
    };
    for (policy, runs, phase, conditions) in [
        ("Always", "", "Pending", "+n-i-r-c+s"),
        ("Always", "i=up", "Pending", "+n-i-r-c+s"),
        ("Always", "i=0 s=up", "Pending", "+n+i-r-c+s"),
        ("Always", "i=0 s=up a=up", "Running", "+n+i+r+c+s"),
        ("Always", "i=1", "Pending", "+n-i-r-c+s"),
        ("Never", "i=1", "Failed", "+n-i-r-c+s"),
        ("Always", "i=0 s=1 a=up", "Running", "+n+i-r-c+s"),
    ] {
        let status = status(&pod(policy), runs, &PLAIN);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy}: {runs}");
        assert_eq!(conditions_of(&status), conditions, "{policy}: {runs}");
    }
    let first = status(&pod("Always"), "i=up", &PLAIN);
    let state = first.container_statuses.expect("one")[0]
        .state
        .clone()
        .expect("a state");
    assert_eq!(
        state.waiting.expect("waiting").reason.as_deref(),
        Some("PodInitializing")
    );
}

#[test]
fn readiness_is_told_with_the_names_of_those_that_lack_it() {
    let unready = status(
        &simple("Always"),
        "a=up b=up",
        &Case {
            unready: true,
            ..PLAIN
        },
    );
    assert_eq!(conditions_of(&unready), "+n+i-r-c+s");
    let ready = unready
        .conditions
        .expect("some")
        .into_iter()
        .find(|c| c.type_ == "Ready")
        .expect("is there");
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(
        ready.message.as_deref(),
        Some("containers with unready status: [a b]")
    );
    assert_eq!(ready.observed_generation, Some(4));
    let over = status(&simple("Never"), "a=0 b=0", &PLAIN);
    assert_eq!(conditions_of(&over), "+n+i-r-c+s");
}

#[test]
fn a_readiness_gate_is_another_condition() {
    let spec = json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "example.com/lb"}]});
    let closed = status(&pod(spec.clone(), json!({})), "a=up", &PLAIN);
    assert_eq!(conditions_of(&closed), "+n+i-r+c+s");
    let open = json!({"conditions": [{"type": "example.com/lb", "status": "True"}]});
    assert_eq!(
        conditions_of(&status(&pod(spec, open), "a=up", &PLAIN)),
        "+n+i+r+c+s"
    );
}

#[test]
fn a_crashing_container_shows_its_wait_and_its_last_end() {
    let status = status(
        &simple("Always"),
        "a=3 b=up",
        &Case {
            waiting: "a",
            ..PLAIN
        },
    );
    let a = &status.container_statuses.expect("two")[0];
    let waiting = a
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref())
        .expect("it waits");
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(terminated(a.last_state.as_ref()), Some(3));
    assert!(!a.ready);
    assert_eq!(a.started, Some(false));
}

#[test]
fn a_restarted_container_remembers_its_last_end() {
    let status = status(&simple("Always"), "a=3 a=up b=up", &PLAIN);
    let a = &status.container_statuses.expect("two")[0];
    assert_eq!(
        (a.restart_count, terminated(a.last_state.as_ref())),
        (1, Some(3))
    );
    assert!(a.ready);
}

#[test]
fn what_must_not_change_is_kept() {
    let former = json!({
        "phase": "Failed", "startTime": "2026-01-01T00:00:00Z", "podIPs": [{"ip": "10.9.9.9"}], "qosClass": "Burstable",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "containerStatuses": [
            {"name": "a", "image": "x", "imageID": "", "ready": false, "restartCount": 2, "state": {"terminated": {"exitCode": 5}}},
        ],
    });
    let pod = pod(json!({"containers": [{"name": "a"}]}), former);
    let observed = PodObservation::default();
    let status = pod_status(&StatusInput {
        pod: &pod,
        observed: &observed,
        probes: &ProbeView::default(),
        waiting: &BTreeMap::new(),
        host_ips: &["10.0.0.1".into()],
        is_stopping: true,
        verdict: None,
        now: at(5_000_000_000),
    });
    let json = serde_json::to_value(&status).expect("encodes");
    assert_eq!(json["phase"], "Failed");
    assert_eq!(json["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(json["podIP"], "10.9.9.9");
    assert_eq!(json["qosClass"], "Burstable");
    assert_eq!(
        json["conditions"][4]["lastTransitionTime"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(
        json["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        5
    );
}
