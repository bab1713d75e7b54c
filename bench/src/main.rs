//! `kontiki-bench`: what Kontiki costs, as figures.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use kontiki_bench::cluster::{self, CLUSTER, Plan};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use xtask::cluster::Cluster;
use xtask::kubectl::Kubectl;
use xtask::progress::Steps;
use xtask::topology::Topology;
use xtask::{down, install, up};

/// What Kontiki costs, as figures.
#[derive(Parser)]
#[command(name = "kontiki-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// One document of JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// The product's binary.
    #[arg(long, global = true, env = "KONTIKI_BINARY")]
    binary: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// A cluster of three servers and two nodes, made for this: how soon servers
    /// are ready and pods run, and what every process costs when nothing happens.
    Cluster {
        /// So many pods are started, one after the other.
        #[arg(long, default_value_t = 20)]
        pods: u32,
        /// Length of the idle measurement, in seconds.
        #[arg(long, default_value_t = 30)]
        idle_seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kontiki-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Cluster { pods, idle_seconds } => {
            let plan = Plan {
                pods,
                settle: Duration::from_secs(15),
                idle: Duration::from_secs(idle_seconds),
            };
            bench_cluster(plan, &cli.common)
        }
    }
}

fn bench_cluster(plan: Plan, common: &Common) -> Result<()> {
    let steps = Steps::new();
    let kubectl = steps.step("kubectl", |step| install::kubectl("1.36", step))?;
    let topology = Topology::new(CLUSTER, 3, 2);
    steps.step("an empty machine", |_| down::down(&topology))?;
    let cluster = Cluster::new(topology.clone(), &common.binary)?;
    let kubectl = Kubectl::new(&kubectl, &cluster.kubeconfig());
    let measured = up::bring_up(&steps, &cluster, &kubectl).and_then(|_page| {
        steps.step("measurements", |step| {
            cluster::measure(&cluster, plan, &|note| step.note(note))
        })
    });
    steps.step("the cluster is taken away", |_| down::down(&topology))?;
    let outcome = measured?;
    let text = if common.json {
        format!("{}\n", serde_json::to_string(&outcome)?)
    } else {
        cluster::text(&outcome)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
