//! `cargo xtask`: the commands of the project.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::io::Write;
use xtask::cluster::Cluster;
use xtask::kubectl::Kubectl;
use xtask::progress::{Steps, say};
use xtask::topology::Topology;
use xtask::up::bring_up;
use xtask::{apiserver, build, chaos, down, forwarder, install, sim, status, suite};

/// Kontiki's commands for trying and developing it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring up three servers and two nodes with a real application on them.
    Up,
    /// Bring up one server and one node.
    Dev,
    /// Start one server with store and API alone, afresh, on 127.0.0.1; its
    /// administrator's credentials are in `.kontiki/corpus.kubeconfig`.
    Apiserver {
        /// Port of the API; the next two are for the etcd API and peers.
        #[arg(long, default_value_t = 17_443)]
        port: u16,
    },
    /// Take away what `up`, `dev` or `apiserver` made, or `chaos` left.
    Down {
        /// Only this cluster; by default those of `up`, `dev` and `chaos`.
        #[arg(long)]
        cluster: Option<String>,
    },
    /// Run every test, or one part of them: format, lint, unit, e2e.
    Test {
        /// The part.
        only: Option<String>,
    },
    /// Kill the leader under load and show what it cost.
    Failover {
        /// Freeze it (SIGSTOP) instead of killing it.
        #[arg(long)]
        pause: bool,
        /// So many times.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// One line of JSON a run.
        #[arg(long)]
        json: bool,
    },
    /// Measure what Kontiki costs. `cargo xtask bench help` lists the benches.
    #[command(disable_help_flag = true)]
    Bench {
        /// The bench and its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Simulate clusters of the store from seeds and check what clients saw.
    Sim(sim::Sim),
    /// Trouble real members of the store and check what clients saw.
    Chaos(chaos::Chaos),
    /// Forward ports of 127.0.0.1 into a namespace (started by `up`).
    #[command(hide = true)]
    Forward {
        /// The namespace.
        #[arg(long)]
        namespace: String,
        /// `PORT=HOST:PORT,HOST:PORT`.
        forwards: Vec<String>,
    },
}

fn main() {
    if let Err(error) = run(Cli::parse().command) {
        say(&format!("error: {error:#}"));
        std::process::exit(1);
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up => up(Topology::new("kontiki", 3, 2)),
        Command::Dev => up(Topology::single(DEV)),
        Command::Apiserver { port } => start_apiserver(port),
        Command::Down { cluster } => {
            install::require_root("to remove network namespaces")?;
            let usual = || {
                ["kontiki", DEV, suite::CHAOS_CLUSTER]
                    .map(String::from)
                    .to_vec()
            };
            let clusters = cluster.map_or_else(usual, |one| vec![one]);
            clusters.iter().try_for_each(|cluster| take_away(cluster))
        }
        Command::Test { only } => suite::run(only.as_deref()),
        Command::Failover { pause, times, json } => failover(pause, times, json),
        Command::Bench { words } => bench(&words),
        Command::Sim(what) => sim::run(&what),
        Command::Chaos(what) => chaos::run(&what),
        Command::Forward {
            namespace,
            forwards,
        } => {
            let forwards = forwards
                .iter()
                .map(|text| forwarder::Forward::parse(text))
                .collect::<Result<Vec<_>>>()?;
            forwarder::run(&namespace, &forwards)
        }
    }
}

fn up(topology: Topology) -> Result<()> {
    install::require_root("to make network namespaces and containers")?;
    let steps = Steps::new();
    steps.step("packages", install::run_packages)?;
    let kubectl = steps.step("kubectl", |step| install::kubectl("1.36", step))?;
    let binary = steps.step("kontiki", |step| build::release(step, "kontiki"))?;
    let cluster = Cluster::new(topology, &binary)?;
    let kubectl = Kubectl::new(&kubectl, &cluster.kubeconfig());
    let page = bring_up(&steps, &cluster, &kubectl)?;
    let table = status::table(&cluster, &kubectl, &page)?;
    std::io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

fn bench(words: &[String]) -> Result<()> {
    install::require_root("to make network namespaces and containers")?;
    let steps = Steps::new();
    steps.step("packages", install::run_packages)?;
    let kontiki = steps.step("kontiki", |step| build::release(step, "kontiki"))?;
    let program = steps.step("kontiki-bench", |step| {
        build::release(step, "kontiki-bench")
    })?;
    let mut command = std::process::Command::new(program);
    command.args(words).env("KONTIKI_BINARY", kontiki);
    xtask::shell::interactive(command.current_dir(xtask::paths::root()))
}

/// The cluster of `cargo xtask dev`.
const DEV: &str = "dev";

fn take_away(cluster: &str) -> Result<()> {
    // As many machines as a cluster of that name can have had.
    let topology = match cluster {
        DEV => Topology::single(DEV),
        _ => Topology::new(cluster, 9, 9),
    };
    Steps::new().step(&format!("cluster {cluster} is taken away"), |_| {
        down::down(&topology)
    })
}

fn start_apiserver(port: u16) -> Result<()> {
    let steps = Steps::new();
    let kubectl = steps.step("kubectl", |step| install::kubectl("1.36", step))?;
    let binary = steps.step("kontiki", |step| build::release(step, "kontiki"))?;
    let url = steps.step("server", |_| apiserver::start(&binary, &kubectl, port))?;
    let text = format!(
        "{url} is ready; its data is gone with the next start.\n\nexport KUBECONFIG={}\n",
        apiserver::kubeconfig().display()
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn failover(pause: bool, times: u32, json: bool) -> Result<()> {
    install::require_root("to enter network namespaces")?;
    let steps = Steps::new();
    let binary = steps.step("kontiki-chaos", |step| {
        build::release(step, "kontiki-chaos")
    })?;
    let mut command = std::process::Command::new(binary);
    command
        .arg("failover")
        .arg("--times")
        .arg(times.to_string());
    command
        .args(pause.then_some("--pause"))
        .args(json.then_some("--json"));
    xtask::shell::interactive(command.current_dir(xtask::paths::root()))
}
