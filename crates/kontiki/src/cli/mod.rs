//! The command line. One file a command.

mod completion;
mod endpoints;
mod etcd;
mod kubeconfig;
mod member;
mod pki;
mod recover;
mod run;
mod snapshot;
mod status;
mod token;
mod version;

pub use run::stop_on_signal;

use crate::replica::{self, Ended};
use anyhow::Result;
use clap::{Parser, Subcommand};

/// Kubernetes' control plane and node agents in one binary, with the replicated
/// store built in.
///
/// Three servers are a highly available control plane: no etcd, no load
/// balancer, no virtual IP. Agents run the pods.
#[derive(Parser)]
#[command(name = "kontiki", version = version::LONG, propagate_version = false)]
#[command(
    after_help = "A first cluster on one machine: cargo xtask dev, from a checkout.\n\
    On real machines: docs/install.md."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server: API, store, scheduler and controllers.
    Server(run::ServerArgs),
    /// Run a node agent: kubelet, service proxy, pod network and DNS.
    Agent(run::AgentArgs),
    /// Make and show the cluster's certificate authorities and credentials.
    #[command(subcommand)]
    Pki(pki::Command),
    /// Write kubeconfig files.
    #[command(subcommand)]
    Kubeconfig(kubeconfig::Command),
    /// Create, list and revoke the tokens that let nodes join.
    #[command(subcommand)]
    Token(token::Command),
    /// Show how the store's members are.
    Status(status::Args),
    /// List and change the store's members.
    #[command(subcommand)]
    Member(member::Command),
    /// Save, check and restore snapshots of the store.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Save what survived when more than half of the members are lost for good.
    Recover(recover::Args),
    /// Run the store alone, with etcd's flags, in etcd's place.
    Etcd(Box<etcd::Args>),
    /// Show the version.
    Version(version::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
}

impl Cli {
    /// Carries out the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Server(args) => args.run(),
            Command::Agent(args) => args.run(),
            Command::Pki(command) => command.run(),
            Command::Kubeconfig(command) => command.run(),
            Command::Token(command) => command.run(),
            Command::Status(args) => args.run(),
            Command::Member(command) => command.run(),
            Command::Snapshot(command) => command.run(),
            Command::Recover(args) => args.run(),
            Command::Etcd(args) => args.run(),
            Command::Version(args) => args.run(),
            Command::Completion(args) => args.run(),
        }
    }
}

/// The end of a server; one whose data is corrupt starts itself again.
fn ended(ended: Ended) -> Result<()> {
    match ended {
        Ended::Asked => Ok(()),
        // At once would be too soon for most causes; who watches over it knows when.
        Ended::Failed => anyhow::bail!(
            "the store's replica has stopped, see the log above; mend the cause, for instance a full disk, and start this member again"
        ),
        Ended::Corrupt => Err(replica::start_again()),
    }
}

/// Runs a command that talks to servers.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// Prints a result, and fails quietly when nobody reads it any more.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
