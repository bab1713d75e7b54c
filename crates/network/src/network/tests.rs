use super::*;
use kontiki_object::{Object, SharedObject};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use std::process::Command;

fn node(name: &str, address: &str, range: &str) -> SharedObject {
    let tree = json!({
        "metadata": {"name": name}, "spec": {"podCIDR": range, "podCIDRs": [range]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    });
    Arc::new(Object::from_value(tree).expect("a map"))
}

fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", script])
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(
        output.status.success(),
        "{script}: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The kernel part runs in a network namespace of this thread's own.
#[test]
fn routes_rules_and_configuration_follow_the_nodes() {
    let thread = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: network namespaces cannot be made here");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(follow_nodes());
    });
    thread.join().expect("it passes");
}

async fn follow_nodes() {
    sh(
        "ip link set lo up && ip link add eth0 type veth peer name eth1 && ip link set eth1 up && ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up",
    );
    let directory = std::env::temp_dir().join(format!("kontiki-network-{}", std::process::id()));
    let mut config = NetworkConfig::new("a", vec!["10.244.0.0/16".parse().expect("a range")]);
    config.cni.path = directory.join("10-kontiki.conflist");
    config.service_ranges = vec!["10.96.0.0/12".parse().expect("a range")];
    config.local_addresses = vec!["10.96.0.10".parse().expect("an address")];
    let nodes = Arc::new(ObjectCache::new(Vec::new()));
    nodes.upsert(node("a", "192.0.2.1", "10.244.0.0/24"));
    nodes.upsert(node("b", "192.0.2.2", "10.244.1.0/24"));
    nodes.upsert(node("c", "198.51.100.3", "10.244.2.0/24"));
    sh("ip route add default via 192.0.2.254");
    let mut network = Network {
        kernel: Kernel::open().expect("a socket"),
        config,
        nodes: nodes.clone(),
        applied: Desired::default(),
        rules: String::new(),
    };
    network.sync().await.expect("set up");
    let routes = sh("ip route show proto 107");
    assert!(
        routes.contains("10.244.1.0/24 via 192.0.2.2 dev eth0"),
        "{routes}"
    );
    assert!(
        routes.contains("10.244.2.0/24 via 10.244.2.0 dev kontiki0 onlink"),
        "{routes}"
    );
    assert!(
        routes.contains("10.96.0.0/12 dev lo scope link src 192.0.2.1"),
        "{routes}"
    );
    assert!(sh("bridge fdb show dev kontiki0").contains("0a:6b:c6:33:64:03 dst 198.51.100.3"));
    assert!(sh("ip neigh show dev kontiki0").contains("10.244.2.0 lladdr 0a:6b:c6:33:64:03"));
    assert!(sh("ip addr show dev lo").contains("10.96.0.10/32"));
    assert!(sh("nft list table ip kontiki-network").contains("masquerade"));
    let written = std::fs::read_to_string(&network.config.cni.path).expect("written");
    assert!(written.contains("10.244.0.0/24"));

    network.sync().await.expect("nothing to do");
    assert_eq!(sh("ip route show proto 107"), routes);

    nodes.remove("b");
    nodes.upsert(node("c", "192.0.2.3", "10.244.2.0/24"));
    network.sync().await.expect("changed");
    let routes = sh("ip route show proto 107");
    assert!(!routes.contains("10.244.1.0/24"), "{routes}");
    assert!(
        routes.contains("10.244.2.0/24 via 192.0.2.3 dev eth0"),
        "{routes}"
    );
    assert!(!sh("bridge fdb show dev kontiki0").contains("198.51.100.3"));

    sh("ip route del 10.244.2.0/24");
    network.sync().await.expect("repaired");
    assert!(sh("ip route show proto 107").contains("10.244.2.0/24"));
    std::fs::remove_dir_all(directory).expect("was made");
}
