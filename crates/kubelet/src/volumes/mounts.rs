//! What a container sees where.

use crate::config::KubeletConfig;
use crate::env::expand;
use crate::sandbox;
use crate::spec::{self, PodExt};
use k8s_cri::v1::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Why a container's mounts cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The pod has no such volume.
    #[error("cannot find volume {volume:?} to mount into container {container:?}")]
    Volume {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// A path below a volume that would lead out of it.
    #[error("failed to prepare subPath for volumeMount {0:?} of container {1:?}")]
    SubPath(String, String),
    /// The disk refused.
    #[error("preparing {0} failed: {1}")]
    Disk(PathBuf, io::Error),
}

/// The mounts of one run of a container.
///
/// # Errors
/// If a volume is missing, a path leads out of it, or the disk refuses.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    volumes: &BTreeMap<String, PathBuf>,
    env: &[(String, String)],
) -> Result<Vec<Mount>, MountError> {
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let root = volumes
            .get(&wanted.name)
            .ok_or_else(|| MountError::Volume {
                volume: wanted.name.clone(),
                container: container.name.clone(),
            })?;
        let host_path = match sub_path(wanted, env) {
            Some(below) => inside(root, &below, wanted, container)?,
            None => root.clone(),
        };
        mounts.push(Mount {
            container_path: absolute(&wanted.mount_path),
            host_path: host_path.display().to_string(),
            // What comes from API objects is the kubelet's to write.
            readonly: wanted.read_only == Some(true) || is_from_objects(pod, &wanted.name),
            propagation: propagation(wanted).into(),
            ..Mount::default()
        });
    }
    Ok(mounts)
}

fn is_from_objects(pod: &Pod, name: &str) -> bool {
    spec::of(pod)
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.name == name)
        .any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some()
        })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

fn propagation(mount: &VolumeMount) -> MountPropagation {
    match mount.mount_propagation.as_deref() {
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        _ => MountPropagation::PropagationPrivate,
    }
}

fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Option<String> {
    if let Some(expression) = mount
        .sub_path_expr
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        let lookup = |name: &str| {
            env.iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        return Some(expand(expression, &lookup));
    }
    mount.sub_path.clone().filter(|text| !text.is_empty())
}

/// A path below a volume, made if it does not exist. Links inside the volume
/// are followed, but never out of it: the pod itself may have made them.
fn inside(
    root: &Path,
    below: &str,
    mount: &VolumeMount,
    container: &Container,
) -> Result<PathBuf, MountError> {
    let refuse = || MountError::SubPath(mount.name.clone(), container.name.clone());
    let below = Path::new(below);
    if below
        .components()
        .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(refuse());
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| MountError::Disk(path, error)
    };
    let root = fs::canonicalize(root).map_err(failed(root))?;
    let mut path = root.clone();
    for part in below.components() {
        path.push(part);
        match fs::canonicalize(&path) {
            Ok(real) => path = real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&path).map_err(failed(&path))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777))
                    .map_err(failed(&path))?;
            }
            Err(error) => return Err(failed(&path)(error)),
        }
        if !path.starts_with(&root) {
            return Err(refuse());
        }
    }
    Ok(path)
}

/// The pod's `/etc/hosts`, unless the container brings its own.
///
/// # Errors
/// If the disk refuses.
pub fn hosts_file(
    pod: &Pod,
    container: &Container,
    pod_directory: &Path,
    pod_ips: &[String],
    config: &KubeletConfig,
) -> Result<Option<Mount>, MountError> {
    let brings_own = container
        .volume_mounts
        .iter()
        .flatten()
        .any(|mount| mount.mount_path == "/etc/hosts");
    if brings_own || (pod_ips.is_empty() && !pod.host_network()) {
        return Ok(None);
    }
    let path = pod_directory.join("etc-hosts");
    let text = if pod.host_network() {
        let host = fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!(
            "# Kubernetes-managed hosts file (host network).\n{host}{}",
            aliases(pod)
        )
    } else {
        hosts(pod, pod_ips, config)
    };
    fs::write(&path, text).map_err(|error| MountError::Disk(path.clone(), error))?;
    Ok(Some(Mount {
        container_path: "/etc/hosts".to_owned(),
        host_path: path.display().to_string(),
        ..Mount::default()
    }))
}

/// The names that every pod knows, and its own.
#[must_use]
pub fn hosts(pod: &Pod, pod_ips: &[String], config: &KubeletConfig) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let (hostname, domain) = sandbox::hostname(pod, config);
    let full = domain
        .map(|domain| format!("{hostname}.{domain}\t"))
        .unwrap_or_default();
    for ip in pod_ips {
        text.push_str(&format!("{ip}\t{full}{hostname}\n"));
    }
    text.push_str(&aliases(pod));
    text
}

fn aliases(pod: &Pod) -> String {
    let aliases = spec::of(pod).host_aliases.as_deref().unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let lines = aliases.iter().map(|alias| {
        format!(
            "{}\t{}\n",
            alias.ip,
            alias
                .hostnames
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join("\t")
        )
    });
    format!(
        "\n# Entries added by HostAliases.\n{}",
        lines.collect::<String>()
    )
}

/// The file into which a run of a container writes its last words.
///
/// # Errors
/// If the disk refuses.
pub fn termination_file(
    container: &Container,
    pod_directory: &Path,
    run: &str,
) -> Result<Mount, MountError> {
    let directory = pod_directory.join("containers").join(&container.name);
    let path = directory.join(run);
    let made = fs::create_dir_all(&directory)
        .and_then(|()| fs::write(&path, ""))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o666)));
    made.map_err(|error| MountError::Disk(path.clone(), error))?;
    let target = container.termination_message_path.clone();
    Ok(Mount {
        container_path: target
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/dev/termination-log".to_owned()),
        host_path: path.display().to_string(),
        ..Mount::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(mounts: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {
                "subdomain": "sub",
                "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}],
                "containers": [{"name": "c", "volumeMounts": mounts}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "cm", "configMap": {"name": "x"}}],
            },
        }))
        .expect("a pod")
    }

    fn made(root: &Path, mount: Value) -> Result<Mount, MountError> {
        let pod = pod(json!([mount]));
        let volumes = BTreeMap::from([
            ("v".to_owned(), root.to_path_buf()),
            ("cm".to_owned(), root.to_path_buf()),
        ]);
        let env = [("NAME".to_owned(), "web".to_owned())];
        mounts(&pod, &pod.containers()[0], &volumes, &env).map(|mut mounts| mounts.remove(0))
    }

    #[test]
    fn a_path_below_a_volume_stays_in_it() {
        let root = tempfile::tempdir().expect("a directory");
        let real = fs::canonicalize(root.path()).expect("is there");
        std::os::unix::fs::symlink("/etc", root.path().join("out")).expect("made");
        fs::create_dir(root.path().join("dir")).expect("made");
        std::os::unix::fs::symlink("dir", root.path().join("in")).expect("made");
        let mount = |more: Value| {
            let mut mount = json!({"name": "v", "mountPath": "data"});
            mount
                .as_object_mut()
                .expect("a map")
                .extend(more.as_object().expect("a map").clone());
            made(root.path(), mount)
        };
        for (more, below) in [
            (json!({}), ""),
            (json!({"subPath": "dir"}), "dir"),
            (json!({"subPath": "in"}), "dir"),
            (json!({"subPath": "new/one"}), "new/one"),
            (json!({"subPathExpr": "$(NAME)"}), "web"),
        ] {
            let found = mount(more.clone()).expect("allowed");
            let expected = if below.is_empty() {
                root.path().to_path_buf()
            } else {
                real.join(below)
            };
            assert_eq!(Path::new(&found.host_path), expected, "{more}");
            assert_eq!(found.container_path, "/data");
        }
        for more in [
            json!({"subPath": "../x"}),
            json!({"subPath": "out"}),
            json!({"subPath": "/etc"}),
        ] {
            assert!(mount(more.clone()).is_err(), "{more}");
        }
        assert!(made(root.path(), json!({"name": "none", "mountPath": "/x"})).is_err());
        assert!(
            made(root.path(), json!({"name": "cm", "mountPath": "/x"}))
                .expect("allowed")
                .readonly
        );
    }

    #[test]
    fn the_hosts_file_knows_the_pod_and_its_aliases() {
        let config = KubeletConfig::new("node", "10.0.0.1".parse().expect("valid"));
        let text = hosts(&pod(json!([])), &["10.1.0.2".into()], &config);
        assert!(
            text.contains("\n10.1.0.2\tweb.sub.shop.svc.cluster.local\tweb\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"),
            "{text}"
        );
    }
}
