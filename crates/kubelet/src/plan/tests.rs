//! Situations in short notation: a pod of `init`, `side` and main containers,
//! runs as `name=state`.

use super::*;
use crate::cri::SandboxRecord;
use serde_json::json;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

/// A pod: names that start with `i` are init containers, with `s` sidecars.
fn pod(containers: &str, policy: &str) -> Pod {
    let (mut init, mut main) = (Vec::new(), Vec::new());
    for name in containers.split_whitespace() {
        match name.as_bytes()[0] {
            b'i' => init.push(json!({"name": name})),
            b's' => init.push(json!({"name": name, "restartPolicy": "Always"})),
            _ => main.push(json!({"name": name})),
        }
    }
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": main, "initContainers": init, "restartPolicy": policy},
    }))
    .expect("a pod")
}

/// What runs: `box` or `dead` for the sandbox, then `name=up`, `name=made`,
/// `name=lost`, `name=<exit code>`; `old:` before a name puts it in a former sandbox.
fn observed(pod: &Pod, runs: &str) -> PodObservation {
    let mut found = PodObservation::default();
    for word in runs.split_whitespace() {
        if word == "box" || word == "dead" {
            let sandbox = SandboxRecord {
                id: "box".into(),
                attempt: 3,
                ready: word == "box",
                ..SandboxRecord::default()
            };
            found.sandboxes.push(sandbox);
            continue;
        }
        let (place, run) = word.split_once(':').unwrap_or(("box", word));
        let (name, state) = run.split_once('=').expect("name=state");
        let phase = match state {
            "up" => ContainerPhase::Running,
            "made" => ContainerPhase::Created,
            "lost" => ContainerPhase::Unknown,
            _ => ContainerPhase::Exited,
        };
        let spec = crate::fields::container(pod, name).expect("a container of the pod");
        found.containers.push(ContainerRecord {
            id: name.to_owned(),
            name: name.to_owned(),
            sandbox_id: place.to_owned(),
            phase,
            exit_code: state.parse().unwrap_or_default(),
            spec_hash: spec_hash(spec),
            finished_at: at(100),
            ..ContainerRecord::default()
        });
    }
    found
}

fn shown(plan: &Plan) -> String {
    let words = plan.actions.iter().map(|action| match action {
        Action::StopPod => "stop-pod".to_owned(),
        Action::CreateSandbox { attempt } => format!("box{attempt}"),
        Action::StopContainer { name, .. } => format!("stop-{name}"),
        Action::StartContainer {
            name,
            restart_count,
        } => format!("{name}#{restart_count}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn planned(pod: &Pod, goal: Goal, runs: &str) -> Plan {
    let observed = observed(pod, runs);
    // Everything that runs has started, but for containers whose name ends in `0`.
    let started = observed
        .containers
        .iter()
        .map(|run| run.id.clone())
        .filter(|id| !id.ends_with('0'))
        .collect();
    let probes = ProbeView {
        started,
        ..ProbeView::default()
    };
    let backoff = Backoff::for_restarts();
    plan(&Situation {
        pod,
        goal,
        observed: &observed,
        probes: &probes,
        backoff: &backoff,
        now: at(101),
    })
}

#[test]
fn a_pod_is_brought_up_and_kept_up() {
    for (containers, policy, runs, expected) in [
        // A sandbox first.
        ("a b", "Always", "", "box0"),
        ("a b", "Always", "box", "a#0 b#0"),
        ("a b", "Always", "box a=up", "b#0"),
        ("a b", "Always", "box a=up b=up", ""),
        // A sandbox that died is replaced; what ran in it is ended first.
        ("a", "Always", "dead a=up", "stop-pod box4"),
        ("a", "Always", "dead a=1", "box4"),
        ("a", "Always", "box old:a=up", "stop-pod"),
        ("a b", "OnFailure", "dead a=0 b=0", ""),
        ("a b", "OnFailure", "dead a=0 b=1", "box4"),
        ("a", "Never", "dead a=1", ""),
        // Containers that end are started again as the policy says.
        ("a b", "Always", "box a=0 b=up", "a#1"),
        ("a b", "OnFailure", "box a=0 b=1", "b#1"),
        ("a b", "Never", "box a=1 b=up", ""),
        ("a", "Never", "box a=made", "a#1"),
        ("a", "Always", "box a=lost", "stop-a a#1"),
        // A pod that is over is taken down.
        ("a", "Never", "box a=1", "stop-pod"),
        ("a b", "OnFailure", "box a=0 b=0", "stop-pod"),
    ] {
        let plan = planned(&pod(containers, policy), Goal::Run, runs);
        assert_eq!(shown(&plan), expected, "{containers} {policy}: {runs}");
    }
}

#[test]
fn init_containers_run_one_after_another_before_the_others() {
    for (containers, policy, runs, expected) in [
        ("i1 i2 a", "Always", "box", "i1#0"),
        ("i1 i2 a", "Always", "box i1=up", ""),
        ("i1 i2 a", "Always", "box i1=0", "i2#0"),
        ("i1 i2 a", "Always", "box i1=0 i2=0", "a#0"),
        ("i1 a", "Always", "box i1=1", "i1#1"),
        ("i1 a", "OnFailure", "box i1=1", "i1#1"),
        ("i1 a", "Never", "box i1=1", "stop-pod"),
        ("i1 a", "Never", "dead i1=1", ""),
        // Once a container has begun they are over, whatever became of them.
        ("i1 a", "Always", "box i1=0 a=1", "a#1"),
        ("i1 a", "Always", "box a=up", ""),
        // A new sandbox starts from the beginning.
        ("i1 a", "Always", "box old:i1=0 old:a=1", "i1#1"),
    ] {
        let plan = planned(&pod(containers, policy), Goal::Run, runs);
        assert_eq!(shown(&plan), expected, "{containers} {policy}: {runs}");
    }
}

#[test]
fn sidecars_start_before_the_others_and_do_not_keep_a_pod_alive() {
    for (containers, policy, runs, expected) in [
        ("s1 i1 a", "Always", "box", "s1#0"),
        ("s0 i1 a", "Always", "box s0=up", ""),
        ("s1 i1 a", "Always", "box s1=up", "i1#0"),
        ("s1 i1 a", "Never", "box s1=up i1=0", "a#0"),
        ("s1 a", "Never", "box s1=1 a=up", "s1#1"),
        ("s1 a", "Never", "box s1=up a=0", "stop-pod"),
        ("s1 a", "Never", "box s1=0 a=0", "stop-pod"),
        ("s1 i1 a", "Never", "box s1=up i1=1", "stop-pod"),
    ] {
        let plan = planned(&pod(containers, policy), Goal::Run, runs);
        assert_eq!(shown(&plan), expected, "{containers} {policy}: {runs}");
    }
}

#[test]
fn a_pod_that_is_to_stop_is_stopped_once() {
    for (runs, expected) in [
        ("", ""),
        ("box a=up", "stop-pod"),
        ("box a=0", "stop-pod"),
        ("dead a=up", "stop-pod"),
        ("dead a=0", ""),
    ] {
        assert_eq!(
            shown(&planned(&pod("a", "Always"), Goal::Stop, runs)),
            expected,
            "{runs}"
        );
    }
}

#[test]
fn a_container_that_crashed_again_waits() {
    let pod = pod("a", "Always");
    let observed = observed(&pod, "box a=1");
    let mut backoff = Backoff::for_restarts();
    backoff.tried("a", at(90), at(90));
    let probes = ProbeView::default();
    let plan_at = |now| {
        plan(&Situation {
            pod: &pod,
            goal: Goal::Run,
            observed: &observed,
            probes: &probes,
            backoff: &backoff,
            now,
        })
    };
    let early = plan_at(at(101));
    assert_eq!(shown(&early), "");
    assert_eq!(early.wake_at, Some(at(110)));
    let waiting = &early.backing_off["a"];
    assert_eq!(waiting.reason, "CrashLoopBackOff");
    assert_eq!(
        waiting.message,
        "back-off 10s restarting failed container=a pod=p_n(u)"
    );
    assert_eq!(shown(&plan_at(at(110))), "a#1");
}

#[test]
fn probes_and_a_changed_image_stop_a_container() {
    let pod = pod("a b", "Always");
    let mut observed = observed(&pod, "box a=up b=up");
    observed.containers[1].spec_hash = "other".into();
    let probes = ProbeView {
        failed: BTreeMap::from([("a".into(), "liveness")]),
        ..ProbeView::default()
    };
    let backoff = Backoff::for_restarts();
    let plan = plan(&Situation {
        pod: &pod,
        goal: Goal::Run,
        observed: &observed,
        probes: &probes,
        backoff: &backoff,
        now: at(0),
    });
    let messages: Vec<&str> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::StopContainer { message, .. } => message.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(
        messages,
        [
            "Container a failed liveness probe, will be restarted",
            "Container b definition changed, will be restarted"
        ]
    );
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (seconds, expected) in [(10, "10s"), (160, "2m40s"), (300, "5m0s"), (3661, "1h1m1s")] {
        assert_eq!(go_duration(seconds), expected);
    }
}
