//! The shared cluster and the kubectl binaries.

use crate::process::Output;
use anyhow::Result;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use xtask::cluster::Cluster;
use xtask::kubectl::Kubectl;
use xtask::progress::Steps;
use xtask::topology::Topology;
use xtask::{build, install, up};

/// The kubectl versions that every command is tried with.
pub const VERSIONS: [&str; 4] = ["1.27", "1.32", "1.36", "1.37"];
/// The cluster's name.
pub const CLUSTER: &str = xtask::suite::E2E_CLUSTER;
const NEWEST_SAME: &str = "1.36";

/// A handle on the cluster, which is brought up if it is not.
///
/// # Panics
/// If it cannot be brought up.
pub fn cluster() -> &'static Cluster {
    static UP: OnceLock<Cluster> = OnceLock::new();
    UP.get_or_init(|| {
        bring_up().unwrap_or_else(|error| panic!("the cluster does not come up: {error:#}"))
    })
}

/// Another handle on it, for code that wants one of its own.
///
/// # Errors
/// If its state cannot be read.
pub fn handle() -> Result<Cluster> {
    Cluster::new(topology(), cluster().binary())
}

fn topology() -> Topology {
    Topology::new(CLUSTER, 3, 2)
}

fn bring_up() -> Result<Cluster> {
    install::require_root("to make network namespaces and containers")?;
    let steps = Steps::new();
    steps.step("packages", |step| {
        install::run_packages(step)?;
        install::test_packages(step)
    })?;
    let binary = steps.step("kontiki", |step| build::release(step, "kontiki"))?;
    let cluster = Cluster::new(topology(), &binary)?;
    let kubectl = Kubectl::new(&binary_of(NEWEST_SAME), &cluster.kubeconfig());
    up::bring_up(&steps, &cluster, &kubectl)?;
    Ok(cluster)
}

fn binary_of(version: &str) -> PathBuf {
    let steps = Steps::new();
    steps
        .step(&format!("kubectl {version}"), |step| {
            install::kubectl(version, step)
        })
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// kubectl of the version whose API the product serves, as administrator.
#[must_use]
pub fn kubectl() -> Kubectl {
    kubectl_of(NEWEST_SAME)
}

/// kubectl of one version, as administrator.
///
/// # Panics
/// If it cannot be fetched.
#[must_use]
pub fn kubectl_of(version: &str) -> Kubectl {
    Kubectl::new(&binary_of(version), &cluster().kubeconfig())
}

/// etcdctl against every member.
///
/// # Panics
/// If it cannot be run.
#[track_caller]
#[must_use]
pub fn etcdctl(args: &[&str]) -> Output {
    crate::run(&mut etcdctl_for(&endpoints().join(","), args))
}

/// etcdctl against one member.
#[must_use]
pub fn etcdctl_at(member: usize, args: &[&str]) -> Command {
    etcdctl_for(&endpoints()[member], args)
}

fn etcdctl_for(endpoints: &str, args: &[&str]) -> Command {
    let dir = cluster().state().join("etcd");
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", endpoints)
        .env("ETCDCTL_CACERT", dir.join("ca.crt"))
        .env("ETCDCTL_CERT", dir.join("client.crt"))
        .env("ETCDCTL_KEY", dir.join("client.key"))
        .args(args);
    command
}

fn endpoints() -> Vec<String> {
    let ports = cluster().ports().expect("the ports are chosen");
    ports
        .etcd
        .iter()
        .map(|port| format!("https://127.0.0.1:{port}"))
        .collect()
}

/// The revision of every member that answers.
#[must_use]
pub fn revisions() -> Vec<i64> {
    let answered = etcdctl(&["endpoint", "status", "-w", "json"]).stdout;
    let status: Value = serde_json::from_str(&answered).unwrap_or_default();
    let members = status.as_array().cloned().unwrap_or_default();
    members
        .iter()
        .filter_map(|member| member["Status"]["header"]["revision"].as_i64())
        .collect()
}
