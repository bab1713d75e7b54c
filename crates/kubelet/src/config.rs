//! What an operator can set.

use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who manages control groups; it must be the same as the container runtime's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The kubelet and the runtime write to the control group file system.
    #[default]
    Cgroupfs,
    /// systemd does, and groups are slices.
    Systemd,
}

/// A taint with which a node is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// The settings of one kubelet.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// Name of the node.
    pub node_name: String,
    /// The node's address, as other nodes reach it.
    pub node_ip: IpAddr,
    /// What else the node's process counts: served with the kubelet's own metrics.
    pub metrics: Arc<Registry>,
    /// Where volumes and pod files lie.
    pub root_dir: PathBuf,
    /// The container runtime's socket.
    pub cri_socket: PathBuf,
    /// Where container logs lie.
    pub log_dir: PathBuf,
    /// Who manages control groups.
    pub cgroup_driver: CgroupDriver,
    /// The control group below which `kubepods` lies, for instance `/`.
    pub cgroup_root: String,
    /// Addresses of the cluster's name servers.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The host's resolver configuration, for pods that use it.
    pub resolv_conf: PathBuf,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Labels with which the node is registered.
    pub node_labels: BTreeMap<String, String>,
    /// Taints with which the node is registered.
    pub node_taints: Vec<Taint>,
    /// What is kept from pods, in thousandths of a processor.
    pub reserved_cpu_milli: u64,
    /// What is kept from pods, in bytes.
    pub reserved_memory_bytes: u64,
    /// How often the runtime is asked what runs when it cannot tell by itself.
    pub relist_period: Duration,
    /// How often a pod is looked at without a cause, for volumes that follow their sources.
    pub sync_period: Duration,
    /// How often the node's status is computed; it is written when it changed or every five minutes.
    pub node_status_period: Duration,
    /// How often the node says that it lives.
    pub heartbeat_period: Duration,
    /// A container's log is rotated at this size, in bytes.
    pub container_log_bytes_max: u64,
    /// How many files a container's log may have, the current one included.
    pub container_log_files_max: usize,
    /// How many images are pulled at once.
    pub parallel_pulls_max: usize,
    /// The port that the node's status names for the kubelet's API.
    pub kubelet_port: u16,
    /// The version that the node's status names.
    pub version: String,
}

impl KubeletConfig {
    /// Upstream's defaults for a node of this name and address.
    #[must_use]
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr) -> Self {
        Self {
            node_name: node_name.into(),
            node_ip,
            metrics: Arc::default(),
            root_dir: "/var/lib/kubelet".into(),
            cri_socket: "/run/containerd/containerd.sock".into(),
            log_dir: "/var/log/pods".into(),
            cgroup_driver: CgroupDriver::default(),
            cgroup_root: "/".to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: "/etc/resolv.conf".into(),
            max_pods: 110,
            node_labels: BTreeMap::new(),
            node_taints: Vec::new(),
            reserved_cpu_milli: 0,
            reserved_memory_bytes: 100 << 20,
            relist_period: Duration::from_secs(1),
            sync_period: Duration::from_secs(60),
            node_status_period: Duration::from_secs(10),
            heartbeat_period: Duration::from_secs(10),
            container_log_bytes_max: 10 << 20,
            container_log_files_max: 5,
            parallel_pulls_max: 4,
            kubelet_port: 10_250,
            version: "v1.36.2".to_owned(),
        }
    }
}
