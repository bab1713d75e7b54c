//! `kontiki-chaos`: what losing a server of a running cluster costs.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use kontiki_chaos::failover::{self, Manner, Run};
use kontiki_chaos::report;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What losing a server of a running cluster costs.
#[derive(Parser)]
#[command(name = "kontiki-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lose the leader under load.
    Failover {
        /// Freeze it (SIGSTOP, then SIGCONT) instead of killing it.
        #[arg(long)]
        pause: bool,
        /// So many times.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// One line of JSON a run.
        #[arg(long)]
        json: bool,
        /// The cluster, as `cargo xtask up` made it.
        #[arg(long, default_value = "kontiki")]
        cluster: String,
        /// The product's binary, to start a killed server again; the running
        /// servers' own if it is not given.
        #[arg(long, env = "KONTIKI_BINARY")]
        binary: Option<PathBuf>,
    },
}

/// A void run is repeated so often before it is given up.
const ATTEMPTS: usize = 3;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kontiki-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    let Command::Failover {
        pause,
        times,
        json,
        cluster: name,
        binary,
    } = command;
    let manner = if pause { Manner::Pause } else { Manner::Kill };
    let binary = binary.map_or_else(|| running_binary(&name), Ok)?;
    let mut clean = true;
    for number in 1..=times {
        let text = match failover::run_valid(
            || failover::existing(&name, &binary),
            manner,
            ATTEMPTS,
        )? {
            Run::Done(outcome) => {
                clean &= outcome.is_clean();
                if json {
                    format!("{}\n", report::json(number, &outcome))
                } else {
                    report::text(number, &outcome)
                }
            }
            Run::Void { writes, fetches } if json => format!(
                "{}\n",
                serde_json::json!({"run": number, "void": true, "writes_per_second": writes, "fetches_per_second": fetches})
            ),
            Run::Void { writes, fetches } => format!(
                "run {number}: void: only {writes:.0} writes and {fetches:.0} fetches a second before the loss\n"
            ),
        };
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(clean)
}

/// The binary that a server of the cluster runs.
fn running_binary(cluster: &str) -> Result<PathBuf> {
    let cluster = failover::existing(cluster, &PathBuf::new())?;
    let records = cluster.topology.servers().filter_map(|server| {
        cluster
            .processes
            .alive(&xtask::cluster::server_process(server))
    });
    // A program that was built anew since is shown as deleted; its path leads to the new one.
    let mut programs = records.filter_map(|record| {
        let path = std::fs::read_link(format!("/proc/{}/exe", record.pid)).ok()?;
        Some(PathBuf::from(
            path.to_string_lossy().trim_end_matches(" (deleted)"),
        ))
    });
    programs.next().context("no server of the cluster runs")
}
