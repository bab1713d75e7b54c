//! `cargo xtask apiserver`: one server with store and API alone, on loopback, for
//! tools that talk to an API server and want nobody else to.

use crate::process::{Processes, Spec};
use crate::{paths, shell};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROCESS: &str = "apiserver";
const NAME: &str = "apiserver";
const USER: &str = "corpus-admin";
const PATIENCE: Duration = Duration::from_secs(60);

/// Where it keeps its data, below the state of `cargo xtask up`, so that `cargo
/// xtask down` removes both.
#[must_use]
pub fn state() -> PathBuf {
    paths::state("kontiki").join("apiserver")
}

/// The credentials of its administrator.
#[must_use]
pub fn kubeconfig() -> PathBuf {
    paths::state("kontiki").join("corpus.kubeconfig")
}

/// Starts it afresh (what an earlier one stored is gone) on `port` and the two
/// after it (etcd API, peers), and waits until it is ready; returns its URL.
///
/// # Errors
/// If a port is taken or it does not become ready; with the end of its log.
pub fn start(binary: &Path, kubectl: &Path, port: u16) -> Result<String> {
    stop()?;
    let state = state();
    fs::create_dir_all(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
    for port in port..=port + 2 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("127.0.0.1:{port} is taken; choose others with --port"))?;
    }
    let url = format!("https://127.0.0.1:{port}");
    let config = write_files(binary, &state, port, &url)?;
    let processes = Processes::new(&state)?;
    processes.ensure(&Spec {
        name: PROCESS,
        namespace: None,
        command: vec![
            binary.to_string_lossy().into_owned(),
            "server".into(),
            "--config".into(),
            config.to_string_lossy().into_owned(),
        ],
        env: Vec::new(),
    })?;
    wait_ready(kubectl, &processes)?;
    Ok(url)
}

/// Its process.
///
/// # Errors
/// If it does not run.
pub fn pid() -> Result<i32> {
    let running = Processes::new(&state())?.alive(PROCESS);
    Ok(running.context("the server does not run")?.pid)
}

/// Ends it and removes its data; does nothing where it is not.
///
/// # Errors
/// If the files cannot be removed.
pub fn stop() -> Result<()> {
    let state = state();
    if !state.exists() {
        return Ok(());
    }
    Processes::new(&state)?.stop(PROCESS)?;
    let _ = fs::remove_file(kubeconfig());
    fs::remove_dir_all(&state).with_context(|| format!("{} cannot be removed", state.display()))
}

fn write_files(binary: &Path, state: &Path, port: u16, url: &str) -> Result<PathBuf> {
    let kontiki =
        |args: &[&str]| shell::output(&mut shell::command(&binary.to_string_lossy(), args));
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let pki = text(&state.join("data/pki"));
    fs::create_dir_all(state.join("data"))?;
    kontiki(&["pki", "init", "--dir", &pki])?;
    let (config, output) = (state.join("server.yaml"), text(&kubeconfig()));
    kontiki(&[
        "kubeconfig",
        "user",
        "--client-name",
        USER,
        "--org",
        "system:masters",
        "--pki-dir",
        &pki,
        "--server",
        url,
        "--output",
        &output,
    ])?;
    let contents = json!({
        "name": NAME,
        "dataDir": state.join("data"),
        "servers": [{"name": NAME, "address": "127.0.0.1"}],
        "listenAddress": "127.0.0.1",
        "apiPort": port,
        "etcdPort": port + 1,
        "peerPort": port + 2,
        "components": [],
    });
    fs::write(&config, serde_yaml_ng::to_string(&contents)?)
        .with_context(|| format!("cannot write {}", config.display()))?;
    Ok(config)
}

fn wait_ready(kubectl: &Path, processes: &Processes) -> Result<()> {
    let kubeconfig = kubeconfig().to_string_lossy().into_owned();
    let deadline = Instant::now() + PATIENCE;
    let end_of_log = || crate::cluster::tail(&processes.log(PROCESS), 30);
    loop {
        let args = ["--kubeconfig", &kubeconfig, "get", "--raw", "/readyz"];
        let error = match shell::output(&mut shell::command(&kubectl.to_string_lossy(), args)) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if processes.alive(PROCESS).is_none() {
            bail!("the server ended:\n{}", end_of_log());
        }
        if Instant::now() > deadline {
            let context = format!(
                "the server is not ready; its log ends with\n{}",
                end_of_log()
            );
            return Err(error.context(context));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
