//! Three members of a store on loopback, with etcd's flags.

use crate::measured::Servers;
use crate::usage;
use anyhow::{Context, Result, bail};
use etcd_client::Client;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MEMBERS: usize = 3;
const START_PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const QUOTA_BYTES: u64 = 8 << 30;
const FLUSHES: usize = 500;
/// The size of the writes that etcd's documentation tests disks with.
const FLUSHED_BYTES: usize = 2300;

/// A store that takes etcd's flags.
#[derive(Clone, Debug)]
pub struct Product {
    /// Its name and version.
    pub name: String,
    binary: PathBuf,
    subcommand: Option<&'static str>,
}

impl Product {
    /// An etcd.
    pub fn etcd(binary: &Path) -> Self {
        let version = Command::new(binary).arg("--version").output();
        let version = version
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .and_then(|text| {
                let line = text
                    .lines()
                    .find(|line| line.starts_with("etcd Version:"))?;
                Some(line.rsplit(' ').next()?.to_owned())
            });
        Self {
            name: format!("etcd {}", version.unwrap_or_default()),
            binary: binary.to_owned(),
            subcommand: None,
        }
    }

    /// Kontiki's store alone.
    pub fn kontiki(binary: &Path) -> Self {
        Self {
            name: "kontiki".to_owned(),
            binary: binary.to_owned(),
            subcommand: Some("etcd"),
        }
    }
}

/// Members that run. They end with this.
pub struct Members {
    product: Product,
    directory: PathBuf,
    /// Client and peer port of each.
    ports: Vec<(u16, u16)>,
    processes: Vec<Child>,
    leader: String,
}

impl Members {
    /// Starts three and waits until they have a leader.
    pub async fn start(product: &Product, directory: &Path) -> Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..MEMBERS {
            ports.push((free_port()?, free_port()?));
        }
        let mut members = Self {
            product: product.clone(),
            directory: directory.join(product.name.replace(' ', "-")),
            ports,
            processes: Vec::new(),
            leader: String::new(),
        };
        members.resume().await?;
        Ok(members)
    }

    /// The product's name.
    pub fn name(&self) -> &str {
        &self.product.name
    }

    /// The leader's endpoint.
    pub fn leader(&self) -> &str {
        &self.leader
    }

    /// Ends the processes; the data stays.
    pub fn stop(&mut self) {
        for process in &mut self.processes {
            // Errors mean that it has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
        self.processes.clear();
    }

    /// Starts the processes; answers how long it took until they served.
    pub async fn resume(&mut self) -> Result<Duration> {
        let started = Instant::now();
        for at in 0..MEMBERS {
            let child = self.spawn(at)?;
            self.processes.push(child);
        }
        self.leader = self.find_leader().await?;
        Ok(started.elapsed())
    }

    fn pids(&self) -> impl Iterator<Item = i32> {
        self.processes
            .iter()
            .map(|process| process.id().cast_signed())
    }

    fn spawn(&self, at: usize) -> Result<Child> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = self.ports[at];
        let cluster: Vec<String> = self
            .ports
            .iter()
            .enumerate()
            .map(|(at, (_, peer))| format!("m{at}={}", url(*peer)))
            .collect();
        let data = self.directory.join(format!("m{at}"));
        std::fs::create_dir_all(&self.directory)?;
        let log = File::create(self.directory.join(format!("m{at}.log")))?;
        let mut command = Command::new(&self.product.binary);
        command
            .args(self.product.subcommand)
            .args(["--name", &format!("m{at}")])
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen-client-urls", &url(client)])
            .args(["--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", "new"])
            .args(["--initial-cluster-token", "bench"])
            .args(["--quota-backend-bytes", &QUOTA_BYTES.to_string()])
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command
            .spawn()
            .with_context(|| format!("cannot run {}", self.product.binary.display()))
    }

    async fn find_leader(&self) -> Result<String> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(leader) = self.ask_for_leader().await {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} has no leader after {} s; its logs are in {}",
                    self.product.name,
                    START_PATIENCE.as_secs(),
                    self.directory.display()
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The endpoint of the member that leads, once every member knows it and reads work.
    async fn ask_for_leader(&self) -> Option<String> {
        let mut found = None;
        for (port, _) in &self.ports {
            let endpoint = format!("http://127.0.0.1:{port}");
            let mut client = Client::connect([&endpoint], None).await.ok()?;
            let status = client.status().await.ok()?;
            if status.leader() == 0 {
                return None;
            }
            client.get("ready", None).await.ok()?;
            if status.leader() == status.header()?.member_id() {
                found = Some(endpoint);
            }
        }
        found
    }
}

impl Servers for Members {
    fn cpu(&self) -> Result<Duration> {
        self.pids().map(usage::cpu_time).sum()
    }

    fn resident_bytes(&self) -> Result<u64> {
        let mut most = 0;
        for pid in self.pids() {
            most = most.max(usage::resident_bytes(pid)?);
        }
        Ok(most)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// The median cost of making a small append durable, in microseconds: the limit
/// that the disk sets.
pub fn flush_cost(directory: &Path) -> Result<f64> {
    let path = directory.join("flush");
    let mut file = File::create(&path)?;
    let mut costs = Vec::new();
    for _ in 0..FLUSHES {
        let started = Instant::now();
        file.write_all(&[7; FLUSHED_BYTES])?;
        file.sync_data()?;
        costs.push(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    costs.sort_unstable();
    Ok(costs[FLUSHES / 2].as_secs_f64() * 1e6)
}
