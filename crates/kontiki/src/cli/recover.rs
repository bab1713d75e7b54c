//! `kontiki recover`: when more than half of the members are lost for good.

use crate::replica::{Encryption, SetAside, open_engine};
use crate::server::StoreDirs;
use anyhow::{Context, Result, bail, ensure};
use kontiki_raft::Surviving;
use kontiki_wal::FsDisk;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Save what survived the loss of a quorum.
///
/// Shows what each of the disks holds, picks the one whose log goes farthest, and
/// writes everything in it to a snapshot file. From that file a new cluster is
/// restored; the old members, should they come back, are not part of it and cannot
/// disturb it. Stop the members first. As long as a quorum can be brought back,
/// bring it back instead: nothing is lost then.
#[derive(clap::Args)]
pub struct Args {
    /// The members' data directories, all that survived.
    #[arg(required = true)]
    data_dirs: Vec<PathBuf>,
    /// Where to write the snapshot; without this, disks are only shown.
    #[arg(long)]
    save: Option<PathBuf>,
    /// The members' encryption keys, if their data is encrypted.
    #[arg(long)]
    encryption_key_file: Option<PathBuf>,
}

struct Found {
    dir: PathBuf,
    disk: Surviving,
}

impl Args {
    /// Carries it out.
    pub fn run(self) -> Result<()> {
        let mut found = Vec::new();
        for dir in self.data_dirs {
            let keys = self.encryption_key_file.as_deref();
            let disk =
                open(&dir, keys).with_context(|| format!("cannot read {}", dir.display()))?;
            found.push(Found { dir, disk });
        }
        super::print(&shown(&found))?;
        let clusters = found.iter().map(|found| found.disk.cluster_id());
        let cluster = found[0].disk.cluster_id();
        ensure!(
            clusters.clone().all(|id| id == cluster),
            "these disks belong to different clusters; name those of one"
        );
        let farthest = found
            .iter()
            .enumerate()
            .max_by_key(|(_, found)| found.disk.end());
        let (at, _) = farthest.context("no disk is named")?;
        let mut best = found.swap_remove(at);
        super::print(&advice(&best, &found))?;
        let Some(file) = self.save else {
            return super::print("Nothing was written; give --save FILE to go on.\n");
        };
        if file.exists() {
            bail!("{} exists already; choose another name", file.display());
        }
        best.disk.apply_all()?;
        let (revision, dump) = (best.disk.revision(), best.disk.dump()?);
        kontiki_etcd::snapshot::save(dump, "https", &file)?;
        super::print(&format!(
            "Saved revision {revision} to {file}.\n\n\
             Next, on every machine of the new cluster, with an empty data directory:\n\
             \x20 kontiki snapshot restore {file} --data-dir DIR --name NAME --initial-cluster NAME=host:port,…\n\
             Then start the members. Keep the old disks until you have seen that all is well.\n",
            file = file.display()
        ))
    }
}

fn open(dir: &Path, key_file: Option<&Path>) -> Result<Surviving> {
    let dirs = StoreDirs::of(dir);
    // Opening would make what is not there.
    ensure!(
        dirs.log.is_dir() && dirs.state.is_dir(),
        "there is no store in it"
    );
    let keys = Encryption::of(&SetAside::of(dir).store(), key_file).unlock()?;
    let engine = open_engine(&dirs.state, keys.clone())?;
    Ok(Surviving::open(&dirs.log, Arc::new(FsDisk), engine, keys)?)
}

fn shown(found: &[Found]) -> String {
    let mut out = String::new();
    for Found { dir, disk } in found {
        let end = disk.end();
        let _ = writeln!(
            out,
            "{}\n  member    {} ({:x}) of cluster {:x}\n  log       up to entry {} of term {}\n  state     up to entry {}, revision {}",
            dir.display(),
            disk.name(),
            disk.member_id(),
            disk.cluster_id(),
            end.index,
            end.term,
            disk.applied_index(),
            disk.revision()
        );
        for member in disk.members() {
            let _ = writeln!(
                out,
                "  knows     {} ({:x}) at {}{}",
                member.name,
                member.id,
                member.peer_addresses.join(", "),
                if member.is_learner { ", a learner" } else { "" }
            );
        }
    }
    out
}

/// Which disk is taken, and what may be lost with it.
fn advice(best: &Found, others: &[Found]) -> String {
    let members = best.disk.members();
    let voters: Vec<u64> = members
        .iter()
        .filter(|member| !member.is_learner)
        .map(|member| member.id)
        .collect();
    let there = |id: &u64| {
        *id == best.disk.member_id() || others.iter().any(|other| other.disk.member_id() == *id)
    };
    let survived = voters.iter().filter(|id| there(id)).count();
    let mut out = format!(
        "\nThe log of {} ({}) goes farthest.\n",
        best.disk.name(),
        best.dir.display()
    );
    out.push_str(match survived > voters.len() / 2 {
        true => {
            "More than half of the voters are here: everything that was acknowledged is in it. \
             Starting these members again is the better way, if they can be.\n"
        }
        false => {
            "Half of the voters or more are missing: writes of the last moments that only they \
             acknowledged are lost, and writes that nobody acknowledged may come to be.\n"
        }
    });
    out
}
