//! Taking a cluster away: processes, containers, mounts, cgroups, namespaces, files.
//!
//! **Invariant:** only what belongs to the cluster is touched: processes by
//! record, by their cgroup below the cluster's own, or by its own socket path.

use crate::process::{self, Processes};
use crate::topology::Topology;
use crate::{netns, paths, shell};
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Removes everything of a cluster; does nothing where nothing is.
///
/// # Errors
/// If something stays behind; the error tells what.
pub fn down(topology: &Topology) -> Result<()> {
    let (state, run) = (
        paths::state(&topology.cluster),
        paths::run(&topology.cluster),
    );
    if topology.cluster == "kontiki" {
        crate::apiserver::stop()?;
    }
    if state.exists() {
        let processes = Processes::new(&state)?;
        let names = processes.names();
        // Agents first, so that nothing restarts the containers that end below.
        let order = |name: &String| (!name.ends_with("-agent"), name.ends_with("-containerd"));
        let mut names = names;
        names.sort_by_key(order);
        for name in names.iter().filter(|name| !name.ends_with("-containerd")) {
            processes.stop(name)?;
        }
        end_containers(&topology.cluster);
        for name in names.iter().filter(|name| name.ends_with("-containerd")) {
            processes.stop(name)?;
        }
    }
    end_shims(&run);
    end_containers(&topology.cluster);
    unmount_below(&[&state, &run])?;
    remove_cgroups(&topology.cluster);
    netns::remove(topology)?;
    for dir in [&run, &state] {
        remove_dir(dir)?;
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("{} cannot be removed: {error}", dir.display())
        }
        _ => Ok(()),
    }
}

/// The cgroup folders of a cluster, in every hierarchy.
fn cgroups(cluster: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![base.to_owned()];
    hierarchies.extend(
        fs::read_dir(base)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    let own = hierarchies
        .into_iter()
        .map(|path| path.join("kontiki").join(cluster));
    own.filter(|path| path.is_dir()).collect()
}

fn folders_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders_below(&entry.path(), found);
        }
    }
    found.push(dir.to_owned());
}

fn end_containers(cluster: &str) {
    let mut folders = Vec::new();
    cgroups(cluster)
        .iter()
        .for_each(|dir| folders_below(dir, &mut folders));
    for folder in folders {
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|line| line.parse().ok()) {
            if let Some(ticks) = process::start_ticks(pid) {
                process::end(pid, ticks, Duration::from_millis(200));
            }
        }
    }
}

fn remove_cgroups(cluster: &str) {
    let mut folders = Vec::new();
    cgroups(cluster)
        .iter()
        .for_each(|dir| folders_below(dir, &mut folders));
    for folder in folders {
        // The kernel refuses as long as a process is in it; what stays is said by the caller's checks.
        let _ = fs::remove_dir(folder);
    }
}

/// containerd's shims outlive it on purpose; they are known by its socket's path.
fn end_shims(run: &Path) {
    let mark = run.to_string_lossy().into_owned() + "/";
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let mut words = words.split('\0');
        let program = words.next().unwrap_or_default();
        if program.contains("containerd-shim")
            && words.any(|word| word.starts_with(&mark))
            && let Some(ticks) = process::start_ticks(pid)
        {
            process::end(pid, ticks, Duration::from_secs(1));
        }
    }
}

fn unmount_below(dirs: &[&Path]) -> Result<()> {
    // A mount may lie on another: what a pass uncovers is for the next one.
    for _ in 0..5 {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let mut points: Vec<PathBuf> = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(4))
            .map(|point| PathBuf::from(point.replace("\\040", " ")))
            .filter(|point| dirs.iter().any(|dir| point.starts_with(dir)))
            .collect();
        if points.is_empty() {
            return Ok(());
        }
        points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
        for point in points {
            let _ = shell::output(shell::command("umount", ["-l"]).arg(&point));
        }
    }
    bail!("something below {} stays mounted", dirs[0].display())
}
