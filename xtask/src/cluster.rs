//! Bringing a cluster up, step by step. Every step finds out what is there and
//! does the rest, so that a second run repairs and an interrupted one goes on.

use crate::containerd::Containerd;
use crate::kubectl::Kubectl;
use crate::process::{Processes, Spec};
use crate::topology::{API_PORT, ETCD_PORT, Machine, Role, Topology};
use crate::{images, netns, paths, shell};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where pods get their addresses from.
pub const CLUSTER_CIDR: &str = "10.244.0.0/16";
/// Where Services get their addresses from.
pub const SERVICE_CIDR: &str = "10.96.0.0/12";
const STREAM_PORT: u16 = 10_010;

/// A cluster of this machine.
pub struct Cluster {
    /// Its machines.
    pub topology: Topology,
    /// Its processes.
    pub processes: Processes,
    state: PathBuf,
    binary: PathBuf,
}

/// The ports on 127.0.0.1 that lead into a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// The Kubernetes API, on any server.
    pub api: u16,
    /// The etcd API, one for each server.
    pub etcd: Vec<u16>,
}

impl Cluster {
    /// A handle on a cluster that may or may not be there.
    ///
    /// # Errors
    /// If its state folder cannot be made.
    pub fn new(topology: Topology, binary: &Path) -> Result<Self> {
        let state = paths::state(&topology.cluster);
        fs::create_dir_all(&state)?;
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
        let processes = Processes::new(&state)?;
        Ok(Self {
            topology,
            processes,
            state,
            binary: binary.to_owned(),
        })
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The administrator's kubeconfig, which works from the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// The product's binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    fn kontiki(&self, args: &[&str]) -> Result<String> {
        shell::output(&mut shell::command(&self.binary.to_string_lossy(), args))
    }

    fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    fn data(&self, machine: &Machine) -> PathBuf {
        self.state.join("data").join(&machine.name)
    }

    fn run_dir(&self, machine: &Machine) -> PathBuf {
        paths::run(&self.topology.cluster).join(&machine.name)
    }

    /// The ports on the host, chosen once.
    ///
    /// # Errors
    /// If no port is free.
    pub fn ports(&self) -> Result<Ports> {
        let path = self.state.join("ports.json");
        if let Ok(text) = fs::read(&path)
            && let Ok(ports) = serde_json::from_slice(&text)
        {
            return Ok(ports);
        }
        let mut taken = Vec::new();
        let mut free = |wanted: u16| -> Result<u16> {
            let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            let listener = bind(wanted)
                .or_else(|_| bind(0))
                .context("no port is free on 127.0.0.1")?;
            let port = listener.local_addr()?.port();
            // Held until all are chosen, so that none is chosen twice.
            taken.push(listener);
            Ok(port)
        };
        let api = free(16_443)?;
        let etcd = (0..self.topology.servers().count())
            .map(|_| free(0))
            .collect::<Result<_>>()?;
        let ports = Ports { api, etcd };
        fs::write(&path, serde_json::to_vec(&ports)?)?;
        Ok(ports)
    }

    /// Makes the namespaces.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn network(&self) -> Result<()> {
        netns::create(&self.topology)?;
        // The client reaches Services and pods through the first node, as a
        // machine outside the cluster does.
        if let Some(node) = self.topology.nodes().next() {
            for network in [CLUSTER_CIDR, SERVICE_CIDR] {
                netns::route(&self.topology, &self.topology.client().name, network, node)?;
            }
        }
        Ok(())
    }

    /// Makes the authorities and the users' credentials.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn credentials(&self) -> Result<()> {
        let pki = self.pki();
        let pki_dir = pki.to_string_lossy().into_owned();
        self.kontiki(&["pki", "init", "--dir", &pki_dir])?;
        for server in self.topology.servers() {
            let dir = self.data(server).join("pki");
            if !dir.exists() {
                fs::create_dir_all(self.data(server))?;
                shell::output(shell::command("cp", ["-a"]).arg(&pki).arg(&dir))?;
            }
        }
        let ports = self.ports()?;
        if !self.kubeconfig().exists() {
            let server = format!("https://127.0.0.1:{}", ports.api);
            let output = self.kubeconfig().to_string_lossy().into_owned();
            self.kontiki(&[
                "kubeconfig",
                "admin",
                "--pki-dir",
                &pki_dir,
                "--server",
                &server,
                "--output",
                &output,
            ])?;
        }
        let etcd = self.state.join("etcd");
        if !etcd.join("endpoints").exists() {
            let dir = etcd.to_string_lossy().into_owned();
            self.kontiki(&[
                "pki",
                "etcd-client",
                "--pki-dir",
                &pki_dir,
                "--output",
                &dir,
            ])?;
            let endpoints: Vec<String> = ports
                .etcd
                .iter()
                .map(|port| format!("https://127.0.0.1:{port}"))
                .collect();
            fs::write(etcd.join("endpoints"), endpoints.join(","))?;
        }
        Ok(())
    }

    fn server_config(&self, server: &Machine) -> serde_json::Value {
        let servers: Vec<serde_json::Value> = self
            .topology
            .servers()
            .map(|machine| json!({"name": machine.name, "address": machine.address}))
            .collect();
        json!({
            "name": server.name,
            "dataDir": self.data(server),
            "servers": servers,
            "serviceCIDR": SERVICE_CIDR,
            "clusterCIDR": CLUSTER_CIDR,
            "extraNames": ["127.0.0.1", "localhost"],
        })
    }

    /// Starts a server unless it runs.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_server(&self, server: &Machine) -> Result<()> {
        let config = self.data(server).join("server.yaml");
        fs::create_dir_all(self.data(server))?;
        write_yaml(&config, &self.server_config(server))?;
        let namespace = self.topology.namespace(&server.name);
        self.processes.ensure(&Spec {
            name: &server_process(server),
            namespace: Some(&namespace),
            command: vec![
                path_text(&self.binary),
                "server".into(),
                "--config".into(),
                path_text(&config),
            ],
            env: Vec::new(),
        })?;
        Ok(())
    }

    /// Starts every server and the way in from the host.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_servers(&self) -> Result<()> {
        for server in self.topology.servers() {
            self.start_server(server)?;
        }
        let ports = self.ports()?;
        let at = |port: u16| move |server: &Machine| format!("{}:{port}", server.address);
        let api: Vec<String> = self.topology.servers().map(at(API_PORT)).collect();
        let mut forwards = vec![format!("{}={}", ports.api, api.join(","))];
        for (server, port) in self.topology.servers().zip(&ports.etcd) {
            forwards.push(format!("{port}={}", at(ETCD_PORT)(server)));
        }
        let program = crate::build::this_program()?;
        let mut command = vec![path_text(&program), "forward".into(), "--namespace".into()];
        command.push(self.topology.namespace(&self.topology.client().name));
        command.extend(forwards);
        self.processes.ensure(&Spec {
            name: "forwarder",
            namespace: None,
            command,
            env: Vec::new(),
        })?;
        Ok(())
    }

    /// Waits until the API answers that it is ready.
    ///
    /// # Errors
    /// If it does not, with the end of a server's log.
    pub fn wait_ready(&self, kubectl: &Kubectl, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            match kubectl.run(&["get", "--raw", "/readyz"]) {
                Ok(_) => return Ok(()),
                Err(error) => {
                    for server in self.topology.servers() {
                        let name = server_process(server);
                        if self.processes.alive(&name).is_none() {
                            bail!("{name} ended:\n{}", tail(&self.processes.log(&name), 30));
                        }
                    }
                    if Instant::now() > deadline {
                        let first = self
                            .topology
                            .servers()
                            .next()
                            .map(server_process)
                            .unwrap_or_default();
                        return Err(error.context(format!(
                            "the API server did not become ready; its log ends with\n{}",
                            tail(&self.processes.log(&first), 30)
                        )));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts a node's containerd and agent unless they run.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_node(&self, node: &Machine, kubectl: &Kubectl) -> Result<()> {
        let (data, run) = (self.data(node), self.run_dir(node));
        let containerd = Containerd::new(&data, &run);
        for dir in [&data, &run, &containerd.root, &containerd.cni] {
            fs::create_dir_all(dir)?;
        }
        let config = data.join("containerd.toml");
        fs::write(&config, containerd.config(images::PAUSE, STREAM_PORT))?;
        let namespace = self.topology.namespace(&node.name);
        self.processes.ensure(&Spec {
            name: &format!("{}-containerd", node.name),
            namespace: Some(&namespace),
            command: vec!["containerd".into(), "--config".into(), path_text(&config)],
            env: Vec::new(),
        })?;
        self.wait_for(&containerd.socket(), &format!("{}-containerd", node.name))?;
        let archive = images::archive()?;
        retry(Duration::from_secs(30), || {
            images::import(&containerd.socket(), &archive)
        })?;
        self.start_agent(node, &containerd, kubectl)
    }

    fn start_agent(
        &self,
        node: &Machine,
        containerd: &Containerd,
        kubectl: &Kubectl,
    ) -> Result<()> {
        let name = agent_process(node);
        if self.processes.alive(&name).is_some() {
            return Ok(());
        }
        let (data, run) = (self.data(node), self.run_dir(node));
        let config = data.join("agent.yaml");
        let token_file = data.join("token");
        if !data.join("agent/pki/client.crt").exists() {
            let kubeconfig = path_text(&self.kubeconfig());
            let token = self.kontiki(&["token", "create", "--kubeconfig", &kubeconfig])?;
            write_private(&token_file, token.trim())?;
        }
        let servers: Vec<String> = self
            .topology
            .servers()
            .map(|server| format!("{}:{API_PORT}", server.address))
            .collect();
        write_yaml(
            &config,
            &json!({
                "nodeName": node.name,
                "nodeIP": node.address,
                "dataDir": data.join("agent"),
                "servers": servers,
                "tokenFile": token_file,
                "containerRuntimeEndpoint": format!("unix://{}", containerd.socket().display()),
                "cniConfDir": containerd.cni,
                "cniBinDir": "/usr/lib/cni",
                "cgroupRoot": format!("/kontiki/{}/{}", self.topology.cluster, node.name),
                "podLogsDir": run.join("logs"),
            }),
        )?;
        let _ = kubectl;
        self.processes.ensure(&Spec {
            name: &name,
            namespace: Some(&self.topology.namespace(&node.name)),
            command: vec![
                path_text(&self.binary),
                "agent".into(),
                "--config".into(),
                path_text(&config),
            ],
            env: Vec::new(),
        })?;
        Ok(())
    }

    fn wait_for(&self, path: &Path, process: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !path.exists() {
            if self.processes.alive(process).is_none() || Instant::now() > deadline {
                bail!(
                    "{process} did not start:\n{}",
                    tail(&self.processes.log(process), 30)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until every node says that it is ready.
    ///
    /// # Errors
    /// If one does not, with the end of its agent's log.
    pub fn wait_nodes(&self, kubectl: &Kubectl, patience: Duration) -> Result<()> {
        let wanted = self.topology.nodes().count();
        let path =
            "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status} {end}";
        let ready = |text: &str| {
            text.split_whitespace()
                .filter(|word| *word == "True")
                .count()
                >= wanted
        };
        kubectl
            .until(&["get", "nodes", "-o", path], patience, ready)
            .map(drop)
            .map_err(|error| {
                let first = self
                    .topology
                    .nodes()
                    .next()
                    .map(agent_process)
                    .unwrap_or_default();
                error.context(format!(
                    "a node is not ready; {first} says\n{}",
                    tail(&self.processes.log(&first), 30)
                ))
            })
    }

    /// Fetches the page of a Service from the client's namespace.
    ///
    /// # Errors
    /// If no fetch succeeds within `patience`.
    pub fn fetch(&self, address: SocketAddr, patience: Duration) -> Result<String> {
        let namespace = self.topology.namespace(&self.topology.client().name);
        netns::inside(&namespace, move || {
            retry(patience, || {
                crate::fetch::page(address, Duration::from_secs(2))
            })
        })
    }
}

/// The process name of a machine's server.
#[must_use]
pub fn server_process(machine: &Machine) -> String {
    debug_assert!(matches!(machine.role, Role::Server | Role::Both));
    format!("{}-server", machine.name)
}

/// The process name of a machine's agent.
#[must_use]
pub fn agent_process(machine: &Machine) -> String {
    format!("{}-agent", machine.name)
}

/// Repeats `work` until it succeeds.
///
/// # Errors
/// What it failed with last, once `patience` is at its end.
pub fn retry<T>(patience: Duration, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match work() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            result => return result,
        }
    }
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &Path, count: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn write_yaml(path: &Path, value: &serde_json::Value) -> Result<()> {
    fs::write(path, serde_yaml_ng::to_string(value)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
