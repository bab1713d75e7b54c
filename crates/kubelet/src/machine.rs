//! The machine: what it has, and how its kernel names things.

use crate::config::KubeletConfig;
use kontiki_object::Quantity;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What does not change while the machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Processors.
    pub cpus: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The disk with the kubelet's files, in bytes.
    pub disk_bytes: u64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The firmware's name for the machine.
    pub system_uuid: String,
    /// Changes with every start.
    pub boot_id: String,
    /// The kernel's version.
    pub kernel: String,
    /// The distribution.
    pub os_image: String,
}

impl Machine {
    /// Looks at the machine.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        // The root may not exist yet; its closest ancestor is on the same disk.
        let disk = root
            .ancestors()
            .find_map(|path| nix::sys::statvfs::statvfs(path).ok());
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory_bytes: meminfo(&text("/proc/meminfo"), "MemTotal").unwrap_or_default(),
            disk_bytes: disk
                .map(|disk| disk.blocks() * disk.fragment_size())
                .unwrap_or_default(),
            machine_id: text("/etc/machine-id"),
            system_uuid: text("/sys/class/dmi/id/product_uuid"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: pretty_name(&text("/etc/os-release")),
        }
    }

    /// Everything there is, by resource.
    #[must_use]
    pub fn capacity(&self, config: &KubeletConfig) -> BTreeMap<String, Quantity> {
        let bytes = |bytes: u64| {
            Quantity::from_bytes(i64::try_from(bytes / 1024 * 1024).unwrap_or(i64::MAX))
        };
        BTreeMap::from([
            (
                "cpu".to_owned(),
                Quantity::from_units(i64::try_from(self.cpus).unwrap_or(i64::MAX)),
            ),
            ("memory".to_owned(), bytes(self.memory_bytes)),
            ("ephemeral-storage".to_owned(), bytes(self.disk_bytes)),
            ("hugepages-1Gi".to_owned(), Quantity::from_units(0)),
            ("hugepages-2Mi".to_owned(), Quantity::from_units(0)),
            (
                "pods".to_owned(),
                Quantity::from_units(i64::from(config.max_pods)),
            ),
        ])
    }

    /// What of it is for pods.
    #[must_use]
    pub fn allocatable(&self, config: &KubeletConfig) -> BTreeMap<String, Quantity> {
        let mut all = self.capacity(config);
        let milli = |milli: u64| i64::try_from(milli).unwrap_or(i64::MAX);
        if config.reserved_cpu_milli > 0 {
            let left = (self.cpus * 1000).saturating_sub(config.reserved_cpu_milli);
            all.insert("cpu".to_owned(), Quantity::from_milli(milli(left)));
        }
        let left = self
            .memory_bytes
            .saturating_sub(config.reserved_memory_bytes);
        all.insert(
            "memory".to_owned(),
            Quantity::from_bytes(milli(left / 1024 * 1024)),
        );
        all
    }
}

/// A line of `/proc/meminfo`, in bytes.
#[must_use]
pub fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn pretty_name(text: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_else(|| "Linux".to_owned())
}

/// The control groups of pods that are gone.
pub mod cgroup {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Removes a pod's control groups; what is still in use stays. With systemd
    /// there is nothing to do: it removes empty slices by itself.
    pub fn remove(parent: &str) {
        if !parent.starts_with('/') {
            return;
        }
        for group in hierarchies(Path::new("/sys/fs/cgroup")) {
            remove_tree(&group.join(parent.trim_start_matches('/')));
        }
    }

    /// One with version 2; one for each controller with version 1.
    fn hierarchies(root: &Path) -> Vec<PathBuf> {
        if root.join("cgroup.controllers").exists() {
            return vec![root.to_path_buf()];
        }
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    }

    fn remove_tree(group: &Path) {
        for entry in fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                remove_tree(&entry.path());
            }
        }
        // Fails while a process is in it, which is right.
        let _ = fs::remove_dir(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_for_pods() {
        let machine = Machine {
            cpus: 2,
            memory_bytes: 1 << 30,
            ..Machine::default()
        };
        let mut config = KubeletConfig::new("n", "10.0.0.1".parse().expect("valid"));
        (config.reserved_cpu_milli, config.reserved_memory_bytes) = (500, 1 << 20);
        let shown = |list: &BTreeMap<String, Quantity>| {
            ["cpu", "memory", "pods"].map(|name| list[name].to_string())
        };
        assert_eq!(shown(&machine.capacity(&config)), ["2", "1Gi", "110"]);
        assert_eq!(
            shown(&machine.allocatable(&config)),
            ["1500m", "1023Mi", "110"]
        );
    }

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            meminfo("MemTotal:  2 kB\nMemFree: 1 kB\n", "MemFree"),
            Some(1024)
        );
        assert_eq!(meminfo("", "MemFree"), None);
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n"),
            "Debian 12"
        );
    }
}
