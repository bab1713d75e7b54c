//! A containerd of its own for each node.

use std::path::{Path, PathBuf};

/// Where a node's containerd keeps what.
#[derive(Clone, Debug)]
pub struct Containerd {
    /// Images and snapshots.
    pub root: PathBuf,
    /// Socket, shims' state and the pods' network namespaces.
    pub run: PathBuf,
    /// CNI configuration, written by the agent.
    pub cni: PathBuf,
}

impl Containerd {
    /// Below a node's state folder, with its sockets below `run`.
    #[must_use]
    pub fn new(state: &Path, run: &Path) -> Self {
        Self {
            root: state.join("containerd"),
            run: run.to_owned(),
            cni: state.join("cni"),
        }
    }

    /// The socket that the agent and `ctr` use.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    /// The configuration file's content.
    #[must_use]
    pub fn config(&self, sandbox_image: &str, stream_port: u16) -> String {
        let (root, run, cni) = (self.root.display(), self.run.display(), self.cni.display());
        let socket = self.socket();
        let socket = socket.display();
        // Without CAP_SYS_RESOURCE no process may lower its OOM score.
        format!(
            r#"version = 2
root = "{root}"
state = "{run}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "{stream_port}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{run}/runc"
"#
        )
    }
}
