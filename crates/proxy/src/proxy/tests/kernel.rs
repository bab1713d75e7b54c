//! The rules at work: a node and its pods as network namespaces, real
//! connections through Service addresses.

use super::*;
use crate::nft::{Nft, NftError};
use async_trait::async_trait;
use nix::sched::{CloneFlags, setns};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// A network namespace with namespaces for pods in it; gone when dropped.
struct Node {
    holder: Child,
}

const REFUSED: &str = "connection refused";

const SETUP: &str = r#"
set -e
mount -t tmpfs none /run && mkdir /run/netns
ip link set lo up
ip link add br0 type bridge
ip addr add 10.244.0.1/24 dev br0
ip link set br0 up
echo 1 > /proc/sys/net/ipv4/ip_forward
ip route add 10.96.0.0/12 dev lo src 10.244.0.1
for i in 5 6; do
  ip netns add p$i
  ip link add v$i type veth peer name eth0 netns p$i
  ip link set v$i master br0 up
  bridge link set dev v$i hairpin on
  ip -n p$i addr add 10.244.0.$i/24 dev eth0
  ip -n p$i link set lo up
  ip -n p$i link set eth0 up
  ip -n p$i route add default via 10.244.0.1
  mkdir /run/www$i && echo p$i > /run/www$i/index.html
  ip netns exec p$i busybox httpd -p 8080 -h /run/www$i
done
"#;

impl Node {
    /// `None` where namespaces cannot be made (no root).
    fn new() -> Option<Self> {
        let holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--kill-child",
                "--fork",
                "sleep",
                "infinity",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut node = Self { holder };
        // The child is there as soon as unshare has one; if it may not, it ends.
        loop {
            if node.holder.try_wait().ok()?.is_some() {
                eprintln!("skipped: network namespaces cannot be made here");
                return None;
            }
            if node.target().is_some() {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(node.sh(SETUP), (0, String::new()));
        Some(node)
    }

    /// The process inside.
    fn target(&self) -> Option<String> {
        let pid = self.holder.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child = children.split_whitespace().next()?.to_owned();
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "sleep").then_some(child)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.target().expect("the node lives");
        command.args(["-t", &target, "-n", "-m", "-p", "sh", "-c"]);
        command
    }

    /// Exit code and output.
    fn sh(&self, script: &str) -> (i32, String) {
        let output = self.command().arg(script).output().expect("sh runs");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    /// The network namespace of a pod, or of the node itself.
    fn namespace(&self, name: &str) -> File {
        let target = self.target().expect("the node lives");
        let path = match name {
            "node" => format!("/proc/{target}/ns/net"),
            pod => format!("/proc/{target}/root/run/netns/{pod}"),
        };
        File::open(path).expect("it is there")
    }

    /// Which pods answer when `from` connects many times, or what goes wrong.
    fn answers(&self, from: &str, address: &str) -> String {
        let namespace = self.namespace(from);
        let address: SocketAddr = address.parse().expect("an address");
        // A thread of its own, because the namespace is a thread's.
        let asking = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("may enter");
            (0..16)
                .map(|_| fetch(address).unwrap_or_else(|error| error.kind().to_string()))
                .collect::<BTreeSet<String>>()
        });
        let answers = asking.join().expect("it ends");
        answers.into_iter().collect::<Vec<_>>().join(" ")
    }
}

fn fetch(address: SocketAddr) -> std::io::Result<String> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

struct InNode(Arc<Node>);

#[async_trait]
impl Nft for InNode {
    async fn apply(&self, script: &str) -> Result<(), NftError> {
        let mut child = self
            .0
            .command()
            .arg("nft -f -")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(NftError::Start)?;
        let mut input = child.stdin.take().expect("it is piped");
        input
            .write_all(script.as_bytes())
            .map_err(NftError::Start)?;
        drop(input);
        let output = child.wait_with_output().map_err(NftError::Start)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(NftError::Refused(format!("{text}\n{script}")))
    }
}

fn caches() -> Caches {
    Caches {
        services: Arc::new(ObjectCache::new(Vec::new())),
        endpoint_slices: Arc::new(ObjectCache::new(Vec::new())),
    }
}

fn proxy(node: &Arc<Node>, caches: &Caches) -> Proxy {
    let ranges = vec!["10.244.0.0/16".parse().expect("a range")];
    Proxy {
        config: ProxyConfig::new("me", ranges),
        caches: caches.clone(),
        nft: Arc::new(InNode(node.clone())),
        loaded: None,
    }
}

#[tokio::test]
async fn connections_reach_live_pods_through_every_address_of_a_service() {
    let Some(node) = Node::new().map(Arc::new) else {
        return;
    };
    let caches = caches();
    let spec = plain(json!({
        "type": "NodePort", "externalIPs": ["192.0.2.1"],
        "ports": [{"port": 80, "nodePort": 30080, "targetPort": 8080}]}));
    caches.services.upsert(service("web", spec));
    caches
        .endpoint_slices
        .upsert(slice("web", http(), &["10.244.0.5", "10.244.0.6"]));
    let mut proxy = proxy(&node, &caches);
    assert!(proxy.sync().await.expect("loaded"));
    let both = "p5 p6";
    assert_eq!(node.answers("node", "10.96.0.10:80"), both);
    // Among the answers is the pod's own: hairpin.
    assert_eq!(node.answers("p5", "10.96.0.10:80"), both);
    assert_eq!(node.answers("p6", "10.244.0.1:30080"), both);
    assert_eq!(node.answers("p6", "192.0.2.1:80"), both);
    assert_eq!(node.answers("p6", "10.96.0.10:81"), REFUSED, "no such port");

    caches
        .endpoint_slices
        .upsert(slice("web", http(), &["10.244.0.5", "!10.244.0.6"]));
    assert!(
        !proxy.sync().await.expect("changed"),
        "only the difference is loaded"
    );
    for address in ["10.96.0.10:80", "10.244.0.1:30080"] {
        assert_eq!(node.answers("p6", address), "p5");
    }
    caches.endpoint_slices.remove("ns/web-x");
    proxy.sync().await.expect("changed");
    assert_eq!(
        node.answers("p5", "10.96.0.10:80"),
        REFUSED,
        "not left hanging"
    );
    caches
        .endpoint_slices
        .upsert(slice("web", http(), &["~10.244.0.6"]));
    proxy.sync().await.expect("changed");
    assert_eq!(node.answers("p5", "10.96.0.10:80"), "p6", "it still drains");

    caches.services.remove("ns/web");
    proxy.sync().await.expect("changed");
    let left = "nft list ruleset | grep -c 10.96.0.10";
    assert_eq!(node.sh(left).1, "0", "no rule is left of it");
    cleanup(&InNode(node.clone())).await.expect("removed");
    assert_eq!(node.sh("nft list tables"), (0, String::new()));
}

#[tokio::test]
async fn a_client_stays_at_its_destination() {
    let Some(node) = Node::new().map(Arc::new) else {
        return;
    };
    let caches = caches();
    let spec = plain(json!({"sessionAffinity": "ClientIP"}));
    caches.services.upsert(service("web", spec));
    caches
        .endpoint_slices
        .upsert(slice("web", http(), &["10.244.0.5", "10.244.0.6"]));
    let mut proxy = proxy(&node, &caches);
    proxy.sync().await.expect("loaded");
    let first = node.answers("node", "10.96.0.10:80");
    assert!(["p5", "p6"].contains(&&*first), "one and the same: {first}");
    // The pod that is left takes over.
    let left = if first == "p5" {
        "10.244.0.6"
    } else {
        "10.244.0.5"
    };
    caches.endpoint_slices.upsert(slice("web", http(), &[left]));
    proxy.sync().await.expect("changed");
    assert_ne!(node.answers("node", "10.96.0.10:80"), first);
}

#[tokio::test]
async fn every_written_down_ruleset_is_accepted_by_the_kernel() {
    let Some(node) = Node::new().map(Arc::new) else {
        return;
    };
    let nft = InNode(node);
    let nothing = rules(&[], &[]).script_from(None);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for file in std::fs::read_dir(directory).expect("a directory") {
        let path = file.expect("a file").path();
        if path.ends_with("endpoint-gone.nft") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        nft.apply(&format!("{nothing}{text}"))
            .await
            .expect("accepted");
    }
    let v6 = json!({"clusterIP": "fd00::10", "clusterIPs": ["fd00::10"], "sessionAffinity": "ClientIP",
        "ports": [{"port": 80, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]});
    let slices = [slice("web", http(), &["fd00::1:5", "fd00::1:6"])];
    let ports = service_ports(&[service("web", v6)], &slices, "me");
    let set = Ruleset::build(
        Family::V6,
        ports.values(),
        &["fd00::1:0/112".parse().expect("a range")],
    );
    nft.apply(&set.script_from(None)).await.expect("accepted");
}

#[tokio::test]
async fn a_running_proxy_follows_its_caches() {
    let Some(node) = Node::new().map(Arc::new) else {
        return;
    };
    struct Telling(InNode, tokio::sync::mpsc::UnboundedSender<String>);
    #[async_trait]
    impl Nft for Telling {
        async fn apply(&self, script: &str) -> Result<(), NftError> {
            self.0.apply(script).await?;
            let _ = self.1.send(script.to_owned());
            Ok(())
        }
    }
    let caches = caches();
    let (sender, mut applied) = tokio::sync::mpsc::unbounded_channel();
    let nft = Arc::new(Telling(InNode(node.clone()), sender));
    let cancel = CancellationToken::new();
    let config = ProxyConfig::new("me", Vec::new());
    let metrics = config.metrics.clone();
    let running = tokio::spawn(Proxy::run(config, caches.clone(), nft, cancel.clone()));
    applied.recv().await.expect("the empty frame");
    caches.services.upsert(service("web", plain(json!({}))));
    applied.recv().await.expect("the Service");
    caches
        .endpoint_slices
        .upsert(slice("web", http(), &["10.244.0.5"]));
    let change = applied.recv().await.expect("its endpoint");
    assert!(
        !change.contains("delete table"),
        "only the difference: {change}"
    );
    assert_eq!(node.answers("p6", "10.96.0.10:80"), "p5");
    cancel.cancel();
    running.await.expect("it ends");
    assert_eq!(metrics.sync_failures.get(), 0);
    assert!(metrics.last_sync.get() > 0);
}
