//! `kontiki snapshot`: the store in a file, in etcd's format.

use super::endpoints::StoreArgs;
use crate::snapshots::{Continuation, import};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use kontiki_etcd::pb::etcdserverpb::SnapshotRequest;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::snapshot::{SnapshotError, SnapshotFile};
use kontiki_raft::{InitialMember, ReplicatedConfig, RestorePlan};
use kontiki_rocks::{RocksEngine, RocksOptions};
use kontiki_store::DumpItem;
use kontiki_wal::FsDisk;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Save a snapshot of the running store to a file that etcd's tools take too.
    Save {
        #[command(flatten)]
        store: StoreArgs,
        /// Where to put it.
        file: PathBuf,
    },
    /// Show what a snapshot file holds.
    Status {
        /// The file, made by Kontiki or by etcd.
        file: PathBuf,
    },
    /// Check a snapshot file: its checksum, and that all of it can be restored.
    Verify {
        /// The file, made by Kontiki or by etcd.
        file: PathBuf,
    },
    /// Make the data directory of a member of a new cluster from a snapshot file.
    ///
    /// Restore one member and let the others join it with empty data
    /// directories, or restore every member from the same file with the same
    /// --initial-cluster.
    Restore(RestoreArgs),
}

/// Who the restored member is.
#[derive(clap::Args)]
pub struct RestoreArgs {
    /// The file, made by Kontiki or by etcd.
    file: PathBuf,
    /// The member's data directory, as its configuration names it.
    #[arg(long)]
    data_dir: PathBuf,
    /// The member's name.
    #[arg(long)]
    name: String,
    /// Every member that is restored, NAME=host:port, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_parser = parse_member)]
    initial_cluster: Vec<InitialMember>,
    /// The cluster's token, as the configuration has it.
    #[arg(long, default_value = "kontiki")]
    initial_cluster_token: String,
    /// Add this to the newest revision, so that nobody takes a new write for one
    /// that was lost.
    #[arg(long, default_value_t = 1_000_000_000)]
    bump_revision: u64,
    /// Leave old revisions readable. Without this, watchers and caches from
    /// before are told to start over.
    #[arg(long)]
    keep_history: bool,
    /// Take a file without a checksum: a copy of etcd's own database.
    #[arg(long)]
    skip_hash_check: bool,
}

/// `NAME=host:port`, or with a URL as etcd writes it.
pub fn parse_member(text: &str) -> Result<InitialMember, String> {
    let (name, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=host:port"))?;
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    Ok(InitialMember {
        name: name.to_owned(),
        peer_address: address.trim_end_matches('/').to_owned(),
    })
}

impl Command {
    /// Carries it out.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Save { store, file } => super::block_on(save(&store, &file)),
            Self::Status { file } => {
                let opened = open(&file, true)?;
                let status = opened.status()?;
                super::print(&format!(
                    "hash        {:x}\nrevision    {}\ntotal keys  {}\ntotal size  {} bytes\n",
                    status.hash, status.revision, status.total_keys, status.total_bytes
                ))
            }
            Self::Verify { file } => verify(&file),
            Self::Restore(args) => args.run(),
        }
    }
}

fn bar(bytes: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {bytes}/{total_bytes} {eta}")
        .expect("a constant template");
    ProgressBar::new(bytes).with_style(style).with_message(what)
}

fn open(path: &Path, checksum_optional: bool) -> Result<SnapshotFile> {
    let shown = bar(0, "checking");
    let opened = SnapshotFile::open(path, checksum_optional, |read, all| {
        shown.set_length(all);
        shown.set_position(read);
    });
    shown.finish_and_clear();
    opened.with_context(|| format!("{} is not a whole snapshot", path.display()))
}

async fn save(store: &StoreArgs, path: &Path) -> Result<()> {
    let mut client = MaintenanceClient::new(store.connect().await?);
    let refused = |status: tonic::Status| anyhow::anyhow!("{}", status.message());
    let mut parts = client
        .snapshot(SnapshotRequest {})
        .await
        .map_err(refused)?
        .into_inner();
    let mut part_path = path.as_os_str().to_owned();
    part_path.push(".part");
    let part_path = PathBuf::from(part_path);
    let cannot = || format!("cannot write {}", part_path.display());
    let mut out = File::create(&part_path).with_context(cannot)?;
    let shown = bar(0, "saving");
    while let Some(part) = parts.message().await.map_err(refused)? {
        out.write_all(&part.blob).with_context(cannot)?;
        shown.inc(part.blob.len() as u64);
        shown.set_length(shown.position() + part.remaining_bytes);
    }
    out.sync_all().with_context(cannot)?;
    shown.finish_and_clear();
    // Only what is whole gets the name.
    let status = open(&part_path, false)?.status()?;
    std::fs::rename(&part_path, path).with_context(|| {
        format!(
            "cannot rename {} to {}",
            part_path.display(),
            path.display()
        )
    })?;
    super::print(&format!(
        "saved revision {} to {}: {} bytes, hash {:x}\n",
        status.revision,
        path.display(),
        status.total_bytes,
        status.hash
    ))
}

fn verify(path: &Path) -> Result<()> {
    let file = open(path, false)?;
    let (status, head) = (file.status()?, file.head()?);
    let (mut last, mut versions) = ((0, 0), 0u64);
    file.for_each(|item| {
        if let DumpItem::Version { number, kv, .. } = item {
            if (kv.mod_revision, number) <= last {
                let what = format!("revision {} comes twice", kv.mod_revision);
                return Err(SnapshotError::Content(what));
            }
            last = (kv.mod_revision, number);
            versions += 1;
        }
        Ok(())
    })?;
    super::print(&format!(
        "whole: {versions} versions up to revision {}, compacted up to {}\n",
        status.revision, head.compact_revision
    ))
}

impl RestoreArgs {
    fn run(self) -> Result<()> {
        let file = open(&self.file, self.skip_hash_check)?;
        let store = crate::server::StoreDirs::of(&self.data_dir);
        let config = ReplicatedConfig {
            cluster_token: self.initial_cluster_token.clone(),
            ..ReplicatedConfig::new(&store.log, &self.name, self.initial_cluster.clone())
        };
        let digest = file.digest();
        let origin: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let plan = RestorePlan::new(config, &origin)?;
        std::fs::create_dir_all(&store.state)
            .with_context(|| format!("cannot make {}", store.state.display()))?;
        let engine = Arc::new(RocksEngine::open(&store.state, &RocksOptions::default())?);
        let status = file.status()?;
        let shown = bar(status.total_keys, "restoring");
        let continuation = Continuation {
            bump: self.bump_revision,
            keep_history: self.keep_history,
        };
        let position = plan.position();
        let revision = import(&file, &status, engine, continuation, position, || {
            shown.inc(1);
        })?;
        shown.finish_and_clear();
        super::block_on(async { Ok(plan.write_log(Arc::new(FsDisk)).await?) })?;
        super::print(&format!(
            "restored {} keys into {}; member {:?} of the new cluster {:x}, revision {revision}\n",
            status.total_keys,
            self.data_dir.display(),
            self.name,
            plan.cluster_id()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_with_or_without_a_scheme() {
        for text in [
            "a=10.0.0.1:2380",
            "a=https://10.0.0.1:2380",
            "a=http://10.0.0.1:2380/",
        ] {
            let member = parse_member(text).expect("a member");
            assert_eq!(
                (member.name.as_str(), member.peer_address.as_str()),
                ("a", "10.0.0.1:2380")
            );
        }
        assert!(parse_member("10.0.0.1:2380").is_err());
    }
}
