//! Full disks, torn logs, a runtime that is down, a clock that is wrong: a clear
//! error, the rest goes on, and nothing acknowledged is lost.

use crate::disruption::{containers, wait_ready};
use kontiki_e2e::{Output, Scratch, cluster, eventually, fixture, kubectl, process};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xtask::cluster::server_process;
use xtask::process::Spec;
use xtask::topology::{API_PORT, Machine};
use xtask::up::service_address;

fn server(number: usize) -> Machine {
    let mut servers = cluster().topology.servers();
    servers.nth(number).expect("three servers").clone()
}

/// The folder of a server's store.
fn store(server: &Machine) -> PathBuf {
    cluster()
        .state()
        .join("data")
        .join(&server.name)
        .join("store")
}

fn kill(server: &Machine) {
    let process = server_process(server);
    let processes = &cluster().processes;
    processes
        .signal(&process, Signal::SIGKILL)
        .expect("is alive");
    eventually("it has ended", || {
        processes.alive(&process).is_none().then_some(())
    });
}

/// kubectl that asks one server and no other.
fn kubectl_at(server: &Machine, args: &[&str]) -> Output {
    let client = &cluster().topology.client().name;
    let net = xtask::netns::path(&cluster().topology.namespace(client));
    let asked = kubectl().command(args);
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", net.display()))
        .arg("--")
        .arg(asked.get_program())
        .args(asked.get_args())
        .arg(format!("--server=https://{}:{API_PORT}", server.address));
    process::run(&mut command)
}

fn all_have_caught_up() {
    eventually("every server has everything", || {
        let revisions = fixture::revisions();
        (revisions.len() == 3 && revisions.iter().max() == revisions.iter().min()).then_some(())
    });
}

fn newest_segment(server: &Machine) -> PathBuf {
    let folder = store(server).join("log/wal");
    let files = std::fs::read_dir(&folder)
        .expect("the log's folder")
        .flatten();
    let segments = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.max().expect("a segment")
}

#[test]
fn a_torn_end_of_the_log_is_cut_and_nothing_acknowledged_is_lost() {
    let victim = server(1);
    let scratch = Scratch::new("torn");
    for number in 0..20 {
        let name = format!("before-{number}");
        scratch.clean(&["create", "configmap", &name]);
    }
    kill(&victim);
    // What a crash in the middle of a write leaves: the start of a record's header
    // (a whole one carries its own checksum, and is never taken for a torn one).
    let torn = [0xab; 20];
    let file = std::fs::OpenOptions::new()
        .append(true)
        .open(newest_segment(&victim));
    file.and_then(|mut file| file.write_all(&torn))
        .expect("appends");
    cluster().start_server(&victim).expect("starts");
    all_have_caught_up();
    let listed = kubectl_at(
        &victim,
        &["get", "configmaps", "-n", &scratch.namespace, "-o", "name"],
    );
    assert_eq!(listed.clean().matches("before-").count(), 20);
    scratch.clean(&["create", "configmap", "after"]);
}

#[test]
fn a_server_with_a_corrupt_log_says_so_and_is_rebuilt_from_the_others() {
    let victim = server(1);
    let scratch = Scratch::new("corrupt");
    scratch.clean(&["create", "configmap", "before"]);
    all_have_caught_up();
    kill(&victim);
    let segment = newest_segment(&victim);
    let mut written = std::fs::read(&segment).expect("reads");
    let middle = written.len() / 2;
    written[middle] ^= 0x40;
    std::fs::write(&segment, written).expect("writes");
    scratch.clean(&["create", "configmap", "meanwhile"]);
    cluster().start_server(&victim).expect("starts");
    let aside = eventually("its data is set aside", || set_aside(&victim));
    all_have_caught_up();
    let log = cluster().processes.log(&server_process(&victim));
    let log = std::fs::read_to_string(log).expect("a log");
    let told = |words: &str| log.lines().any(|line| line.contains(words));
    assert!(told("is corrupt at offset"), "{log}");
    assert!(told("set the corrupt data aside"), "{log}");
    let args = [
        "get",
        "configmap",
        "before",
        "meanwhile",
        "-n",
        &scratch.namespace,
    ];
    let _ = kubectl_at(&victim, &args).clean();
    std::fs::remove_dir_all(aside).expect("removes");
}

/// What was set aside beside a server's store.
fn set_aside(server: &Machine) -> Option<PathBuf> {
    let data = store(server).parent().map(PathBuf::from)?;
    let mut entries = std::fs::read_dir(data).ok()?.flatten();
    let found = entries.find(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("store.corrupt-")
    });
    found.map(|entry| entry.path())
}

/// A small file system under a server's store, with what was in the store. It goes
/// when dropped, and the store stays.
struct SmallDisk {
    server: Machine,
    folder: PathBuf,
    aside: PathBuf,
}

impl SmallDisk {
    fn start(server: &Machine, room_mebibytes: u64) -> Self {
        let processes = &cluster().processes;
        processes.stop(&server_process(server)).expect("stops");
        let folder = store(server);
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside).expect("renames");
        std::fs::create_dir(&folder).expect("makes");
        let used = process::run(Command::new("du").arg("-sm").arg(&aside)).clean();
        let used: u64 = used
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .expect("du prints a number");
        let size = format!("size={}m", used + room_mebibytes);
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&folder);
        let _ = process::run(&mut mount).clean();
        copy(&aside, &folder);
        cluster().start_server(server).expect("starts");
        Self {
            server: server.clone(),
            folder,
            aside,
        }
    }

    /// Writes until nothing more fits; returns the file.
    fn fill(&self) -> PathBuf {
        let path = self.folder.join("filling");
        let mut file = std::fs::File::create(&path).expect("creates");
        let block = vec![1; 64 << 10];
        while file.write_all(&block).is_ok() {}
        let _ = file.write_all(&block[..4096]);
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = cluster().processes.stop(&server_process(&self.server));
        let kept = self.folder.with_extension("kept");
        let _ = std::fs::create_dir(&kept);
        copy(&self.folder, &kept);
        let _ = process::try_run(Command::new("umount").arg(&self.folder), "");
        let _ = std::fs::remove_dir(&self.folder);
        let _ = std::fs::rename(&kept, &self.folder);
        let _ = std::fs::remove_dir_all(&self.aside);
        let _ = cluster().start_server(&self.server);
    }
}

fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from.join(".")).arg(to);
    let _ = process::try_run(&mut copy, "");
}

#[test]
fn a_server_with_a_full_disk_says_so_while_the_others_go_on() {
    let victim = server(2);
    let spared = server(0);
    let scratch = Scratch::new("full");
    let disk = SmallDisk::start(&victim, 16);
    all_have_caught_up();
    let filling = disk.fill();
    let in_namespace = ["-n", scratch.namespace.as_str()];
    for number in 0..30 {
        let name = format!("while-full-{number}");
        let mut args = vec!["create", "configmap", &name, "--from-literal=key=value"];
        args.extend(in_namespace);
        let _ = kubectl_at(&spared, &args).clean();
    }
    eventually("the server says that its disk is full", || {
        let ready = kubectl_at(&victim, &["get", "--raw", "/readyz?verbose"]);
        let said = ready.stdout + &ready.stderr;
        let log = std::fs::read_to_string(cluster().processes.log(&server_process(&victim)));
        (said.contains("[-]")
            && log
                .unwrap_or_default()
                .contains("no space left on the disk"))
        .then_some(())
    });
    std::fs::remove_file(filling).expect("removes");
    all_have_caught_up();
    eventually("it serves again", || {
        let ready = kubectl_at(&victim, &["get", "--raw", "/readyz"]);
        (ready.code == Some(0)).then_some(())
    });
    let mut args = vec!["get", "configmaps", "-o", "name"];
    args.extend(in_namespace);
    let listed = kubectl_at(&victim, &args).clean();
    assert_eq!(listed.matches("while-full-").count(), 30);
    drop(disk);
    all_have_caught_up();
}

#[test]
fn a_node_whose_containerd_is_down_is_not_ready_and_its_containers_run_on() {
    let address = service_address(&kubectl(), "web").expect("an address");
    let before = containers();
    let node = cluster().topology.nodes().last().expect("a node").clone();
    let containerd = format!("{}-containerd", node.name);
    cluster()
        .processes
        .signal(&containerd, Signal::SIGKILL)
        .expect("is alive");
    let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status} {.status.conditions[?(@.type=='Ready')].message}";
    eventually("the node is not ready, and says why", || {
        let said = kubectl().run(&["get", "node", &node.name, "-o", ready]);
        let said = said.unwrap_or_default();
        (said.starts_with("False") && said.contains("container runtime is down")).then_some(())
    });
    for _ in 0..10 {
        cluster()
            .fetch(address, Duration::from_secs(5))
            .expect("the page, from its containers");
    }
    cluster().start_node(&node, &kubectl()).expect("starts");
    wait_ready();
    assert_eq!(containers(), before);
    let scratch = Scratch::new("runtime");
    let pod = kontiki_e2e::pod("back", "echo back; sleep 3600");
    let placed = pod.replace("spec:\n", &format!("spec:\n  nodeName: {}\n", node.name));
    scratch.apply(&placed);
    scratch.clean(&["wait", "--for=condition=Ready", "pod/back", "--timeout=90s"]);
}

/// Preloaded into a server, it shows another time of day than the machine's.
const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn start_with(server: &Machine, env: Vec<(String, String)>) {
    let namespace = cluster().topology.namespace(&server.name);
    let config = store(server).with_file_name("server.yaml");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    cluster()
        .processes
        .ensure(&Spec {
            name: &server_process(server),
            namespace: Some(&namespace),
            command: vec![
                text(cluster().binary()),
                "server".into(),
                "--config".into(),
                text(&config),
            ],
            env,
        })
        .expect("starts");
}

/// A server whose clock can be set. It gets the machine's back when dropped.
struct Skewed {
    server: Machine,
    offset: PathBuf,
}

impl Skewed {
    fn start(server: Machine) -> Self {
        let process = server_process(&server);
        cluster().processes.stop(&process).expect("stops");
        let offset = store(&server).with_file_name("clock-offset");
        let skewed = Self { server, offset };
        skewed.set("+0");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let env = vec![
            pair("LD_PRELOAD", LIBFAKETIME),
            pair("FAKETIME_TIMESTAMP_FILE", &skewed.offset.to_string_lossy()),
            pair("FAKETIME_NO_CACHE", "1"),
            pair("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        start_with(&skewed.server, env);
        skewed
    }

    fn set(&self, offset: &str) {
        std::fs::write(&self.offset, offset).expect("writes");
    }
}

impl Drop for Skewed {
    fn drop(&mut self) {
        let _ = cluster().processes.stop(&server_process(&self.server));
        let _ = cluster().start_server(&self.server);
        let _ = std::fs::remove_file(&self.offset);
    }
}

/// The server that leads the store.
fn leader() -> Machine {
    let dir = cluster().state().join("etcd");
    let mut status = Command::new(cluster().binary());
    status.args(["status", "--json", "--etcd-dir"]).arg(dir);
    eventually("somebody leads", || {
        let rows: Value = serde_json::from_str(&process::run(&mut status).stdout).ok()?;
        let led = rows
            .as_array()?
            .iter()
            .find(|row| row["role"] == "leader")?;
        let mut servers = cluster().topology.servers();
        servers
            .find(|server| led["name"] == server.name.as_str())
            .cloned()
    })
}

#[test]
fn a_clock_that_jumps_ends_no_lease_and_takes_no_node_away() {
    assert!(
        Path::new(LIBFAKETIME).exists(),
        "install the package faketime"
    );
    let before = containers();
    let skewed = Skewed::start(leader());
    all_have_caught_up();
    wait_ready();
    // Whoever leads now hands over to the server whose clock will jump, if it can.
    for other in cluster()
        .topology
        .servers()
        .filter(|other| **other != skewed.server)
    {
        cluster()
            .processes
            .stop(&server_process(other))
            .expect("stops");
        cluster().start_server(other).expect("starts");
        all_have_caught_up();
    }
    wait_ready();
    let scratch = Scratch::new("clock");
    let granted = fixture::etcdctl(&["lease", "grant", "600"]).clean();
    let lease = granted.split_whitespace().nth(1).expect("an id").to_owned();
    let key = format!("clock/{lease}");
    let _ = fixture::etcdctl(&["put", &key, "kept", "--lease", &lease]).clean();
    // Back by less than what certificates are dated back by when they are made.
    for jump in ["+3h", "-3m", "+0"] {
        skewed.set(jump);
        for number in 0..10 {
            let name = format!("after{}-{number}", jump.replace('+', "-plus-"));
            scratch.clean(&["create", "configmap", &name]);
        }
        let nodes = kubectl()
            .run(&["get", "nodes", "-o", "jsonpath={.items[*].spec.taints}"])
            .expect("nodes");
        assert_eq!(nodes.trim(), "", "after a jump by {jump}");
        let kept = fixture::etcdctl(&["get", &key, "--print-value-only"]).clean();
        assert_eq!(kept.trim(), "kept", "after a jump by {jump}");
    }
    assert_eq!(containers(), before);
    let _ = fixture::etcdctl(&["lease", "revoke", &lease]).clean();
    drop(skewed);
    all_have_caught_up();
    wait_ready();
}
