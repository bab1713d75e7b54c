//! Stale UDP flows.
//!
//! A UDP "connection" lives as long as packets keep coming, so a client that
//! never pauses would be sent to a dead destination for ever.

use crate::service::{Destination, Protocol, ServicePort, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::process::Command;

/// Flows to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stale {
    /// Those that were sent to a destination that is gone.
    To(IpAddr, Destination),
    /// Those that began when there was no destination.
    Before(IpAddr, u16),
}

fn udp_destinations(port: &ServicePort) -> BTreeSet<Destination> {
    let mut all = BTreeSet::new();
    for traffic in [&port.internal, &port.external] {
        if let Traffic::To(destinations) = traffic {
            all.extend(destinations);
        }
    }
    all
}

/// What a change of Service ports makes stale.
pub(crate) fn stale(
    old: &BTreeMap<String, ServicePort>,
    new: &BTreeMap<String, ServicePort>,
) -> BTreeSet<Stale> {
    let mut found = BTreeSet::new();
    let is_udp = |port: &&ServicePort| port.protocol == Protocol::Udp;
    for port in old.values().filter(is_udp) {
        let now = new
            .get(&port.name)
            .map(udp_destinations)
            .unwrap_or_default();
        for gone in udp_destinations(port).difference(&now) {
            for address in port.cluster_ips.iter().chain(&port.external_ips) {
                found.insert(Stale::To(*address, *gone));
            }
        }
    }
    for port in new.values().filter(is_udp) {
        let before = old
            .get(&port.name)
            .map(udp_destinations)
            .unwrap_or_default();
        if before.is_empty() && !udp_destinations(port).is_empty() {
            for address in port.cluster_ips.iter().chain(&port.external_ips) {
                found.insert(Stale::Before(*address, port.port));
            }
        }
    }
    found
}

/// Longer than the program takes for a table of a million flows.
const FORGET_TIMEOUT: Duration = Duration::from_secs(20);

/// Forgets them. Without the `conntrack` program they time out by themselves.
pub(crate) async fn forget(flows: BTreeSet<Stale>) {
    for flow in &flows {
        let mut command = Command::new("conntrack");
        command.args(["-D", "-p", "udp"]).kill_on_drop(true);
        match flow {
            Stale::To(address, gone) => command
                .args(["--orig-dst", &address.to_string()])
                .args(["--dst-nat", &gone.ip().to_string()]),
            Stale::Before(address, port) => command
                .args(["--orig-dst", &address.to_string()])
                .args(["--orig-port-dst", &port.to_string()]),
        };
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        // It fails when there is no such flow, which is as good.
        match tokio::time::timeout(FORGET_TIMEOUT, command.status()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "conntrack cannot be run; stale UDP flows will time out");
                return;
            }
            Err(_) => {
                tracing::warn!(
                    ?flow,
                    "conntrack does not end; stale UDP flows will time out"
                );
            }
        }
    }
}
