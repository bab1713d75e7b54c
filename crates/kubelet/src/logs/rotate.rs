//! Keeping logs small: a log that has grown is moved aside and the runtime
//! opens a new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// When a log is moved aside, and how many files of it stay.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// At this size, in bytes.
    pub bytes_max: u64,
    /// The current file included.
    pub files_max: usize,
}

/// Rotates the logs of running containers: `(container id, log file)`. `reopen`
/// tells the runtime; if it fails the old file is put back.
pub async fn rotate_all<F>(
    logs: impl IntoIterator<Item = (String, PathBuf)>,
    rotation: Rotation,
    now: jiff::Timestamp,
    reopen: impl Fn(String) -> F,
) where
    F: Future<Output = Result<(), crate::cri::CriError>>,
{
    for (id, path) in logs {
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.len() < rotation.bytes_max {
            continue;
        }
        if let Err(error) = rotate(&path, rotation, now, reopen(id)).await {
            tracing::warn!(path = %path.display(), %error, "a container log could not be rotated");
        }
    }
}

async fn rotate<F>(
    path: &Path,
    rotation: Rotation,
    now: jiff::Timestamp,
    reopen: F,
) -> io::Result<()>
where
    F: Future<Output = Result<(), crate::cri::CriError>>,
{
    let aside = with_suffix(path, &now.strftime("%Y%m%d-%H%M%S").to_string());
    fs::rename(path, &aside)?;
    if let Err(error) = reopen.await {
        // The container still writes to the old file: it keeps its name.
        fs::rename(&aside, path)?;
        return Err(io::Error::other(error));
    }
    for old in expired(path, rotation.files_max)? {
        fs::remove_file(old)?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// The oldest files of a log beyond those that may stay.
fn expired(path: &Path, files_max: usize) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let prefix = format!(
        "{}.",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut aside = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            aside.push(entry.path());
        }
    }
    // Their names are their times.
    aside.sort();
    let kept = files_max.saturating_sub(1).max(1);
    aside.truncate(aside.len().saturating_sub(kept));
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root)
            .expect("is there")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_grown_log_is_moved_aside_and_the_oldest_go() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("0.log");
        let rotation = Rotation {
            bytes_max: 3,
            files_max: 3,
        };
        for second in 0..4_i64 {
            fs::write(&path, "long").expect("written");
            let now = jiff::Timestamp::from_second(second).expect("in range");
            rotate_all(
                [("id".to_owned(), path.clone())],
                rotation,
                now,
                |_| async { Ok(()) },
            )
            .await;
        }
        assert_eq!(
            names(root.path()),
            ["0.log.19700101-000002", "0.log.19700101-000003"]
        );
        fs::write(&path, "no").expect("written");
        rotate_all(
            [("id".to_owned(), path.clone())],
            rotation,
            jiff::Timestamp::UNIX_EPOCH,
            |_| async { Ok(()) },
        )
        .await;
        assert!(path.exists(), "a small log stays");
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_reopen_keeps_its_file() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("0.log");
        fs::write(&path, "long").expect("written");
        let refuse = |_| async {
            let status = Box::new(tonic::Status::unavailable("away"));
            Err(crate::cri::CriError {
                operation: "reopen_container_log",
                status,
            })
        };
        let rotation = Rotation {
            bytes_max: 3,
            files_max: 3,
        };
        rotate_all(
            [("id".to_owned(), path)],
            rotation,
            jiff::Timestamp::UNIX_EPOCH,
            refuse,
        )
        .await;
        assert_eq!(names(root.path()), ["0.log"]);
    }
}
