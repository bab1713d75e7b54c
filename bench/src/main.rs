//! `kontiki-bench`: what Kontiki costs, as figures.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use kontiki_bench::cluster::{self, CLUSTER, Plan};
use kontiki_bench::{api, store};
use kontiki_client::HttpsConfig;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use xtask::cluster::Cluster;
use xtask::kubectl::Kubectl;
use xtask::progress::Steps;
use xtask::topology::Topology;
use xtask::{apiserver, down, install, up};

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
    binary: Option<PathBuf>,
}

impl Common {
    fn binary(&self) -> Result<PathBuf> {
        self.binary
            .clone()
            .context("which binary is to be measured? Name it with --binary or KONTIKI_BINARY, or use `cargo xtask bench`, which builds it")
    }
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
    /// Three members of the store beside three of each of two etcds, in turns on
    /// this machine: throughput, latency, processor time and memory of the same work.
    Store(StoreArgs),
    /// One server with store and API alone, over TLS: what requests, lists and
    /// watches cost it.
    Api(ApiArgs),
}

/// The API.
#[derive(Args)]
struct ApiArgs {
    /// Objects of a verb with one client; ten times as many with more.
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// Objects of the lists; 0 leaves them out.
    #[arg(long, default_value_t = 10_000)]
    listed: usize,
    /// Objects that watchers see; 0 leaves them out.
    #[arg(long, default_value_t = 3000)]
    watched: usize,
    /// Objects there when memory is looked at; 0 leaves it out.
    #[arg(long, default_value_t = 100_000)]
    held: usize,
    /// Only what contains this: a verb, `list`, `events` or `held`.
    #[arg(long, default_value = "")]
    only: String,
    /// The port of the API; the next two are for the etcd API and peers.
    #[arg(long, default_value_t = 6543)]
    port: u16,
}

/// The store beside etcd.
#[derive(Args)]
struct StoreArgs {
    /// Length of each measured interval, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Each workload is given to each product so many times, in turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Clients of the many-client workloads.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Keys of the bulk load; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    bulk_keys: u64,
    /// Only workloads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// A further etcd server, to compare with as well.
    #[arg(long)]
    etcd: Vec<PathBuf>,
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
        Command::Store(args) => bench_store(args, &cli.common),
        Command::Api(args) => bench_api(args, &cli.common),
    }
}

fn bench_store(args: StoreArgs, common: &Common) -> Result<()> {
    let steps = Steps::new();
    let debian = steps.step("etcd-server", install::etcd_server)?;
    let newer = steps.step("a newer etcd", install::newer_etcd)?;
    let plan = store::Plan {
        kontiki: common.binary()?,
        etcds: [debian, newer].into_iter().chain(args.etcd).collect(),
        directory: store::directory(&xtask::paths::root()),
        interval: Duration::from_secs(args.seconds),
        rounds: args.rounds.max(1),
        clients: args.clients.max(1),
        bulk_keys: args.bulk_keys,
        only: args.only,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = steps.step("workloads", |step| {
        runtime.block_on(store::run(&plan, &|text| step.note(text)))
    })?;
    if common.json {
        writeln!(
            std::io::stdout(),
            "{}",
            serde_json::to_string_pretty(&outcome)?
        )?;
    } else {
        write!(std::io::stdout(), "{}", store::table(&outcome))?;
    }
    Ok(())
}

fn bench_api(args: ApiArgs, common: &Common) -> Result<()> {
    let steps = Steps::new();
    let kubectl = steps.step("kubectl", |step| install::kubectl("1.36", step))?;
    let binary = common.binary()?;
    steps.step("the server", |_| {
        apiserver::start(&binary, &kubectl, args.port)
    })?;
    let plan = api::Plan {
        objects: args.objects.max(1),
        listed: args.listed,
        watched: args.watched,
        held: args.held,
        only: args.only,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = steps.step("workloads", |step| {
        let config = HttpsConfig::from_kubeconfig_file(&apiserver::kubeconfig())?;
        let server = api::Server::new(config, apiserver::pid()?);
        runtime.block_on(api::run(&plan, &server, &|text| step.note(text)))
    });
    steps.step("the server is taken away", |_| apiserver::stop())?;
    let outcome = measured?;
    let text = if common.json {
        format!("{}\n", serde_json::to_string_pretty(&outcome)?)
    } else {
        api::table(&outcome)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn bench_cluster(plan: Plan, common: &Common) -> Result<()> {
    let steps = Steps::new();
    let kubectl = steps.step("kubectl", |step| install::kubectl("1.36", step))?;
    let topology = Topology::new(CLUSTER, 3, 2);
    steps.step("an empty machine", |_| down::down(&topology))?;
    let cluster = Cluster::new(topology.clone(), &common.binary()?)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let args = ["kontiki-bench", "store", "--binary", "b", "--json"];
        let cli = Cli::try_parse_from(args).unwrap();
        assert_eq!(cli.common.binary, Some(PathBuf::from("b")));
    }
}
