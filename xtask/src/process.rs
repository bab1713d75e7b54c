//! Long-running processes: started into a namespace, found again by a record,
//! ended by id.
//!
//! **Invariant:** a signal goes only to a process whose start time is the
//! recorded one, so never to a stranger that got the same id later.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is remembered of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Where its output goes.
    pub log: PathBuf,
}

/// What to start.
pub struct Spec<'a> {
    /// Its name in the cluster, for instance `s1-server`.
    pub name: &'a str,
    /// The network namespace; `None` for the host's.
    pub namespace: Option<&'a str>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
}

/// The processes of one cluster.
pub struct Processes {
    records: PathBuf,
    logs: PathBuf,
}

impl Processes {
    /// Keeps records and logs below a cluster's state folder.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub fn new(state: &Path) -> Result<Self> {
        let (records, logs) = (state.join("run"), state.join("logs"));
        fs::create_dir_all(&records)?;
        fs::create_dir_all(&logs)?;
        Ok(Self { records, logs })
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.records.join(format!("{name}.json"))
    }

    /// The log of a process.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The record of a process that is alive.
    #[must_use]
    pub fn alive(&self, name: &str) -> Option<Record> {
        let record = fs::read(self.record_path(name)).ok()?;
        let record: Record = serde_json::from_slice(&record).ok()?;
        (start_ticks(record.pid) == Some(record.start_ticks)).then_some(record)
    }

    /// Starts a process unless it is alive.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn ensure(&self, spec: &Spec<'_>) -> Result<Record> {
        if let Some(record) = self.alive(spec.name) {
            return Ok(record);
        }
        let log = self.log(spec.name);
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut words = spec.command.clone();
        if let Some(namespace) = spec.namespace {
            // nsenter, not `ip netns exec`: that would mount a /sys without cgroups.
            let net = format!("--net={}", crate::netns::path(namespace).display());
            words.splice(0..0, ["nsenter".to_owned(), net, "--".to_owned()]);
        }
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .envs(spec.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // A group of its own: Ctrl-C on the terminal is not for it.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", words.join(" ")))?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let start_ticks = start_ticks(pid)
            .with_context(|| format!("{} ended at once, see {}", spec.name, log.display()))?;
        let record = Record {
            pid,
            start_ticks,
            log,
        };
        fs::write(self.record_path(spec.name), serde_json::to_vec(&record)?)?;
        Ok(record)
    }

    /// Sends a signal to a process that is alive.
    ///
    /// # Errors
    /// If it is not alive.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let Some(record) = self.alive(name) else {
            bail!("{name} is not running")
        };
        kill(Pid::from_raw(record.pid), signal)
            .with_context(|| format!("cannot send {signal} to {name}"))
    }

    /// Ends a process: SIGTERM, and SIGKILL if it takes too long.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn stop(&self, name: &str) -> Result<()> {
        if let Some(record) = self.alive(name) {
            end(record.pid, record.start_ticks, Duration::from_secs(10));
        }
        let _ = fs::remove_file(self.record_path(name));
        Ok(())
    }

    /// The names of all processes that have a record.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.records).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".json")
                    .map(str::to_owned)
            })
            .collect();
        names.sort();
        names
    }
}

/// Ends a process by id and start time.
pub fn end(pid: i32, ticks: u64, patience: Duration) {
    let alive = || start_ticks(pid) == Some(ticks);
    for (signal, patience) in [
        (Signal::SIGTERM, patience),
        (Signal::SIGKILL, Duration::from_secs(5)),
    ] {
        if !alive() {
            return;
        }
        // A paused process would not see its end coming.
        let _ = kill(Pid::from_raw(pid), signal);
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        let deadline = Instant::now() + patience;
        while alive() && Instant::now() < deadline {
            reap(pid);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Takes the exit of a child, so that it does not stay as a zombie that looks alive.
fn reap(pid: i32) {
    let _ = nix::sys::wait::waitpid(
        Pid::from_raw(pid),
        Some(nix::sys::wait::WaitPidFlag::WNOHANG),
    );
}

/// When a process started, in clock ticks since boot; `None` if it is gone or a zombie.
#[must_use]
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; what follows its last one does not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A killed program's first thread is a zombie before its others have let go
    // of their ports and files: it is gone when none is left.
    if matches!(fields.first(), Some(&"Z" | &"X")) && threads(pid) <= 1 {
        return None;
    }
    fields.get(19)?.parse().ok()
}

fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_alive_only_with_its_own_start_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let processes = Processes::new(dir.path()).expect("folders");
        let spec = Spec {
            name: "sleeper",
            namespace: None,
            command: vec!["sleep".into(), "60".into()],
            env: Vec::new(),
        };
        let record = processes.ensure(&spec).expect("starts");
        assert_eq!(processes.ensure(&spec).expect("is there").pid, record.pid);
        let stranger = Record {
            start_ticks: record.start_ticks + 1,
            ..record
        };
        fs::write(
            processes.record_path("stranger"),
            serde_json::to_vec(&stranger).expect("encodes"),
        )
        .expect("writes");
        assert!(processes.alive("stranger").is_none());
        assert!(processes.signal("stranger", Signal::SIGTERM).is_err());
        processes.stop("sleeper").expect("stops");
        assert!(processes.alive("sleeper").is_none());
    }
}
