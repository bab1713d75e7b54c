//! The table that `cargo xtask up` ends with.

use crate::cluster::Cluster;
use crate::kubectl::Kubectl;
use crate::shell;
use anyhow::Result;
use serde_json::Value;
use std::fmt::Write as _;

/// The store's members as they see themselves; empty if they cannot be asked.
fn members(cluster: &Cluster) -> Vec<Value> {
    let dir = cluster.state().join("etcd");
    let mut status = shell::command(&cluster.binary().to_string_lossy(), ["status", "--json"]);
    status.arg("--etcd-dir").arg(dir);
    let rows = shell::output(&mut status).and_then(|text| Ok(serde_json::from_str(&text)?));
    rows.unwrap_or_default()
}

fn items(kubectl: &Kubectl, args: &[&str]) -> Result<Vec<Value>> {
    let mut args = args.to_vec();
    args.extend(["-o", "json"]);
    let list: Value = serde_json::from_str(&kubectl.run(&args)?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Members, leases, nodes, pods, addresses, and what to try next.
///
/// # Errors
/// If the cluster cannot be asked.
pub fn table(cluster: &Cluster, kubectl: &Kubectl, page: &str) -> Result<String> {
    let mut out = String::new();
    let ports = cluster.ports()?;
    let members = members(cluster);
    writeln!(out, "MEMBERS")?;
    for server in cluster.topology.servers() {
        let running = cluster
            .processes
            .alive(&crate::cluster::server_process(server))
            .is_some();
        let member = members.iter().find(|row| text(&row["name"]) == server.name);
        let role = match (running, member) {
            (true, Some(row)) => text(&row["role"]),
            (true, None) => "running",
            (false, _) => "stopped",
        };
        writeln!(
            out,
            "  {:<8} {:<12} {role}",
            server.name,
            server.address.to_string()
        )?;
    }
    writeln!(out, "LEASES")?;
    for lease in items(kubectl, &["get", "leases", "-n", "kube-system"])? {
        let name = text(&lease["metadata"]["name"]);
        if ["kube-scheduler", "kube-controller-manager"].contains(&name) {
            writeln!(
                out,
                "  {name:<24} {}",
                text(&lease["spec"]["holderIdentity"])
            )?;
        }
    }
    writeln!(out, "NODES")?;
    for node in items(kubectl, &["get", "nodes"])? {
        let addresses = node["status"]["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let address = addresses
            .iter()
            .find(|address| address["type"] == "InternalIP");
        writeln!(
            out,
            "  {:<8} {:<12} pods {}",
            text(&node["metadata"]["name"]),
            address.map_or("-", |address| text(&address["address"])),
            text(&node["spec"]["podCIDR"]),
        )?;
    }
    writeln!(out, "PODS")?;
    for pod in items(kubectl, &["get", "pods"])? {
        writeln!(
            out,
            "  {:<24} {:<10} {:<8} {}",
            text(&pod["metadata"]["name"]),
            text(&pod["status"]["phase"]),
            text(&pod["spec"]["nodeName"]),
            text(&pod["status"]["podIP"]),
        )?;
    }
    let kubeconfig = cluster.kubeconfig();
    writeln!(out, "API     https://127.0.0.1:{}", ports.api)?;
    writeln!(out, "PAGE    {}", page.trim())?;
    writeln!(out, "\nNext:")?;
    writeln!(out, "  export KUBECONFIG={}", kubeconfig.display())?;
    writeln!(out, "  kubectl get pods -A -o wide")?;
    writeln!(out, "  kubectl logs deploy/web")?;
    if cluster.topology.servers().count() > 1 {
        writeln!(out, "  cargo xtask failover")?;
    }
    writeln!(out, "  cargo xtask down")?;
    Ok(out)
}
