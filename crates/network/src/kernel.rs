//! Carrying a plan out with iproute2 and nftables.

use crate::plan::{DEVICE, Peer, ROUTE_PROTOCOL, Route, VXLAN_ID, VXLAN_PORT, vxlan_mac};
use ipnet::Ipv4Net;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Our nftables table.
pub const TABLE: &str = "kontiki-network";

/// A tool that failed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The tool could not be run.
    #[error("cannot run {tool}: {source}; is it installed?")]
    Run {
        /// The tool.
        tool: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The tool failed.
    #[error("{command}: {message}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
}

async fn run(
    tool: &'static str,
    args: &[&str],
    input: Option<&str>,
) -> Result<String, KernelError> {
    let source = |source| KernelError::Run { tool, source };
    let mut child = Command::new(tool)
        .args(args)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(source)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await.map_err(source)?;
    }
    let output = child.wait_with_output().await.map_err(source)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(KernelError::Failed {
        command: format!("{tool} {}", args.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

async fn ip(args: &[&str]) -> Result<String, KernelError> {
    run("ip", args, None).await
}

/// Whether an address is on a link of this node, that is, reached without a router.
///
/// # Errors
/// If the kernel has no route to it at all.
pub async fn is_on_link(address: Ipv4Addr) -> Result<bool, KernelError> {
    let answer = ip(&["-j", "route", "get", &address.to_string()]).await?;
    let routes: Value = serde_json::from_str(&answer).unwrap_or_default();
    Ok(routes[0]["gateway"].is_null())
}

/// Our routes, as the kernel has them.
///
/// # Errors
/// If they cannot be listed.
pub async fn present() -> Result<BTreeSet<Route>, KernelError> {
    let answer = ip(&["-j", "route", "show", "proto", &ROUTE_PROTOCOL.to_string()]).await?;
    let routes: Value = serde_json::from_str(&answer).unwrap_or_default();
    let neighbours: Value = serde_json::from_str(
        &run("bridge", &["-j", "fdb", "show", "dev", DEVICE], None)
            .await
            .unwrap_or_default(),
    )
    .unwrap_or_default();
    let routes = routes.as_array().into_iter().flatten();
    Ok(routes
        .filter_map(|route| read_route(route, &neighbours))
        .collect())
}

fn read_route(route: &Value, neighbours: &Value) -> Option<Route> {
    let destination = route["dst"].as_str()?;
    let pods: Ipv4Net = destination
        .parse()
        .or_else(|_| format!("{destination}/32").parse())
        .ok()?;
    let gateway: Ipv4Addr = route["gateway"].as_str()?.parse().ok()?;
    if route["dev"] != DEVICE {
        return Some(Route::Direct(Peer {
            address: gateway,
            pods,
        }));
    }
    // The gateway is the other node's network; its address stands in the
    // forwarding table, under a MAC made from it.
    let address = neighbours.as_array()?.iter().find_map(|entry| {
        let address: Ipv4Addr = entry["dst"].as_str()?.parse().ok()?;
        (entry["mac"].as_str()? == vxlan_mac(address) && gateway == pods.network())
            .then_some(address)
    });
    address.map(|address| Route::Vxlan(Peer { address, pods }))
}

/// Makes the VXLAN device unless it is there.
///
/// # Errors
/// If the kernel refuses.
pub async fn ensure_device(own: Ipv4Addr, pods: Ipv4Net) -> Result<(), KernelError> {
    if ip(&["link", "show", DEVICE]).await.is_err() {
        let (id, port, local) = (
            VXLAN_ID.to_string(),
            VXLAN_PORT.to_string(),
            own.to_string(),
        );
        let add = [
            "link",
            "add",
            DEVICE,
            "address",
            &vxlan_mac(own),
            "type",
            "vxlan",
        ];
        let mut add = add.to_vec();
        add.extend(["id", &id, "dstport", &port, "local", &local, "nolearning"]);
        ip(&add).await?;
    }
    let address = format!("{}/32", pods.network());
    ip(&["addr", "replace", &address, "dev", DEVICE]).await?;
    ip(&["link", "set", DEVICE, "up"]).await.map(drop)
}

/// Adds or replaces a route.
///
/// # Errors
/// If the kernel refuses.
pub async fn add(route: &Route) -> Result<(), KernelError> {
    let protocol = ROUTE_PROTOCOL.to_string();
    let peer = route.peer();
    let (pods, address) = (peer.pods.to_string(), peer.address.to_string());
    match route {
        Route::Direct(_) => {
            ip(&[
                "route", "replace", &pods, "via", &address, "proto", &protocol,
            ])
            .await?;
        }
        Route::Vxlan(_) => {
            let (gateway, mac) = (peer.pods.network().to_string(), vxlan_mac(peer.address));
            ip(&[
                "neigh",
                "replace",
                &gateway,
                "lladdr",
                &mac,
                "dev",
                DEVICE,
                "nud",
                "permanent",
            ])
            .await?;
            run(
                "bridge",
                &["fdb", "replace", &mac, "dev", DEVICE, "dst", &address],
                None,
            )
            .await?;
            let route = [
                "route", "replace", &pods, "via", &gateway, "dev", DEVICE, "onlink", "proto",
                &protocol,
            ];
            ip(&route).await?;
        }
    }
    Ok(())
}

/// Removes a route.
///
/// # Errors
/// If the kernel refuses.
pub async fn remove(route: &Route) -> Result<(), KernelError> {
    let peer = route.peer();
    ip(&[
        "route",
        "del",
        &peer.pods.to_string(),
        "proto",
        &ROUTE_PROTOCOL.to_string(),
    ])
    .await?;
    if let Route::Vxlan(_) = route {
        let (gateway, mac) = (peer.pods.network().to_string(), vxlan_mac(peer.address));
        // They may be gone with the device.
        let _ = ip(&["neigh", "del", &gateway, "dev", DEVICE]).await;
        let _ = run(
            "bridge",
            &[
                "fdb",
                "del",
                &mac,
                "dev",
                DEVICE,
                "dst",
                &peer.address.to_string(),
            ],
            None,
        )
        .await;
    }
    Ok(())
}

/// The rules that hide pods behind the node when they talk to what is outside
/// the cluster.
#[must_use]
pub fn masquerade_rules(pods: Ipv4Net, cluster: Ipv4Net) -> String {
    format!(
        "table ip {TABLE}\n\
         delete table ip {TABLE}\n\
         table ip {TABLE} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {pods} ip daddr != {cluster} ip daddr != 224.0.0.0/4 oifname != \"lo\" masquerade\n\
         \t}}\n\
         }}\n"
    )
}

/// Loads the masquerading rules.
///
/// # Errors
/// If nft refuses.
pub async fn masquerade(pods: Ipv4Net, cluster: Ipv4Net) -> Result<(), KernelError> {
    run("nft", &["-f", "-"], Some(&masquerade_rules(pods, cluster)))
        .await
        .map(drop)
}

/// Switches that a node's network needs.
const SYSCTLS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    // Replies between two pods of one bridge pass the rules that undo the
    // Service address only if bridged packets are seen by them.
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
];

/// Sets the kernel's switches; returns those that could not be set, with the reason.
#[must_use]
pub fn sysctls() -> Vec<(String, std::io::Error)> {
    let set = |(name, value): &(&str, &str)| {
        let path = format!("/proc/sys/{name}");
        if std::fs::read_to_string(&path).is_ok_and(|present| present.trim() == *value) {
            return None;
        }
        std::fs::write(path, value)
            .err()
            .map(|error| (name.replace('/', "."), error))
    };
    SYSCTLS.iter().filter_map(set).collect()
}

/// Removes what this crate has made.
///
/// # Errors
/// If the kernel refuses.
pub async fn cleanup() -> Result<(), KernelError> {
    for route in present().await? {
        remove(&route).await?;
    }
    let _ = ip(&["link", "del", DEVICE]).await;
    let _ = run("nft", &["delete", "table", "ip", TABLE], None).await;
    Ok(())
}
