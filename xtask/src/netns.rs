//! Network namespaces: the switch, the machines, and working inside of them.

use crate::shell;
use crate::topology::{Machine, PREFIX, Topology};
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where a namespace is kept.
#[must_use]
pub fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Whether a namespace exists.
#[must_use]
pub fn exists(namespace: &str) -> bool {
    path(namespace).exists()
}

fn ip(args: &[&str]) -> Result<()> {
    shell::output(&mut shell::command("ip", args)).map(drop)
}

/// Makes the switch and every machine's namespace; keeps what is there.
///
/// # Errors
/// If the kernel refuses, for instance without the right to make namespaces.
pub fn create(topology: &Topology) -> Result<()> {
    let switch = topology.switch();
    if !exists(&switch) {
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
    }
    topology
        .machines
        .iter()
        .try_for_each(|machine| create_machine(topology, machine))
}

fn create_machine(topology: &Topology, machine: &Machine) -> Result<()> {
    let namespace = topology.namespace(&machine.name);
    if exists(&namespace) {
        return Ok(());
    }
    let switch = topology.switch();
    let port = format!("p-{}", machine.name);
    let address = format!("{}/{PREFIX}", machine.address);
    ip(&["netns", "add", &namespace])?;
    let made = (|| {
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        let peer = ["peer", "name", &port, "netns", &switch];
        let mut veth = vec!["-n", &namespace, "link", "add", "eth0", "type", "veth"];
        veth.extend(peer);
        ip(&veth)?;
        ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"])
    })();
    if made.is_err() {
        // Half a machine would be taken for a whole one the next time.
        let _ = ip(&["netns", "del", &namespace]);
    }
    made
}

/// Routes a network through a machine, as seen from another.
///
/// # Errors
/// If the kernel refuses.
pub fn route(topology: &Topology, from: &str, network: &str, via: &Machine) -> Result<()> {
    let namespace = topology.namespace(from);
    ip(&[
        "-n",
        &namespace,
        "route",
        "replace",
        network,
        "via",
        &via.address.to_string(),
    ])
}

/// Removes the cluster's namespaces; interfaces go with them.
///
/// # Errors
/// If one cannot be removed.
pub fn remove(topology: &Topology) -> Result<()> {
    let mut names: Vec<String> = topology
        .machines
        .iter()
        .map(|machine| topology.namespace(&machine.name))
        .collect();
    names.push(topology.switch());
    for name in names.iter().filter(|name| exists(name)) {
        ip(&["netns", "del", name])?;
    }
    Ok(())
}

/// Runs `work` on a thread that lives in the namespace. Sockets made there stay
/// in that namespace wherever they are used afterwards.
///
/// # Errors
/// If the namespace cannot be entered; else what `work` answers.
///
/// # Panics
/// If `work` panics.
pub fn inside<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = path(namespace);
    let thread = std::thread::spawn(move || {
        enter(&path)?;
        work()
    });
    thread.join().expect("the work panicked")
}

/// Moves the calling thread into a namespace, for good.
///
/// # Errors
/// If the namespace does not exist or may not be entered.
pub fn enter(path: &Path) -> Result<()> {
    let file = File::open(path)
        .with_context(|| format!("there is no network namespace {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter {}", path.display()))
}
