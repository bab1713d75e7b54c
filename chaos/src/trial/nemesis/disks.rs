//! Disks that are full, slow, or do not hold what was written.

use super::{Nemesis, RECOVERY_MAX};
use crate::trial::schedule::{Damaged, Who};
use anyhow::{Context, Result, bail};
use kontiki_mvcc::conformance::Random;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The member whose disk is small.
const SMALL: usize = 0;
/// A damaged member that neither ends nor serves after this long is stuck.
const REBUILD_MAX: Duration = Duration::from_secs(30);
/// A member whose disk has space again serves within this, or is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(6);
const FILES_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

impl Nemesis<'_> {
    pub(super) async fn full_disk(&mut self, lasts: Duration) -> Result<()> {
        self.hit(&[SMALL]);
        self.fleet.let_end(SMALL);
        let file = self.fleet.data(SMALL).join("fill");
        fill(&file)?;
        tokio::time::sleep(lasts).await;
        fs::remove_file(&file)?;
        // It may have ended, or end a moment later, of what it could not write.
        self.until_running(SMALL).await
    }

    pub(super) async fn slow_disk(&mut self, who: Who, rate: u64, lasts: Duration) -> Result<()> {
        let mut limits = Vec::new();
        for member in self.resolve(who).await {
            let record = self.fleet.alive(member).context("it does not run")?;
            let group = self.fleet.disk_group(member)?;
            fs::write(group.join("cgroup.procs"), record.pid.to_string())?;
            let device = device(&self.fleet.data(member))?;
            limits.push((group.join("blkio.throttle.write_bps_device"), device));
        }
        for (limit, device) in &limits {
            fs::write(limit, format!("{device} {rate}"))
                .with_context(|| format!("the disk {device} cannot be slowed down"))?;
        }
        tokio::time::sleep(lasts).await;
        for (limit, device) in &limits {
            fs::write(limit, format!("{device} 0"))?;
        }
        Ok(())
    }

    /// Damages a stopped member, which must notice, say so, and be rebuilt.
    pub(super) async fn flipped_bits(&mut self, who: Who, damaged: Damaged) -> Result<()> {
        let member = self.resolve(who).await[0];
        self.fleet.let_end(member);
        let (store, ending) = (self.fleet.data(member).join("store"), damaged.ending());
        // State goes to files only when the log is cut.
        let deadline = Instant::now() + FILES_PATIENCE;
        while files(&store, &|name| name.ends_with(ending)).is_empty() && Instant::now() < deadline
        {
            tokio::time::sleep(POLL).await;
        }
        self.fleet.kill(member)?;
        let files = files(&store, &|name| name.ends_with(ending));
        let flipped = flip_bits(&files, &mut self.random)?;
        self.note(flipped);
        let before = self.fleet.said(member).len();
        self.fleet.start(member)?;
        let deadline = Instant::now() + REBUILD_MAX;
        loop {
            if self.fleet.alive(member).is_none() {
                let said = self.fleet.said(member);
                let last = said[before.min(said.len())..].trim_end();
                let last = last.lines().last().unwrap_or_default();
                if last.is_empty() {
                    bail!("{} ended without a word", self.fleet.name(member));
                }
                self.note(format!("it stopped and said: {last}"));
                self.fleet.wipe(member)?;
                self.fleet.start(member)?;
                break;
            }
            if self.serves(member).await {
                let said = self.fleet.said(member);
                let rebuilt = said[before.min(said.len())..].contains("set the corrupt data aside");
                self.note(if rebuilt {
                    "it noticed, set its data aside and was rebuilt from its peers"
                } else {
                    "it went on"
                });
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} neither ends nor serves; its log ends with\n{}",
                    self.fleet.name(member),
                    self.fleet.tail(member, 20)
                );
            }
            tokio::time::sleep(POLL).await;
        }
        let began = Instant::now();
        self.wait_serving(member, RECOVERY_MAX).await?;
        self.note(format!(
            "rebuilt from its peers within {} ms",
            began.elapsed().as_millis()
        ));
        Ok(())
    }

    /// Starts a member again if it ends, or if it neither ends nor serves, as
    /// whoever watches over a process does.
    async fn until_running(&mut self, member: usize) -> Result<()> {
        let began = Instant::now();
        let mut restarted = false;
        while !self.serves(member).await {
            if self.fleet.alive(member).is_none() {
                self.note("it ended, and is started again");
                self.fleet.start(member)?;
            } else if began.elapsed() > STUCK_AFTER && !restarted {
                restarted = true;
                self.note("it neither ended nor served, and is killed and started again");
                self.fleet.kill(member)?;
                self.fleet.start(member)?;
            }
            if began.elapsed() > RECOVERY_MAX {
                bail!(
                    "{} does not serve; its log ends with\n{}",
                    self.fleet.name(member),
                    self.fleet.tail(member, 20)
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// A damaged member may notice late: its data is then taken away once.
    pub(super) async fn until_rebuilt(&mut self, member: usize) -> Result<()> {
        let deadline = Instant::now() + REBUILD_MAX;
        let mut wiped = false;
        while !self.serves(member).await {
            let ended = self.fleet.alive(member).is_none();
            if (ended || Instant::now() > deadline) && !wiped {
                wiped = true;
                self.note("its data was taken away");
                self.fleet.kill(member)?;
                self.fleet.wipe(member)?;
                self.fleet.start(member)?;
            } else if ended {
                bail!(
                    "{} does not start on an empty disk:\n{}",
                    self.fleet.name(member),
                    self.fleet.tail(member, 20)
                );
            } else if Instant::now() > deadline + RECOVERY_MAX {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Damaged {
    /// What the names of such files end in.
    fn ending(self) -> &'static str {
        match self {
            Self::Log => ".wal",
            Self::State => ".sst",
        }
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut block = vec![0x5a_u8; 1 << 20];
    loop {
        match file.write(&block) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                if block.len() <= 1_024 {
                    return Ok(());
                }
                block.truncate(block.len() / 4);
            }
            Err(error) => return Err(error).context("the disk cannot be filled"),
        }
    }
}

/// The whole disk below a path, as the kernel numbers it.
fn device(path: &Path) -> Result<String> {
    let number = fs::metadata(path)?.dev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    // A partition's requests are counted at its disk.
    let partition = format!("/sys/dev/block/{major}:{minor}");
    let disk = fs::canonicalize(&partition).ok().and_then(|path| {
        path.join("partition").exists().then_some(())?;
        fs::read_to_string(path.parent()?.join("dev")).ok()
    });
    Ok(disk.map_or_else(|| format!("{major}:{minor}"), |text| text.trim().to_owned()))
}

/// The files below a folder whose path, from there, is wanted.
fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(dir) = folders.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap_or(&path);
            if path.is_dir() {
                folders.push(path);
            } else if wanted(&name.to_string_lossy()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Flips a few bits where something was written; answers what was done.
fn flip_bits(files: &[PathBuf], random: &mut Random) -> Result<String> {
    let mut candidates = Vec::new();
    for path in files {
        let bytes = fs::read(path)?;
        // Preallocated space holds zeroes; nobody would miss them.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        if used > 64 {
            candidates.push((path, used));
        }
    }
    let Some((path, used)) = candidates.get(random.below(candidates.len().max(1))) else {
        return Ok("there was nothing to damage".to_owned());
    };
    let at = random.below(*used);
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64)?;
    byte[0] ^= 1 << random.below(8);
    file.write_all_at(&byte, at as u64)?;
    file.sync_all()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("flipped a bit in byte {at} of {used} of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_flipped_where_something_was_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log/1.wal");
        fs::create_dir_all(dir.path().join("log")).expect("a folder");
        let mut bytes = vec![7_u8; 100];
        bytes.resize(4_096, 0);
        fs::write(&path, &bytes).expect("writes");
        fs::write(dir.path().join("LOCK"), b"").expect("writes");
        let found = files(dir.path(), &|name| name.contains(".wal"));
        assert_eq!(found, std::slice::from_ref(&path));
        for seed in 0..20 {
            fs::write(&path, &bytes).expect("writes");
            flip_bits(&found, &mut Random::new(seed)).expect("flips");
            let now = fs::read(&path).expect("reads");
            let differ: Vec<usize> = (0..4_096).filter(|at| now[*at] != bytes[*at]).collect();
            let [at] = differ[..] else {
                panic!("{differ:?}")
            };
            assert!(at < 100 && (now[at] ^ bytes[at]).count_ones() == 1);
        }
        assert!(flip_bits(&[], &mut Random::new(1)).is_ok());
    }
}
