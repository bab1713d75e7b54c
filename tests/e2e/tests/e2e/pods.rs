//! What pods get and what becomes of them.

use kontiki_e2e::scratch::pod;
use kontiki_e2e::{Scratch, eventually};
use xtask::images::BUSYBOX;

#[test]
fn mounted_config_maps_and_secrets_follow_their_objects() {
    let scratch = Scratch::new("mounts");
    scratch.clean(&[
        "create",
        "configmap",
        "settings",
        "--from-literal=colour=red",
    ]);
    scratch.clean(&[
        "create",
        "secret",
        "generic",
        "key",
        "--from-literal=token=one",
    ]);
    let volumes = "    volumeMounts:\n    - {name: settings, mountPath: /settings}\n    - {name: key, mountPath: /key}\n  \
                   volumes:\n  - {name: settings, configMap: {name: settings}}\n  - {name: key, secret: {secretName: key}}\n";
    scratch.apply(&format!("{}{volumes}", pod("reads", "sleep 3600")));
    scratch.clean(&[
        "wait",
        "--for=condition=Ready",
        "pod/reads",
        "--timeout=90s",
    ]);
    let read = |file: &str| scratch.exec("reads", &["cat", file]).stdout;
    assert_eq!(
        (read("/settings/colour"), read("/key/token")),
        ("red".into(), "one".into())
    );
    scratch.clean(&[
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"data":{"colour":"blue"}}"#,
    ]);
    scratch.clean(&[
        "patch",
        "secret",
        "key",
        "-p",
        r#"{"stringData":{"token":"two"}}"#,
    ]);
    eventually("the files follow", || {
        (read("/settings/colour") == "blue" && read("/key/token") == "two").then_some(())
    });
}

#[test]
fn the_environment_is_filled_from_fields_maps_and_secrets() {
    let scratch = Scratch::new("environment");
    scratch.clean(&[
        "create",
        "configmap",
        "settings",
        "--from-literal=COLOUR=red",
    ]);
    scratch.clean(&[
        "create",
        "secret",
        "generic",
        "key",
        "--from-literal=token=one",
    ]);
    let environment = "    env:
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: key, key: token}}}
    - {name: BOTH, value: $(POD_NAME)-$(TOKEN)}
    envFrom:
    - configMapRef: {name: settings}
";
    scratch.apply(&format!("{}{environment}", pod("env", "sleep 3600")));
    scratch.clean(&["wait", "--for=condition=Ready", "pod/env", "--timeout=90s"]);
    let shown = scratch.exec("env", &["env"]).clean();
    let node = scratch.field("pod/env", "{.spec.nodeName}");
    for line in [
        "POD_NAME=env",
        "TOKEN=one",
        "BOTH=env-one",
        "COLOUR=red",
        &format!("NODE={node}"),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is missing in\n{shown}"
        );
    }
    assert!(shown.contains("KUBERNETES_SERVICE_HOST="), "{shown}");
}

#[test]
fn init_containers_run_one_after_the_other_before_the_others() {
    let scratch = Scratch::new("init");
    let init = |name: &str, script: &str| {
        format!(
            "  - name: {name}\n    image: {BUSYBOX}\n    command: [\"sh\", \"-c\", \"{script}\"]\n    \
             volumeMounts: [{{name: shared, mountPath: /shared}}]\n"
        )
    };
    let tail = format!(
        "    volumeMounts: [{{name: shared, mountPath: /shared}}]\n  volumes: [{{name: shared, emptyDir: {{}}}}]\n  \
         initContainers:\n{}{}",
        init("first", "echo first >> /shared/order"),
        init("second", "sleep 1; echo second >> /shared/order"),
    );
    scratch.apply(&format!(
        "{}{tail}",
        pod("ordered", "echo main >> /shared/order; sleep 3600")
    ));
    scratch.clean(&[
        "wait",
        "--for=condition=Ready",
        "pod/ordered",
        "--timeout=90s",
    ]);
    assert_eq!(
        scratch.clean(&[
            "exec",
            "ordered",
            "-c",
            "main",
            "--",
            "cat",
            "/shared/order"
        ]),
        "first\nsecond\nmain\n"
    );
}

#[test]
fn a_container_that_keeps_failing_is_shown_as_crash_loop() {
    let scratch = Scratch::new("crash");
    scratch.apply(&pod("fails", "echo failing; exit 3"));
    scratch.until(
        "pod/fails",
        "{.status.containerStatuses[0].state.waiting.reason}",
        "CrashLoopBackOff",
    );
    let table = scratch.clean(&["get", "pod", "fails"]);
    assert!(table.contains("CrashLoopBackOff"), "{table}");
    let code = scratch.field(
        "pod/fails",
        "{.status.containerStatuses[0].lastState.terminated.exitCode}",
    );
    assert_eq!(code, "3");
    assert!(
        scratch
            .clean(&["describe", "pod", "fails"])
            .contains("Back-off restarting failed container")
    );
}

#[test]
fn an_image_that_is_not_there_is_told_by_status_and_event() {
    let scratch = Scratch::new("image");
    scratch.apply(&pod("absent", "true").replace(BUSYBOX, "kontiki.local/absent:1"));
    eventually("the image cannot be pulled", || {
        let reason = scratch.field(
            "pod/absent",
            "{.status.containerStatuses[0].state.waiting.reason}",
        );
        ["ErrImagePull", "ImagePullBackOff"]
            .contains(&reason.as_str())
            .then_some(())
    });
    eventually("an event tells", || {
        let events = scratch
            .run(&[
                "get",
                "events",
                "--field-selector=involvedObject.name=absent",
            ])
            .stdout;
        events.contains("Failed to pull image").then_some(())
    });
}

#[test]
fn a_failing_liveness_probe_restarts_the_container_in_place() {
    let scratch = Scratch::new("liveness");
    let probe = "    livenessProbe:\n      exec: {command: [\"test\", \"-f\", \"/tmp/alive\"]}\n      periodSeconds: 1\n      \
                 failureThreshold: 1\n      initialDelaySeconds: 1\n";
    scratch.apply(&format!(
        "{}{probe}",
        pod("lives", "touch /tmp/alive; sleep 3600")
    ));
    scratch.clean(&[
        "wait",
        "--for=condition=Ready",
        "pod/lives",
        "--timeout=90s",
    ]);
    let uid = scratch.field("pod/lives", "{.metadata.uid}");
    let _ = scratch.exec("lives", &["rm", "/tmp/alive"]);
    scratch.until(
        "pod/lives",
        "{.status.containerStatuses[0].restartCount}",
        "1",
    );
    assert_eq!(scratch.field("pod/lives", "{.metadata.uid}"), uid);
}

#[test]
fn a_container_over_its_memory_limit_is_killed_alone() {
    let scratch = Scratch::new("memory");
    let limits = "    resources: {limits: {memory: 32Mi}}\n  restartPolicy: Never\n";
    scratch.apply(&format!(
        "{}{limits}",
        pod("eats", "x=a; while :; do x=$x$x; done")
    ));
    scratch.until("pod/eats", "{.status.phase}", "Failed");
    let reason = scratch.field(
        "pod/eats",
        "{.status.containerStatuses[0].state.terminated.reason}",
    );
    assert_eq!(reason, "OOMKilled");
}

#[test]
fn a_pod_that_fits_nowhere_stays_pending_and_says_why() {
    let scratch = Scratch::new("pending");
    let requests = "    resources: {requests: {cpu: \"1000\"}}\n";
    scratch.apply(&format!("{}{requests}", pod("huge", "true")));
    eventually("an event tells", || {
        let events = scratch
            .run(&["get", "events", "--field-selector=involvedObject.name=huge"])
            .stdout;
        (events.contains("FailedScheduling") && events.contains("Insufficient cpu")).then_some(())
    });
    assert_eq!(scratch.field("pod/huge", "{.status.phase}"), "Pending");
}
