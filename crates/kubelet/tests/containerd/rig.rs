//! A container runtime of the test's own: its directories, its socket, its
//! network namespace, its images.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

pub struct Rig {
    pub root: tempfile::TempDir,
    pub cgroup_root: String,
    containerd: Child,
}

/// What the tests cannot do without; the first that is missing.
pub fn missing() -> Option<&'static str> {
    let found = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(name).exists())
    };
    let programs = [
        "containerd",
        "runc",
        "ctr",
        "unshare",
        "tar",
        "busybox",
        "ip",
    ];
    programs
        .into_iter()
        .find(|name| !found(name))
        .or_else(|| (!Path::new("/usr/lib/cni/bridge").exists()).then_some("/usr/lib/cni/bridge"))
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program can be started");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Rig {
    /// Starts a runtime. To be called in fresh namespaces.
    pub fn start(cgroup_root: String) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        write_configuration(root.path());
        let log = std::fs::File::create(root.path().join("containerd.log")).expect("created");
        let containerd = Command::new("containerd")
            .arg("-c")
            .arg(root.path().join("containerd.toml"))
            .stderr(log)
            .spawn()
            .expect("containerd can be started");
        let rig = Self {
            root,
            cgroup_root,
            containerd,
        };
        rig.wait();
        rig.image("localhost/busybox:1", r#"["/bin/sh"]"#);
        rig.image(
            "localhost/pause:1",
            r#"["/bin/sh","-c","trap exit TERM INT; sleep 2147483647 & wait"]"#,
        );
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("-a")
            .arg(self.path("containerd.sock"))
            .args(["-n", "k8s.io"]);
        ctr
    }

    fn wait(&self) {
        let answers = |_: &u32| {
            let answered = self
                .ctr()
                .arg("version")
                .output()
                .expect("ctr can be started")
                .status
                .success();
            if !answered {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            answered
        };
        assert!(
            (0..600).any(|attempt| answers(&attempt)),
            "containerd does not answer: {}",
            self.log()
        );
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("containerd.log")).unwrap_or_default()
    }

    /// Puts an image of nothing but busybox into the runtime.
    fn image(&self, name: &str, command: &str) {
        let work = self.path("image");
        let bin = work.join("root/bin");
        std::fs::create_dir_all(&bin).expect("made");
        for directory in ["root/etc", "root/tmp", "root/root"] {
            std::fs::create_dir_all(work.join(directory)).expect("made");
        }
        run(Command::new("sh").arg("-c").arg(format!(
            "cp $(readlink -f $(command -v busybox)) {0}/busybox && for a in $({0}/busybox --list); do \
             [ $a = busybox ] || ln -sf busybox {0}/$a; done",
            bin.display()
        )));
        std::fs::write(
            work.join("root/etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\n",
        )
        .expect("written");
        run(Command::new("tar")
            .arg("-C")
            .arg(work.join("root"))
            .arg("-cf")
            .arg(work.join("layer.tar"))
            .arg("."));
        let sum = Command::new("sha256sum")
            .arg(work.join("layer.tar"))
            .output()
            .expect("sha256sum runs");
        let sum = String::from_utf8_lossy(&sum.stdout[..64]).into_owned();
        let arch = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":{command}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}}}}"#
        );
        std::fs::write(work.join("config.json"), config).expect("written");
        let manifest =
            format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
        std::fs::write(work.join("manifest.json"), manifest).expect("written");
        let archive = self.path("image.tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(&work)
            .arg("-cf")
            .arg(&archive)
            .args(["manifest.json", "config.json", "layer.tar"]));
        run(self.ctr().args(["images", "import"]).arg(&archive));
        std::fs::remove_dir_all(work).expect("removed");
    }
}

/// Removes the control groups of a test whose processes are gone.
pub fn remove_cgroups(group: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_path_buf()]) {
        remove_tree(&hierarchy.join(group.trim_start_matches('/')));
    }
}

fn remove_tree(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(group);
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
    }
}

fn write_configuration(root: &Path) {
    let root_text = root.display();
    let configuration = format!(
        r#"version = 2
root = "{root_text}/root"
state = "{root_text}/state"
[grpc]
  address = "{root_text}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root_text}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{root_text}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{root_text}/runc"
"#
    );
    std::fs::write(root.join("containerd.toml"), configuration).expect("written");
    std::fs::create_dir(root.join("cni")).expect("made");
    let network = format!(
        r#"{{"cniVersion":"0.4.0","name":"test","plugins":[{{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{{"type":"host-local","dataDir":"{root_text}/ipam","ranges":[[{{"subnet":"10.250.0.0/24"}}]]}}}}]}}"#
    );
    std::fs::write(root.join("cni/10-test.conflist"), network).expect("written");
}
