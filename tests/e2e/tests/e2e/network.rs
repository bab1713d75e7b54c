//! Services, DNS and the pods' network.

use kontiki_e2e::scratch::web;
use kontiki_e2e::{Scratch, eventually};

#[test]
fn a_pod_finds_services_by_name() {
    let scratch = Scratch::new("dns");
    scratch.pod("asks", "sleep 3600");
    let look_up = |name: &str| scratch.exec("asks", &["nslookup", name]);
    let address = kontiki_e2e::kubectl()
        .run(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])
        .expect("the application's Service");
    eventually("the Service is found", || {
        look_up("web.default.svc.cluster.local")
            .stdout
            .contains(&address)
            .then_some(())
    });
    // The search list of the pod completes the name.
    assert!(
        scratch
            .exec("asks", &["wget", "-q", "-O", "-", "http://web.default/"])
            .good()
            .contains("Hello")
    );
    assert!(
        look_up("kubernetes.default.svc.cluster.local")
            .stdout
            .contains("10.96.0.1")
    );
    assert_ne!(look_up("none.default.svc.cluster.local").code, Some(0));
}

#[test]
fn a_service_spreads_over_all_its_pods() {
    let scratch = Scratch::new("spread");
    scratch.apply(&web("web", 3));
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    scratch.clean(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=http",
    ]);
    scratch.pod("asks", "sleep 3600");
    let mut names = std::collections::BTreeSet::new();
    eventually("every pod answers", || {
        names.insert(
            scratch
                .exec("asks", &["wget", "-q", "-O", "-", "http://web/"])
                .stdout
                .trim()
                .to_owned(),
        );
        (names.iter().filter(|name| name.starts_with("web-")).count() == 3).then_some(())
    });
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let scratch = Scratch::new("refuses");
    scratch.clean(&["create", "service", "clusterip", "nobody", "--tcp=80:80"]);
    scratch.pod("asks", "sleep 3600");
    eventually("the connection is refused", || {
        let address = scratch.clean(&[
            "get",
            "service",
            "nobody",
            "-o",
            "jsonpath={.spec.clusterIP}",
        ]);
        let answer = scratch.exec("asks", &["nc", "-w", "5", address.trim(), "80"]);
        answer.stderr.contains("refused").then_some(())
    });
}

#[test]
fn pods_on_different_nodes_reach_each_other_without_translation() {
    let scratch = Scratch::new("across");
    let pin = |name: &str, node: &str, script: &str| {
        format!(
            "{}  nodeName: {node}\n",
            kontiki_e2e::scratch::pod(name, script)
        )
    };
    scratch.apply(&pin("one", "n1", "sleep 3600"));
    scratch.apply(&pin(
        "two",
        "n2",
        "while :; do nc -l -p 7000 -e sh -c 'env | grep NCAT; netstat -tn'; done",
    ));
    for name in ["one", "two"] {
        scratch.clean(&[
            "wait",
            "--for=condition=Ready",
            &format!("pod/{name}"),
            "--timeout=90s",
        ]);
    }
    let (one, two) = (
        scratch.field("pod/one", "{.status.podIP}"),
        scratch.field("pod/two", "{.status.podIP}"),
    );
    eventually("the pod answers, and sees the other's own address", || {
        let seen = scratch
            .exec("one", &["sh", "-c", &format!("echo | nc -w 3 {two} 7000")])
            .stdout;
        seen.contains(&one).then_some(())
    });
}

#[test]
fn endpoints_leave_with_their_pods_and_before_they_stop() {
    let scratch = Scratch::new("endpoints");
    scratch.apply(&web("web", 2));
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    scratch.clean(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=http",
    ]);
    let path = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
    let ready = || {
        let args = [
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=web",
            "-o",
            path,
        ];
        scratch.run(&args).stdout.split_whitespace().count()
    };
    eventually("both are there", || (ready() == 2).then_some(()));
    scratch.clean(&["scale", "deployment/web", "--replicas=0"]);
    eventually("none is left", || (ready() == 0).then_some(()));
}
