//! Volumes on the node's disk.

use super::atomic;
use super::content::{self, ContentError, Tokens};
use crate::env::Sources;
use crate::fields::Placement;
use crate::spec::{self, PodExt};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};
use kontiki_object::Quantity;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Its files cannot be made.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Content {
        /// The volume.
        volume: String,
        /// Why.
        source: ContentError,
    },
    /// The disk refused.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {path}: {source}")]
    Disk {
        /// The volume.
        volume: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path of the host is not what it must be.
    #[error(
        "MountVolume.SetUp failed for volume \"{volume}\" : hostPath type check failed: {path} is not a {kind}"
    )]
    HostPath {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
        /// What it must be.
        kind: &'static str,
    },
    /// A kind of volume that this kubelet does not know.
    #[error(
        "MountVolume.SetUp failed for volume \"{0}\" : this kind of volume is not supported on this node"
    )]
    Unsupported(String),
}

/// The volumes of pods below one directory.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// Those below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// Where everything of a pod lies.
    #[must_use]
    pub fn pod_directory(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// The pods of which something lies here.
    #[must_use]
    pub fn pods(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("pods"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    fn directory(&self, pod: &Pod, plugin: &str, volume: &str) -> PathBuf {
        self.pod_directory(pod.uid())
            .join("volumes")
            .join(format!("kubernetes.io~{plugin}"))
            .join(volume)
    }

    /// Makes every volume of a pod ready: where each lies on the host, by name.
    ///
    /// # Errors
    /// The first volume that cannot be made ready.
    pub fn prepare(
        &self,
        pod: &Pod,
        sources: &dyn Sources,
        placement: &Placement,
        tokens: &BTreeMap<String, Tokens>,
    ) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
        let none = Tokens::new();
        let mut ready = BTreeMap::new();
        for volume in spec::of(pod).volumes.iter().flatten() {
            let tokens = tokens.get(&volume.name).unwrap_or(&none);
            let files =
                content::files(pod, volume, sources, placement, tokens).map_err(|source| {
                    VolumeError::Content {
                        volume: volume.name.clone(),
                        source,
                    }
                })?;
            let path = match files {
                Some(files) => {
                    let path = self.directory(pod, plugin(volume), &volume.name);
                    let written = fs::create_dir_all(&path)
                        .and_then(|()| atomic::write(&path, &files, fs_group(pod)));
                    written.map_err(|source| disk(volume, &path, source))?;
                    path
                }
                None => self.other(pod, volume)?,
            };
            ready.insert(volume.name.clone(), path);
        }
        Ok(ready)
    }

    fn other(&self, pod: &Pod, volume: &Volume) -> Result<PathBuf, VolumeError> {
        if let Some(source) = &volume.host_path {
            return host_path(volume, source);
        }
        let Some(source) = &volume.empty_dir else {
            return Err(VolumeError::Unsupported(volume.name.clone()));
        };
        let path = self.directory(pod, "empty-dir", &volume.name);
        empty_dir(&path, source, fs_group(pod)).map_err(|source| disk(volume, &path, source))?;
        Ok(path)
    }

    /// Removes everything of a pod, file systems in memory included.
    ///
    /// # Errors
    /// If the disk refuses; it is to be tried again then.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        let directory = self.pod_directory(uid);
        let inside = directory.display().to_string() + "/";
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // The innermost first. Nothing below a mount that stays is removed.
        let mut points: Vec<&str> = points.filter(|point| point.starts_with(&inside)).collect();
        points.sort_unstable_by_key(|point| std::cmp::Reverse(point.len()));
        for point in points {
            umount2(point, MntFlags::MNT_DETACH)?;
        }
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn disk(volume: &Volume, path: &Path, source: io::Error) -> VolumeError {
    VolumeError::Disk {
        volume: volume.name.clone(),
        path: path.to_path_buf(),
        source,
    }
}

fn plugin(volume: &Volume) -> &'static str {
    if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else {
        "projected"
    }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = spec::of(pod).security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    let is_new = !path.exists();
    fs::create_dir_all(path)?;
    if source.medium.as_deref() == Some("Memory") && !is_mount_point(path)? {
        let size = source
            .size_limit
            .as_ref()
            .and_then(|limit| limit.0.parse::<Quantity>().ok());
        let options = size
            .filter(|size| !size.is_zero())
            .map(|size| format!("size={}", size.units()));
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            options.as_deref(),
        )?;
    } else if !is_new {
        // Its owner may have been changed from inside; that is the pod's to do.
        return Ok(());
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let parent = path.parent().unwrap_or(path);
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

fn host_path(volume: &Volume, source: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let failed = |error| disk(volume, &path, error);
    if kind == "DirectoryOrCreate" && !path.exists() {
        fs::create_dir_all(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    if kind == "FileOrCreate" && !path.exists() {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    let found = fs::metadata(&path)
        .map(|metadata| metadata.file_type())
        .ok();
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(test);
    let (holds, kind) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "file"),
        "Socket" => (is(FileTypeExt::is_socket), "socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "block device"),
        _ => (true, ""),
    };
    if holds {
        Ok(path)
    } else {
        Err(VolumeError::HostPath {
            volume: volume.name.clone(),
            path: source.path.clone(),
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(value: Value) -> Volume {
        serde_json::from_value(value).expect("a volume")
    }

    #[test]
    fn a_host_path_is_checked_against_its_type() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name).display().to_string();
        fs::write(path("file"), "").expect("written");
        for (name, kind, allowed) in [
            ("file", "File", true),
            ("file", "Directory", false),
            ("file", "Socket", false),
            ("none", "File", false),
            ("none", "", true),
            ("new/dir", "DirectoryOrCreate", true),
            ("new/dir", "Directory", true),
            ("new/file", "FileOrCreate", true),
            ("new/file", "File", true),
        ] {
            let volume =
                volume(json!({"name": "v", "hostPath": {"path": path(name), "type": kind}}));
            let result = host_path(&volume, volume.host_path.as_ref().expect("set"));
            assert_eq!(result.is_ok(), allowed, "{name} {kind}: {result:?}");
        }
    }

    #[test]
    fn a_pods_files_are_made_once_and_removed_together() {
        let root = tempfile::tempdir().expect("a directory");
        let volumes = Volumes::new(root.path());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [], "volumes": [{"name": "scratch", "emptyDir": {}}]},
        }))
        .expect("a pod");
        struct Nothing;
        impl Sources for Nothing {
            fn config_map(&self, _: &str, _: &str) -> Option<kontiki_object::SharedObject> {
                None
            }
            fn secret(&self, _: &str, _: &str) -> Option<kontiki_object::SharedObject> {
                None
            }
            fn services(&self, _: &str) -> Vec<kontiki_object::SharedObject> {
                Vec::new()
            }
        }
        let prepare = || {
            volumes
                .prepare(&pod, &Nothing, &Placement::default(), &BTreeMap::new())
                .expect("ready")
        };
        let scratch = prepare()["scratch"].clone();
        fs::write(scratch.join("kept"), "x").expect("written");
        assert_eq!(prepare()["scratch"], scratch);
        assert!(scratch.join("kept").exists());
        assert_eq!(volumes.pods(), ["u"]);
        volumes.remove("u").expect("removed");
        volumes.remove("u").expect("nothing is left to remove");
        assert!(volumes.pods().is_empty());
    }
}
