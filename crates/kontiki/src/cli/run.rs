//! `kontiki server` and `kontiki agent`.

use crate::config::{self, AgentConfig, ServerConfig};
use crate::{agent, server};
use anyhow::{Context, Result};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// How a server is started.
#[derive(clap::Args)]
pub struct ServerArgs {
    /// The configuration file; docs/install.md tells what it may hold.
    #[arg(long, short, default_value = "/etc/kontiki/server.yaml")]
    config: PathBuf,
}

/// How an agent is started.
#[derive(clap::Args)]
pub struct AgentArgs {
    /// The configuration file; docs/install.md tells what it may hold.
    #[arg(long, short, default_value = "/etc/kontiki/agent.yaml")]
    config: PathBuf,
}

impl ServerArgs {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        let config: ServerConfig = config::read(&self.config)?;
        super::ended(runtime()?.block_on(server::run(config))?)
    }
}

impl AgentArgs {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        anyhow::ensure!(
            nix::unistd::geteuid().is_root(),
            "the agent makes containers, routes and packet filter rules: run it as root"
        );
        let config: AgentConfig = config::read(&self.config)?;
        runtime()?.block_on(agent::run(config))
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Cancels on SIGTERM or SIGINT; a second one ends the process at once.
pub fn stop_on_signal(cancel: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if last {
                tracing::warn!("ending at once");
                std::process::exit(1);
            }
            tracing::info!("stopping");
            cancel.cancel();
        }
    });
    Ok(())
}
