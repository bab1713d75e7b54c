//! Snapshots by schedule: saved on this server's own disk, restored once to see
//! that they can be, and the oldest removed.

use super::{Continuation, import};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use jiff::Timestamp;
use kontiki_etcd::snapshot::{self, SnapshotFile};
use kontiki_mvcc::StateMachine;
use kontiki_rocks::{RocksEngine, RocksOptions};
use kontiki_store::{KvHash, Operations};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const SUFFIX: &str = ".db";
const UNFINISHED: &str = ".part";
/// After a failure it is tried again so soon, or sooner if it is due.
const AGAIN_AFTER: Duration = Duration::from_secs(300);

/// When snapshots are taken, where they lie, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The folder.
    pub dir: PathBuf,
    /// Time between two.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// The scheme of peers' addresses in the file.
    pub peer_scheme: &'static str,
}

/// What dashboards see of it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotMetrics {
    succeeded_at: Gauge,
    failed: Counter,
}

impl SnapshotMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "kontiki_snapshot_last_success_timestamp_seconds",
            "When a scheduled snapshot was last saved and restored, in seconds since 1970",
            metrics.succeeded_at.clone(),
        );
        registry.register(
            "kontiki_snapshot_failures",
            "Scheduled snapshots that could not be saved, or not be restored",
            metrics.failed.clone(),
        );
        metrics
    }
}

/// Takes snapshots until it is stopped.
pub async fn keep(
    store: Arc<dyn Operations>,
    schedule: Schedule,
    metrics: SnapshotMetrics,
    stop: CancellationToken,
) {
    loop {
        let pause = until_due(&schedule);
        let slept = tokio::time::sleep(pause);
        if stop.run_until_cancelled(slept).await.is_none() {
            return;
        }
        match take(&*store, &schedule).await {
            Ok(taken) => {
                let now = Timestamp::now().as_second();
                metrics.succeeded_at.set(now);
                tracing::info!(
                    file = %taken.path.display(),
                    revision = taken.revision,
                    keys = taken.keys,
                    "a snapshot was saved, and restored to try it"
                );
            }
            Err(error) => {
                metrics.failed.inc();
                tracing::error!(error = format!("{error:#}"), "no snapshot could be saved");
                let slept = tokio::time::sleep(AGAIN_AFTER.min(schedule.every));
                if stop.run_until_cancelled(slept).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// A restart does not begin the interval anew.
fn until_due(schedule: &Schedule) -> Duration {
    let newest = saved(&schedule.dir).pop();
    let modified = newest.and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
    let Some(modified) = modified else {
        return schedule.every;
    };
    let age = SystemTime::now().duration_since(modified);
    schedule.every.saturating_sub(age.unwrap_or_default())
}

/// The snapshots in a folder, the oldest first: their names begin with the time.
fn saved(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_ours(path))
        .collect();
    found.sort();
    found
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("snapshot-") && name.ends_with(SUFFIX))
}

/// What was saved.
#[derive(Debug)]
struct Taken {
    path: PathBuf,
    revision: i64,
    keys: u64,
}

async fn take(store: &dyn Operations, schedule: &Schedule) -> Result<Taken> {
    let dump = store.dump().await?;
    let (revision, dir) = (dump.header.revision, schedule.dir.clone());
    let (scheme, keep) = (schedule.peer_scheme, schedule.keep);
    let at = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let path = dir.join(format!("snapshot-{at}-r{revision}{SUFFIX}"));
    let saving = move || -> Result<(Taken, KvHash)> {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let tried = snapshot::save(dump, scheme, &unfinished)
            .map_err(anyhow::Error::from)
            .and_then(|()| try_out(&unfinished, &dir));
        let (keys, hash) = match tried {
            Ok(tried) => tried,
            Err(error) => {
                let _ = std::fs::remove_file(&unfinished);
                return Err(error);
            }
        };
        std::fs::rename(&unfinished, &path)
            .with_context(|| format!("cannot rename {}", unfinished.display()))?;
        prune(&dir, keep);
        let taken = Taken {
            path,
            revision,
            keys,
        };
        Ok((taken, hash))
    };
    let (taken, restored) = tokio::task::spawn_blocking(saving).await??;
    let live = store.hash_kv(revision).await?;
    // A compaction meanwhile changes what is hashed.
    if live.compact_revision == restored.compact_revision {
        ensure!(
            live.hash == restored.hash,
            "{} restores to something else than what it was taken of: hash {:x} instead of {:x} at revision {revision}; compare the members with `etcdctl endpoint hashkv`",
            taken.path.display(),
            restored.hash,
            live.hash
        );
    }
    Ok(taken)
}

/// Restores the file beside itself; how many keys, and the hash of them all.
fn try_out(path: &Path, dir: &Path) -> Result<(u64, KvHash)> {
    let file = SnapshotFile::open(path, false, |_, _| {})?;
    let status = file.status()?;
    let scratch = tempfile::Builder::new()
        .prefix("restored-")
        .tempdir_in(dir)?;
    let engine = Arc::new(RocksEngine::open(scratch.path(), &RocksOptions::default())?);
    let continuation = Continuation {
        bump: 0,
        keep_history: true,
    };
    let revision = import(
        &file,
        &status,
        engine.clone(),
        continuation,
        Bytes::new(),
        || {},
    )?;
    ensure!(
        revision == status.revision,
        "the snapshot is of revision {}, but restores to {revision}",
        status.revision
    );
    let (content, _background) = StateMachine::open(engine)?;
    let hash = content.hash_kv(revision)?;
    let hash = KvHash {
        header: content.header(),
        hash: hash.hash,
        revision: hash.revision,
        compact_revision: hash.compact_revision,
    };
    Ok((status.total_keys, hash))
}

fn prune(dir: &Path, keep: usize) {
    let found = saved(dir);
    let old = found.len().saturating_sub(keep);
    for path in &found[..old] {
        match std::fs::remove_file(path) {
            Ok(()) => tracing::info!(file = %path.display(), "an old snapshot was removed"),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "an old snapshot stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_mvcc::LocalStore;
    use kontiki_store::{Op, PutRequest, Store, TxnRequest};

    async fn written(store: &LocalStore, count: usize) {
        for number in 0..count {
            let put = PutRequest {
                key: format!("k{}", number % 7).into(),
                value: format!("{number}").into(),
                ..PutRequest::default()
            };
            let txn = TxnRequest {
                success: vec![Op::Put(put)],
                ..TxnRequest::default()
            };
            store.txn(txn).await.expect("a put");
        }
    }

    fn schedule(dir: &Path) -> Schedule {
        Schedule {
            dir: dir.join("snapshots"),
            every: Duration::from_secs(3600),
            keep: 2,
            peer_scheme: "https",
        }
    }

    #[tokio::test]
    async fn a_snapshot_counts_once_it_was_restored_and_the_oldest_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, schedule) = (LocalStore::in_memory(), schedule(dir.path()));
        std::fs::create_dir(&schedule.dir).expect("a folder");
        let others = schedule.dir.join("mine.db");
        std::fs::write(&others, "kept").expect("a file");
        let mut paths = Vec::new();
        for round in 1..=3 {
            written(&store, 10).await;
            let taken = take(&*store, &schedule).await.expect("a snapshot");
            assert_eq!(taken.revision, 1 + 10 * round);
            paths.push(taken.path);
        }
        paths.remove(0);
        assert_eq!(saved(&schedule.dir), paths);
        assert!(others.exists(), "what is not ours stays");
        let left = std::fs::read_dir(&schedule.dir).expect("a folder").count();
        assert_eq!(left, 3, "neither scratch nor unfinished files stay");
        assert!(until_due(&schedule) > Duration::from_secs(3500));
    }

    #[test]
    fn what_cannot_be_restored_is_no_snapshot() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("snapshot-x.db");
        std::fs::write(&path, vec![7; 9000]).expect("a file");
        assert!(try_out(&path, dir.path()).is_err());
        assert_eq!(until_due(&schedule(dir.path())), Duration::from_secs(3600));
    }
}
