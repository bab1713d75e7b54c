//! What cannot be right is refused with the statuses that Kubernetes gives.

use kontiki_e2e::{Output, Scratch, run_with_input};

fn post(scratch: &Scratch, resource: &str, body: &str) -> Output {
    let path = format!("/api/v1/namespaces/{}/{resource}", scratch.namespace);
    run_with_input(
        &mut scratch.command(&["create", "--raw", &path, "-f", "-"]),
        body,
    )
}

#[test]
fn bodies_that_are_no_objects_are_bad_requests() {
    let scratch = Scratch::new("bodies");
    for body in [
        "{",
        "[]",
        "null",
        "\"text\"",
        "{\"kind\": \"ConfigMap\"",
        "\u{0}\u{1}",
    ] {
        let refused = post(&scratch, "configmaps", body).refused();
        assert!(
            refused.contains("BadRequest") || refused.contains("couldn't"),
            "{body:?}: {refused}"
        );
    }
    // Deep enough to exhaust a careless parser's stack.
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let refused = post(&scratch, "configmaps", &deep).refused();
    assert!(refused.contains("Error from server"), "{refused}");
    scratch.clean(&["get", "configmaps"]);
}

#[test]
fn invalid_fields_are_named_with_their_paths() {
    let scratch = Scratch::new("fields");
    let check = |manifest: &str, expected: &str| {
        let mut command = scratch.command(&["create", "--validate=false", "-f", "-"]);
        let refused = run_with_input(&mut command, manifest).refused();
        assert!(
            refused.contains(expected),
            "{expected:?} is missing in {refused}"
        );
    };
    let pod = kontiki_e2e::scratch::pod("p", "true");
    check(
        &pod.replace("name: p\n", "name: P_\n"),
        "metadata.name: Invalid value: \"P_\"",
    );
    check(
        &pod.replace("name: main", "name: \"\""),
        "spec.containers[0].name: Required value",
    );
    check(
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: []}}",
        "spec.containers: Required value",
    );
    check(
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 99999}]}}",
        "spec.ports[0].port: Invalid value: 99999",
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a/b: c}}",
        "data[a/b]: Invalid value",
    );
}

#[test]
fn unknown_fields_are_refused_when_strictness_is_asked_for() {
    let scratch = Scratch::new("strict");
    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, dta: {a: b}}";
    let mut command = scratch.command(&["create", "--validate=strict", "-f", "-"]);
    let refused = run_with_input(&mut command, manifest).refused();
    assert!(
        refused.contains("strict decoding error: unknown field \"dta\""),
        "{refused}"
    );
}

#[test]
fn stale_versions_conflict_and_missing_things_are_not_found() {
    let scratch = Scratch::new("stale");
    scratch.clean(&["create", "configmap", "c", "--from-literal=a=1"]);
    let stale = scratch.clean(&["get", "configmap", "c", "-o", "json"]);
    scratch.clean(&["patch", "configmap", "c", "-p", r#"{"data":{"a":"2"}}"#]);
    let refused = run_with_input(&mut scratch.command(&["replace", "-f", "-"]), &stale).refused();
    assert!(
        refused.contains("Conflict") && refused.contains("the object has been modified"),
        "{refused}"
    );
    let missing = scratch
        .run(&["get", "--raw", "/apis/none.example/v1/things"])
        .refused();
    assert!(missing.contains("NotFound"), "{missing}");
    let twice = scratch.run(&["create", "configmap", "c"]).refused();
    assert!(twice.contains("already exists"), "{twice}");
}
