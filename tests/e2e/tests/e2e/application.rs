//! The application that `cargo xtask up` runs.

use kontiki_e2e::{Scratch, cluster, eventually, kubectl};
use std::time::Duration;
use xtask::app::PAGE;
use xtask::up::service_address;

#[test]
fn its_page_is_fetched_through_the_cluster_ip() {
    let address = service_address(&kubectl(), "web").expect("an address");
    let page = cluster()
        .fetch(address, Duration::from_secs(30))
        .expect("a page");
    assert_eq!(page.trim(), PAGE);
}

#[test]
fn its_page_is_fetched_through_a_port_of_every_node() {
    let kubectl = kubectl();
    let _ = kubectl.run(&["delete", "service", "web-nodes", "--ignore-not-found"]);
    let args = [
        "expose",
        "deployment",
        "web",
        "--name=web-nodes",
        "--type=NodePort",
        "--port=80",
        "--target-port=http",
    ];
    kubectl.run(&args).expect("exposed");
    let port = kubectl.run(&[
        "get",
        "service",
        "web-nodes",
        "-o",
        "jsonpath={.spec.ports[0].nodePort}",
    ]);
    let port: u16 = port.expect("a Service").parse().expect("a port");
    assert!((30_000..=32_767).contains(&port), "{port}");
    for node in cluster().topology.nodes() {
        let address = (node.address, port).into();
        let page = cluster()
            .fetch(address, Duration::from_secs(30))
            .expect("a page");
        assert_eq!(page.trim(), PAGE, "through {}", node.name);
    }
    kubectl
        .run(&["delete", "service", "web-nodes"])
        .expect("deleted");
}

#[test]
fn its_job_has_completed_with_the_right_sum() {
    let kubectl = kubectl();
    assert_eq!(
        kubectl.run(&["logs", "job/sum"]).expect("logs").trim(),
        "42"
    );
    let path = "jsonpath={.status.succeeded}";
    assert_eq!(
        kubectl
            .run(&["get", "job", "sum", "-o", path])
            .expect("a Job"),
        "1"
    );
}

#[test]
fn its_pods_lie_on_both_nodes() {
    let path = "jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}";
    let nodes = kubectl()
        .run(&["get", "pods", "-l", "app=web", "-o", path])
        .expect("pods");
    let mut nodes: Vec<&str> = nodes.lines().collect();
    assert_eq!(nodes.len(), 3);
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes, ["n1", "n2"]);
}

#[test]
fn a_deployment_that_is_deleted_takes_its_pods_with_it() {
    let scratch = Scratch::new("cascade");
    scratch.apply(&kontiki_e2e::scratch::web("web", 2));
    scratch.clean(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    scratch.clean(&["delete", "deployment", "web"]);
    eventually("pods and replica sets are gone", || {
        let left = scratch.run(&["get", "pods,replicasets", "-o", "name"]);
        left.stdout.is_empty().then_some(())
    });
}
