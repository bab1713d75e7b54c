//! Every kubectl command, with every kubectl version.

use kontiki_e2e::scratch::{pod, web};
use kontiki_e2e::{Background, Output, Scratch, kubectl_of, run, run_with_input};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

macro_rules! with_every_kubectl {
    ($($test:ident),* $(,)?) => {
        with_every_kubectl!(@ v1_27 "1.27" $($test)*);
        with_every_kubectl!(@ v1_32 "1.32" $($test)*);
        with_every_kubectl!(@ v1_36 "1.36" $($test)*);
        with_every_kubectl!(@ v1_37 "1.37" $($test)*);
    };
    (@ $module:ident $version:literal $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    let name = concat!("k", stringify!($module)).replace('_', "-");
                    super::$test(&kontiki_e2e::Scratch::with(&name, super::kubectl_of($version)));
                }
            )*
        }
    };
}

with_every_kubectl!(
    objects_are_got_described_and_watched,
    manifests_are_applied_by_the_client_and_the_server,
    a_difference_is_shown_before_it_is_applied,
    an_object_is_edited_in_an_editor,
    a_deployment_is_rolled_out_and_back,
    logs_are_read_in_every_way,
    commands_run_in_a_container,
    a_running_container_is_attached_to,
    a_pod_is_run_for_one_command,
    a_port_is_forwarded,
    files_are_copied_both_ways,
    kinds_and_fields_are_explained,
    rights_are_asked_for,
    objects_are_deleted,
    a_node_is_cordoned_and_drained,
);

fn objects_are_got_described_and_watched(scratch: &Scratch) {
    scratch.pod("one", "sleep 3600");
    let table = scratch.clean(&["get", "pods"]);
    let lines: Vec<&str> = table.lines().collect();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert!(
        lines[1].starts_with("one") && lines[1].contains("1/1") && lines[1].contains("Running"),
        "{table}"
    );
    let wide = scratch.clean(&["get", "pods", "-o", "wide"]);
    assert!(
        wide.contains("NODE") && (wide.contains(" n1 ") || wide.contains(" n2 ")),
        "{wide}"
    );
    let yaml = scratch.clean(&["get", "pod", "one", "-o", "yaml"]);
    assert!(
        yaml.contains("kind: Pod") && !yaml.contains("managedFields"),
        "{yaml}"
    );
    let described = scratch.clean(&["describe", "pod", "one"]);
    for part in ["Name:", "Containers:", "Events:", "Scheduled", "Started"] {
        assert!(
            described.contains(part),
            "{part} is missing in\n{described}"
        );
    }
    let missing = scratch.run(&["get", "pod", "none"]).refused();
    assert_eq!(
        missing.trim(),
        "Error from server (NotFound): pods \"none\" not found"
    );

    let mut watch = Background::start(&mut scratch.command(&["get", "configmaps", "-w"]));
    watch.wait_for("kube-root-ca.crt");
    scratch.clean(&["create", "configmap", "seen", "--from-literal=a=b"]);
    watch.wait_for("seen");
}

const MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: red\n";

fn apply(scratch: &Scratch, flags: &[&str], manifest: &str) -> Output {
    let mut args = vec!["apply"];
    args.extend(flags);
    args.extend(["-f", "-"]);
    run_with_input(&mut scratch.command(&args), manifest)
}

fn manifests_are_applied_by_the_client_and_the_server(scratch: &Scratch) {
    assert_eq!(
        apply(scratch, &[], MAP).clean().trim(),
        "configmap/settings created"
    );
    assert_eq!(
        apply(scratch, &[], MAP).clean().trim(),
        "configmap/settings unchanged"
    );
    let blue = MAP.replace("red", "blue");
    assert_eq!(
        apply(scratch, &[], &blue).clean().trim(),
        "configmap/settings configured"
    );
    // A field that is no longer in the manifest goes.
    let renamed = MAP.replace("colour: red", "shape: round");
    let _ = apply(scratch, &[], &renamed).clean();
    assert_eq!(
        scratch.field("configmap/settings", "{.data}"),
        r#"{"shape":"round"}"#
    );

    let theirs = MAP.replace("settings", "shared");
    let flags = ["--server-side", "--field-manager=first"];
    assert_eq!(
        apply(scratch, &flags, &theirs).clean().trim(),
        "configmap/shared serverside-applied"
    );
    let flags = ["--server-side", "--field-manager=second"];
    let green = theirs.replace("colour: red", "colour: green");
    let conflict = apply(scratch, &flags, &green).refused();
    assert!(
        conflict.contains("conflict with \"first\"") && conflict.contains(".data.colour"),
        "{conflict}"
    );
    let flags = [
        "--server-side",
        "--field-manager=second",
        "--force-conflicts",
    ];
    let _ = apply(scratch, &flags, &green).clean();
    assert_eq!(scratch.field("configmap/shared", "{.data.colour}"), "green");
    let dry = apply(
        scratch,
        &["--dry-run=server"],
        &MAP.replace("settings", "never"),
    );
    assert!(dry.clean().contains("(server dry run)"));
    let _ = scratch.run(&["get", "configmap", "never"]).refused();
}

fn a_difference_is_shown_before_it_is_applied(scratch: &Scratch) {
    let _ = apply(scratch, &[], MAP).clean();
    let diff =
        |manifest: &str| run_with_input(&mut scratch.command(&["diff", "-f", "-"]), manifest);
    assert_eq!(diff(MAP).clean(), "");
    let changed = diff(&MAP.replace("red", "blue"));
    assert_eq!(changed.code, Some(1), "{}", changed.stderr);
    assert!(
        changed.stdout.contains("-  colour: red") && changed.stdout.contains("+  colour: blue")
    );
    assert_eq!(scratch.field("configmap/settings", "{.data.colour}"), "red");
}

fn an_object_is_edited_in_an_editor(scratch: &Scratch) {
    let _ = apply(scratch, &[], MAP).clean();
    let mut edit = scratch.command(&["edit", "configmap", "settings"]);
    edit.env("KUBE_EDITOR", "sed -i s/red/violet/");
    assert_eq!(run(&mut edit).clean().trim(), "configmap/settings edited");
    assert_eq!(
        scratch.field("configmap/settings", "{.data.colour}"),
        "violet"
    );
    let mut edit = scratch.command(&["edit", "configmap", "settings"]);
    edit.env("KUBE_EDITOR", "true");
    let untouched = run(&mut edit);
    assert_eq!(untouched.code, Some(0));
    assert!(format!("{}{}", untouched.stdout, untouched.stderr).contains("no changes made"));
}

fn a_deployment_is_rolled_out_and_back(scratch: &Scratch) {
    scratch.apply(&web("web", 2));
    let done = scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert!(
        done.contains("deployment \"web\" successfully rolled out"),
        "{done}"
    );
    assert_eq!(
        scratch
            .clean(&["scale", "deployment/web", "--replicas=3"])
            .trim(),
        "deployment.apps/web scaled"
    );
    scratch.until("deployment/web", "{.status.readyReplicas}", "3");
    let image = scratch.field(
        "deployment/web",
        "{.spec.template.spec.containers[0].image}",
    );
    let missing = "httpd=kontiki.local/none:1";
    assert_eq!(
        scratch
            .clean(&["set", "image", "deployment/web", missing])
            .trim(),
        "deployment.apps/web image updated"
    );
    let stuck = scratch.run(&["rollout", "status", "deployment/web", "--timeout=3s"]);
    assert_ne!(
        stuck.code,
        Some(0),
        "an image that is not there cannot roll out"
    );
    let history = scratch.clean(&["rollout", "history", "deployment/web"]);
    assert!(
        history.contains("REVISION")
            && history
                .lines()
                .filter(|line| line.starts_with(['1', '2']))
                .count()
                == 2
    );
    assert_eq!(
        scratch
            .run(&["rollout", "undo", "deployment/web"])
            // It warns that the next apply will not know of this.
            .good()
            .trim(),
        "deployment.apps/web rolled back"
    );
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert_eq!(
        scratch.field(
            "deployment/web",
            "{.spec.template.spec.containers[0].image}"
        ),
        image
    );
    let restarted = scratch.clean(&["rollout", "restart", "deployment/web"]);
    assert_eq!(restarted.trim(), "deployment.apps/web restarted");
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
}

fn logs_are_read_in_every_way(scratch: &Scratch) {
    let script =
        "echo early; sleep 4; for n in 1 2 3; do echo line $n; sleep 0.2; done; sleep 3600";
    scratch.pod("talks", script);
    let mut follow = Background::start(&mut scratch.command(&["logs", "-f", "talks"]));
    follow.wait_for("line 3");
    assert_eq!(
        scratch.clean(&["logs", "talks"]),
        "early\nline 1\nline 2\nline 3\n"
    );
    assert_eq!(scratch.clean(&["logs", "--tail=1", "talks"]), "line 3\n");
    let stamped = scratch.clean(&["logs", "--timestamps", "talks"]);
    let time = |line: &str| {
        stamped
            .lines()
            .find(|text| text.ends_with(line))
            .map(|text| text[..19].to_owned())
    };
    let since = format!(
        "--since-time={}Z",
        time("line 1").expect("a line with its time")
    );
    let recent = scratch.clean(&["logs", &since, "talks"]);
    assert!(
        recent.contains("line 3") && !recent.contains("early"),
        "{recent}"
    );
    assert!(
        scratch
            .clean(&["logs", "--since=1h", "talks"])
            .contains("early")
    );
    assert_eq!(
        scratch.clean(&["logs", "-l", "app=talks", "--tail=1"]),
        "line 3\n"
    );

    // The first run of the container ends, the second goes on.
    let script = "test -f /shared/second && { echo second; sleep 3600; }; touch /shared/second; echo first; exit 1";
    let volumes = "    volumeMounts: [{name: shared, mountPath: /shared}]\n  volumes: [{name: shared, emptyDir: {}}]\n";
    scratch.apply(&format!("{}{volumes}", pod("again", script)));
    scratch.until(
        "pod/again",
        "{.status.containerStatuses[0].restartCount}",
        "1",
    );
    scratch.clean(&[
        "wait",
        "--for=condition=Ready",
        "pod/again",
        "--timeout=90s",
    ]);
    assert_eq!(scratch.clean(&["logs", "--previous", "again"]), "first\n");
    assert_eq!(scratch.clean(&["logs", "again"]), "second\n");
}

fn commands_run_in_a_container(scratch: &Scratch) {
    scratch.pod("shell", "sleep 3600");
    assert_eq!(scratch.exec("shell", &["echo", "hello"]).clean(), "hello\n");
    let failed = scratch.exec("shell", &["sh", "-c", "echo oops >&2; exit 7"]);
    assert_eq!(failed.code, Some(7), "the exit code is the command's");
    assert!(failed.stderr.contains("oops"), "{}", failed.stderr);
    let mut piped = scratch.command(&["exec", "-i", "shell", "--", "wc", "-c"]);
    let input = "x".repeat(100_000);
    assert_eq!(run_with_input(&mut piped, &input).clean().trim(), "100000");
    let terminal = scratch.on_terminal(
        &["exec", "-it", "shell", "--", "sh"],
        "tty\necho $((40 + 2))\nexit\n",
    );
    assert_eq!(terminal.code, Some(0), "{}", terminal.stdout);
    assert!(
        terminal.stdout.contains("/dev/pts/") && terminal.stdout.contains("42"),
        "{}",
        terminal.stdout
    );
}

fn a_running_container_is_attached_to(scratch: &Scratch) {
    scratch.pod(
        "counts",
        "n=0; while :; do n=$((n + 1)); echo tick $n; sleep 0.5; done",
    );
    let mut attached = Background::start(&mut scratch.command(&["attach", "counts"]));
    attached.wait_for("tick");
    let before = attached
        .said()
        .lines()
        .filter(|line| line.starts_with("tick"))
        .count();
    attached.wait_for(&format!("tick {}", before + 3));
}

fn a_pod_is_run_for_one_command(scratch: &Scratch) {
    let args = [
        "run",
        "once",
        "-it",
        "--rm",
        "--restart=Never",
        "--image",
        xtask::images::BUSYBOX,
    ];
    let mut args = args.to_vec();
    // What is said before kubectl has attached reaches nobody, here as upstream.
    let script = "sleep 3; echo answer $((6 * 7)); sleep 1";
    args.extend(["--", "sh", "-c", script]);
    let output = scratch.on_terminal(&args, "");
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    assert!(output.stdout.contains("answer 42"), "{}", output.stdout);
    assert!(
        output.stdout.contains("pod \"once\" deleted"),
        "{}",
        output.stdout
    );
    let _ = scratch.run(&["get", "pod", "once"]).refused();
}

fn a_port_is_forwarded(scratch: &Scratch) {
    scratch.apply(&web("web", 1));
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let mut forward =
        Background::start(&mut scratch.command(&["port-forward", "deployment/web", ":8080"]));
    forward.wait_for("Forwarding from 127.0.0.1:");
    let said = forward.said();
    let port = said
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .expect("a port");
    // Several connections over one session.
    for _ in 0..3 {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port.parse().expect("a number"))).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("writes");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("reads");
        assert!(page.contains("200 OK") && page.contains("web-"), "{page}");
    }
}

fn files_are_copied_both_ways(scratch: &Scratch) {
    scratch.pod("files", "sleep 3600");
    let dir = tempfile::tempdir().expect("a folder");
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    let content: Vec<u8> = (0..300_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    fs::write(&there, &content).expect("writes");
    let _ = scratch
        .run(&["cp", &there.to_string_lossy(), "files:/tmp/copied"])
        .good();
    let _ = scratch
        .run(&["cp", "files:/tmp/copied", &back.to_string_lossy()])
        .good();
    assert_eq!(fs::read(&back).expect("reads"), content);
}

fn kinds_and_fields_are_explained(scratch: &Scratch) {
    let kinds = scratch.clean(&["api-resources"]);
    for kind in [
        "pods",
        "deployments",
        "leases",
        "endpointslices",
        "clusterroles",
        "customresourcedefinitions",
    ] {
        assert!(
            kinds.lines().any(|line| line.starts_with(kind)),
            "{kind} is missing"
        );
    }
    let versions = scratch.clean(&["api-versions"]);
    assert!(
        versions.lines().any(|line| line == "apps/v1") && versions.lines().any(|line| line == "v1")
    );
    let pod = scratch.clean(&["explain", "pod.spec.containers.image"]);
    assert!(
        pod.contains("KIND:") && pod.contains("Container image name"),
        "{pod}"
    );
    let version = scratch.run(&["version"]);
    assert!(
        version.stdout.contains("v1.36.2+kontiki"),
        "{}",
        version.stdout
    );
    assert!(scratch.clean(&["cluster-info"]).contains("is running at"));
}

fn rights_are_asked_for(scratch: &Scratch) {
    assert_eq!(
        scratch.clean(&["auth", "can-i", "create", "pods"]).trim(),
        "yes"
    );
    let nobody = ["auth", "can-i", "create", "pods", "--as=nobody"];
    assert_eq!(scratch.run(&nobody).stdout.trim(), "no");
    assert!(
        scratch
            .clean(&["auth", "can-i", "--list"])
            .contains("Resources")
    );
}

fn objects_are_deleted(scratch: &Scratch) {
    scratch.pod("short", "sleep 3600");
    assert!(
        scratch
            .clean(&["delete", "pod", "short"])
            .contains("pod \"short\" deleted")
    );
    let _ = scratch.run(&["get", "pod", "short"]).refused();
    for name in ["a", "b", "c"] {
        scratch.clean(&["create", "configmap", name]);
        scratch.clean(&["label", "configmap", name, "group=x"]);
    }
    scratch.clean(&["delete", "configmap", "-l", "group=x"]);
    assert_eq!(
        scratch.clean(&["get", "configmaps", "-o", "name"]).trim(),
        "configmap/kube-root-ca.crt"
    );
    scratch.pod("waited", "sleep 3600");
    let mut wait = Background::start(&mut scratch.command(&[
        "wait",
        "--for=delete",
        "pod/waited",
        "--timeout=60s",
    ]));
    scratch.clean(&["delete", "pod", "waited", "--wait=false"]);
    wait.wait_for("pod/waited condition met");
}

/// Lets the node be used again however the test ends.
struct Uncordon<'a>(&'a Scratch);

impl Drop for Uncordon<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["uncordon", "n2"]);
    }
}

fn a_node_is_cordoned_and_drained(scratch: &Scratch) {
    scratch.apply(&web("web", 3));
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let _uncordon = Uncordon(scratch);
    assert_eq!(scratch.clean(&["cordon", "n2"]).trim(), "node/n2 cordoned");
    assert!(
        scratch
            .clean(&["get", "node", "n2"])
            .contains("Ready,SchedulingDisabled")
    );
    // Only this test's pods: the others on the node are not its business.
    let args = ["drain", "n2", "--pod-selector=app=web", "--timeout=90s"];
    let drained = scratch.run(&args).good();
    assert!(drained.contains("node/n2 drained"), "{drained}");
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let path = "jsonpath={range .items[*]}{.spec.nodeName} {end}";
    let nodes = scratch.clean(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "--field-selector=status.phase=Running",
        "-o",
        path,
    ]);
    assert!(!nodes.contains("n2"), "{nodes}");
    assert_eq!(
        scratch.clean(&["uncordon", "n2"]).trim(),
        "node/n2 uncordoned"
    );
}
