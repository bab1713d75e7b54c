//! The configuration that the container runtime hands to the CNI plugins.

use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::path::Path;

/// The file's name: low, so that it is the first one the runtime finds.
pub const FILE: &str = "10-kontiki.conflist";

/// A bridge whose pods get their addresses from the node's network.
///
/// `ipam_dir` remembers which address is whose; it must survive a restart of the
/// node agent, and be the node's own.
#[must_use]
pub fn conflist(pods: Ipv4Net, ipam_dir: &Path, with_portmap: bool) -> Value {
    let mut plugins = vec![json!({
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        "isDefaultGateway": true,
        // A pod may reach itself through its Service.
        "hairpinMode": true,
        // Masquerading is done once for the node, not once a pod.
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "dataDir": ipam_dir,
            "ranges": [[{"subnet": pods}]],
        },
    })];
    if with_portmap {
        plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    }
    json!({"cniVersion": "0.4.0", "name": "kontiki", "plugins": plugins})
}

/// Writes the configuration unless it is there already; renamed into place, so
/// that the runtime never reads half a file.
///
/// # Errors
/// If the folder cannot be made or written.
pub fn write(dir: &Path, conflist: &Value) -> std::io::Result<()> {
    let path = dir.join(FILE);
    let text = format!("{conflist:#}\n");
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    let fresh = dir.join(format!(".{FILE}.new"));
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_written_whole_and_only_when_it_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = conflist(
            "10.244.3.0/24".parse().expect("a network"),
            Path::new("/x"),
            false,
        );
        write(dir.path(), &config).expect("writes");
        let path = dir.path().join(FILE);
        let before = std::fs::metadata(&path)
            .expect("is there")
            .modified()
            .expect("has a time");
        write(dir.path(), &config).expect("writes");
        assert_eq!(
            std::fs::metadata(&path)
                .expect("is there")
                .modified()
                .expect("has a time"),
            before
        );
        let read: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("reads")).expect("JSON");
        assert_eq!(
            read["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
            "10.244.3.0/24"
        );
    }
}
