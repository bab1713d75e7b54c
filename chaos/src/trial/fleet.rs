//! The members: real processes in network namespaces of their own, with their
//! data on a real disk.
//!
//! **Invariant:** everything that is made is taken away when this is dropped:
//! processes, mounts, cgroups, namespaces, data.

use crate::members::Members;
use crate::trial::scenario::Needs;
use crate::trial::wire::Wire;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::cluster::{Cluster, server_process};
use xtask::process::{Processes, Record, Spec};
use xtask::topology::{ETCD_PORT, Machine, Topology};
use xtask::{down, netns, paths, shell};

/// Where members hear each other, and where a proxy before them listens.
pub(crate) const PEER_PORT: u16 = 2380;
pub(crate) const PROXY_PORT: u16 = 2390;
/// Entries until the log is cut: few, so that members that were away need snapshots.
const LOG_ENTRIES: &str = "500";
const SMALL_DISK_BYTES: u64 = 320 << 20;
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A cluster for one run.
pub(crate) struct Fleet {
    topology: Topology,
    processes: Processes,
    state: PathBuf,
    binary: PathBuf,
    needs: Needs,
    /// Whole servers instead of the store alone.
    servers: Option<Cluster>,
    founders: usize,
    /// Members that are meant to be down.
    down: Mutex<BTreeSet<usize>>,
    /// Members that may end by themselves, with a message.
    may_end: Mutex<BTreeSet<usize>>,
}

impl Fleet {
    /// Makes the machines of a cluster; what an earlier run left is taken away.
    pub(crate) fn new(name: &str, members: usize, needs: Needs, binary: &Path) -> Result<Self> {
        let spare = usize::from(needs == Needs::Guest);
        let topology = Topology::new(name, u8::try_from(members + spare)?, 0);
        take_away(name)?;
        let state = paths::state(name);
        fs::create_dir_all(state.join("data"))?;
        let servers = match needs {
            Needs::Servers => Some(Cluster::new(topology.clone(), binary)?),
            _ => None,
        };
        let fleet = Self {
            servers,
            processes: Processes::new(&state)?,
            topology,
            state,
            binary: binary.to_owned(),
            needs,
            founders: members,
            down: Mutex::default(),
            may_end: Mutex::default(),
        };
        netns::create(&fleet.topology)?;
        if needs == Needs::SmallDisk {
            fleet.mount_small_disk()?;
        }
        if let Some(servers) = &fleet.servers {
            servers.credentials()?;
        }
        Ok(fleet)
    }

    /// The members that found the cluster.
    pub(crate) fn founders(&self) -> usize {
        self.founders
    }

    pub(crate) fn machine(&self, member: usize) -> &Machine {
        &self.topology.machines[member]
    }

    pub(crate) fn name(&self, member: usize) -> &str {
        &self.machine(member).name
    }

    /// The name of a member's process.
    fn process(&self, member: usize) -> String {
        match self.servers {
            Some(_) => server_process(self.machine(member)),
            None => self.name(member).to_owned(),
        }
    }

    /// The whole servers, if that is what the members are.
    pub(crate) fn servers(&self) -> Option<&Cluster> {
        self.servers.as_ref()
    }

    /// Ways to the members that found the cluster.
    pub(crate) fn wires(&self) -> Result<Vec<Wire>> {
        let members = match &self.servers {
            Some(servers) => Some(Members::new(&servers.state().join("etcd"))?),
            None => None,
        };
        let wire = |member| {
            let address = self.machine(member).address;
            match &members {
                Some(members) => Wire::secure(address, members),
                None => Wire::new(address),
            }
        };
        Ok((0..self.founders).map(wire).collect())
    }

    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let servers = self.topology.servers();
        servers.map(|machine| machine.address).collect()
    }

    pub(crate) fn namespace(&self, member: usize) -> String {
        self.topology.namespace(self.name(member))
    }

    /// The namespace of the clients.
    pub(crate) fn client_namespace(&self) -> String {
        self.topology.namespace(&self.topology.client().name)
    }

    pub(crate) fn data(&self, member: usize) -> PathBuf {
        self.state.join("data").join(self.name(member))
    }

    fn clock_file(&self, member: usize) -> PathBuf {
        self.state.join(format!("{}.clock", self.name(member)))
    }

    fn mount_small_disk(&self) -> Result<()> {
        let image = self.state.join("small.img");
        fs::File::create(&image)?.set_len(SMALL_DISK_BYTES)?;
        shell::output(shell::command("mkfs.ext4", ["-q", "-m", "0"]).arg(&image))?;
        fs::create_dir_all(self.data(0))?;
        let mut mount = shell::command("mount", ["-o", "loop"]);
        shell::output(mount.arg(&image).arg(self.data(0))).map(drop)
    }

    pub(crate) fn peer_url(&self, member: usize) -> String {
        let port = if self.needs == Needs::Proxies {
            PROXY_PORT
        } else {
            PEER_PORT
        };
        format!("http://{}:{port}", self.machine(member).address)
    }

    /// Starts a member unless it runs.
    pub(crate) fn start(&self, member: usize) -> Result<()> {
        self.down.lock().remove(&member);
        if let Some(servers) = &self.servers {
            return servers.start_server(self.machine(member));
        }
        let (name, address) = (self.name(member), self.machine(member).address);
        let guest = member >= self.founders;
        let mut cluster: Vec<usize> = (0..self.founders).collect();
        cluster.extend(guest.then_some(member));
        let cluster: Vec<String> = cluster
            .iter()
            .map(|other| format!("{}={}", self.name(*other), self.peer_url(*other)))
            .collect();
        let client = format!("http://{address}:{ETCD_PORT}");
        // Behind its proxy a member needs no other ear.
        let ear = match self.needs {
            Needs::Proxies => Ipv4Addr::LOCALHOST,
            _ => address,
        };
        // A file system has a folder of its own at its root.
        let data = self.data(member).join("store");
        let flags = [
            ("--name", name.to_owned()),
            ("--data-dir", data.to_string_lossy().into_owned()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", format!("http://{ear}:{PEER_PORT}")),
            ("--initial-advertise-peer-urls", self.peer_url(member)),
            ("--initial-cluster", cluster.join(",")),
            (
                "--initial-cluster-state",
                if guest { "existing" } else { "new" }.into(),
            ),
            ("--initial-cluster-token", self.topology.cluster.clone()),
            ("--snapshot-count", LOG_ENTRIES.to_owned()),
        ];
        let mut command = vec![
            self.binary.to_string_lossy().into_owned(),
            "etcd".to_owned(),
        ];
        for (flag, value) in flags {
            command.extend([flag.to_owned(), value]);
        }
        self.processes
            .ensure(&Spec {
                name,
                namespace: Some(&self.namespace(member)),
                command,
                env: self.environment(member)?,
            })
            .map(drop)
    }

    fn environment(&self, member: usize) -> Result<Vec<(String, String)>> {
        if self.needs != Needs::Clocks {
            return Ok(Vec::new());
        }
        let file = self.clock_file(member);
        if !file.exists() {
            fs::write(&file, "+0")?;
        }
        let file = file.to_string_lossy().into_owned();
        let settings = [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            // What NTP or an operator sets is the wall clock alone.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let owned = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(owned.to_vec())
    }

    /// Sets a member's wall clock off by so many seconds.
    pub(crate) fn set_clock(&self, member: usize, seconds: i64) -> Result<()> {
        let (file, next) = (self.clock_file(member), self.state.join("clock.next"));
        fs::write(&next, format!("{seconds:+}"))?;
        // Renamed, so that nobody reads half of it.
        fs::rename(&next, &file).context("the clock cannot be set")
    }

    pub(crate) fn alive(&self, member: usize) -> Option<Record> {
        self.processes.alive(&self.process(member))
    }

    pub(crate) fn signal(&self, member: usize, signal: Signal) -> Result<()> {
        self.processes.signal(&self.process(member), signal)
    }

    /// Kills a member and waits until it is gone.
    pub(crate) fn kill(&self, member: usize) -> Result<()> {
        self.down.lock().insert(member);
        let Some(record) = self.alive(member) else {
            return Ok(());
        };
        self.signal(member, Signal::SIGKILL)?;
        self.wait_gone(member, &record)
    }

    fn wait_gone(&self, member: usize, record: &Record) -> Result<()> {
        let deadline = Instant::now() + END_PATIENCE;
        while self.alive(member).is_some() {
            let _ = waitpid(Pid::from_raw(record.pid), Some(WaitPidFlag::WNOHANG));
            if Instant::now() > deadline {
                bail!("{} does not end", self.name(member));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = waitpid(Pid::from_raw(record.pid), Some(WaitPidFlag::WNOHANG));
        Ok(())
    }

    /// Asks a member to stop; it hands over first. How long it took.
    pub(crate) fn stop(&self, member: usize) -> Result<Duration> {
        self.down.lock().insert(member);
        let began = Instant::now();
        if let Some(record) = self.alive(member) {
            self.signal(member, Signal::SIGTERM)?;
            self.wait_gone(member, &record)?;
        }
        Ok(began.elapsed())
    }

    /// Moves a member's data out of its way.
    pub(crate) fn wipe(&self, member: usize) -> Result<()> {
        let data = self.data(member);
        fs::remove_dir_all(data.join("store"))
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .with_context(|| format!("the data of {} cannot be removed", self.name(member)))
    }

    /// From now on this member may end by itself: its files were damaged.
    pub(crate) fn let_end(&self, member: usize) {
        self.may_end.lock().insert(member);
    }

    pub(crate) fn may_end(&self, member: usize) -> bool {
        self.may_end.lock().contains(&member)
    }

    /// Members that were meant to run and do not.
    pub(crate) fn missing(&self) -> Vec<usize> {
        let down = self.down.lock().clone();
        let members = 0..self.topology.servers().count();
        let meant = members.filter(|member| !down.contains(member));
        meant
            .filter(|member| {
                let started = self.processes.log(&self.process(*member)).exists();
                started && self.alive(*member).is_none()
            })
            .collect()
    }

    /// The end of what a member said.
    pub(crate) fn tail(&self, member: usize, lines: usize) -> String {
        xtask::cluster::tail(&self.processes.log(&self.process(member)), lines)
    }

    /// Everything that a member said.
    pub(crate) fn said(&self, member: usize) -> String {
        fs::read_to_string(self.processes.log(&self.process(member))).unwrap_or_default()
    }

    /// The folder of a member's blkio group, made if it is not there.
    pub(crate) fn disk_group(&self, member: usize) -> Result<PathBuf> {
        let group = Path::new("/sys/fs/cgroup/blkio/kontiki")
            .join(&self.topology.cluster)
            .join(self.name(member));
        fs::create_dir_all(&group).context("this kernel has no blkio cgroups of version 1")?;
        Ok(group)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in 0..self.topology.servers().count() {
            // Stopped members are not worth the time of a graceful end.
            let _ = self.kill(member);
        }
        if let Err(error) = down::down(&self.topology) {
            xtask::progress::say(&format!("chaos: something stays behind: {error:#}"));
        }
    }
}

/// Takes away what a run of this name left, however many members it had.
pub(crate) fn take_away(name: &str) -> Result<()> {
    down::down(&Topology::new(name, 9, 0)).context("what an earlier run left cannot be removed")
}
