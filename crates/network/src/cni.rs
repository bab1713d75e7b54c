//! The configuration of the CNI plugins.

use ipnet::IpNet;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What the plugins' configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniConfig {
    /// Where the configuration is written, for instance `/etc/cni/net.d/10-kontiki.conflist`.
    pub path: PathBuf,
    /// The version of the specification; `1.0.0`, or `0.4.0` for old runtimes.
    pub version: String,
    /// The bridge that pods are attached to.
    pub bridge: String,
    /// The size of packets; 0 for the plugin's choice.
    pub mtu: u32,
    /// Whether host ports are mapped (by the plugin `portmap`, which needs iptables).
    pub port_map: bool,
    /// Where addresses in use are noted; empty for the plugin's choice.
    pub state_directory: Option<PathBuf>,
}

impl Default for CniConfig {
    fn default() -> Self {
        Self {
            path: "/etc/cni/net.d/10-kontiki.conflist".into(),
            version: "1.0.0".into(),
            bridge: "cni0".into(),
            mtu: 0,
            port_map: true,
            state_directory: None,
        }
    }
}

/// The configuration list for a node's pod ranges.
#[must_use]
pub fn conflist(config: &CniConfig, pod_ranges: &[IpNet]) -> Value {
    let ranges: Vec<Value> = pod_ranges
        .iter()
        .map(|range| json!([{"subnet": range.to_string()}]))
        .collect();
    let routes: Vec<Value> = pod_ranges
        .iter()
        .map(|range| match range {
            IpNet::V4(_) => json!({"dst": "0.0.0.0/0"}),
            IpNet::V6(_) => json!({"dst": "::/0"}),
        })
        .collect();
    let mut ipam = json!({"type": "host-local", "ranges": ranges, "routes": routes});
    if let Some(directory) = &config.state_directory {
        ipam["dataDir"] = directory.display().to_string().into();
    }
    let mut bridge = json!({
        "type": "bridge",
        "bridge": config.bridge,
        "isGateway": true,
        // Masquerading is the node's own business, see `network`.
        "ipMasq": false,
        // A pod may reach itself through a Service.
        "hairpinMode": true,
        "forceAddress": true,
        "ipam": ipam,
    });
    if config.mtu > 0 {
        bridge["mtu"] = config.mtu.into();
    }
    let mut plugins = vec![bridge];
    if config.port_map {
        plugins.push(json!({
            "type": "portmap", "snat": true, "capabilities": {"portMappings": true},
        }));
    }
    json!({"cniVersion": config.version, "name": "kontiki", "plugins": plugins})
}
