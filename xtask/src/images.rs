//! Small images made from Debian's static busybox: no registry is needed.

use crate::{paths, shell};
use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The image of the pods' sandboxes.
pub const PAUSE: &str = "kontiki.local/pause:1";
/// Busybox with all its tools.
pub const BUSYBOX: &str = "kontiki.local/busybox:1";

/// Waits for its end, and takes in orphans as a pod's first process has to.
const PAUSE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do sleep 2147483 & wait $!; done";

/// Makes the images' archive, or finds it in the cache.
///
/// # Errors
/// If busybox is missing or the archive cannot be written.
pub fn archive() -> Result<PathBuf> {
    let busybox = fs::read("/bin/busybox").context("busybox-static is not installed")?;
    let digest = hex(&Sha256::digest(
        [&busybox[..], PAUSE_SCRIPT.as_bytes()].concat(),
    ));
    let path = paths::cache()
        .join("images")
        .join(format!("{}.tar", &digest[..16]));
    if path.exists() {
        return Ok(path);
    }
    let dir = path.parent().expect("has a parent");
    fs::create_dir_all(dir)?;
    let scratch = tempfile::tempdir_in(dir)?;
    write_archive(scratch.path(), &path)?;
    Ok(path)
}

fn write_archive(scratch: &Path, path: &Path) -> Result<()> {
    let rootfs = scratch.join("rootfs");
    for dir in [
        "bin", "tmp", "etc", "root", "proc", "sys", "dev", "var/run", "www",
    ] {
        fs::create_dir_all(rootfs.join(dir))?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
    let tools = shell::output(&mut shell::command("/bin/busybox", ["--list"]))?;
    for tool in tools.lines().filter(|tool| *tool != "busybox") {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(tool))?;
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(rootfs.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")?;
    let layer = scratch.join("layer.tar");
    // The same bytes for the same content, whoever makes them and when.
    let fixed = [
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ];
    shell::output(
        shell::command("tar", ["cf"])
            .arg(&layer)
            .args(fixed)
            .arg("-C")
            .arg(&rootfs)
            .arg("."),
    )?;
    let diff_id = format!("sha256:{}", hex(&Sha256::digest(fs::read(&layer)?)));

    let images = [
        (PAUSE, "pause.json", vec!["/bin/sh", "-c", PAUSE_SCRIPT]),
        (BUSYBOX, "busybox.json", vec!["/bin/sh"]),
    ];
    let mut manifest = Vec::new();
    for (tag, config, command) in images {
        let content = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": command, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "kontiki"}],
        });
        fs::write(scratch.join(config), serde_json::to_vec(&content)?)?;
        manifest.push(json!({"Config": config, "RepoTags": [tag], "Layers": ["layer.tar"]}));
    }
    fs::write(
        scratch.join("manifest.json"),
        serde_json::to_vec(&manifest)?,
    )?;
    let whole = scratch.join("images.tar");
    let files = ["manifest.json", "pause.json", "busybox.json", "layer.tar"];
    shell::output(
        shell::command("tar", ["cf"])
            .arg(&whole)
            .args(fixed)
            .arg("-C")
            .arg(scratch)
            .args(files),
    )?;
    fs::rename(&whole, path)?;
    Ok(())
}

/// Imports the images into a node's containerd.
///
/// # Errors
/// If containerd does not take them.
pub fn import(socket: &Path, archive: &Path) -> Result<()> {
    let mut ctr = shell::command("ctr", ["--address"]);
    ctr.arg(socket).args(["--namespace", "k8s.io", "images"]);
    let listed = shell::output(shell::command("ctr", ["--address"]).arg(socket).args([
        "--namespace",
        "k8s.io",
        "images",
        "list",
        "--quiet",
    ]))?;
    if [PAUSE, BUSYBOX]
        .iter()
        .all(|image| listed.lines().any(|line| line == *image))
    {
        return Ok(());
    }
    shell::output(ctr.args(["import", "--no-unpack=false"]).arg(archive)).or_else(|_| {
        // Older versions of ctr do not know the flag and unpack by themselves.
        let mut ctr = shell::command("ctr", ["--address"]);
        shell::output(
            ctr.arg(socket)
                .args(["--namespace", "k8s.io", "images", "import"])
                .arg(archive),
        )
    })?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
