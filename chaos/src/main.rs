//! `kontiki-chaos`: what losing a server costs, and whether the store keeps its
//! promises whatever happens to it.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use kontiki_chaos::failover::{self, Manner, Run};
use kontiki_chaos::report;
use kontiki_chaos::trial::report::Reports;
use kontiki_chaos::trial::scenario::{self, Scenario};
use kontiki_chaos::trial::{self, Ended, Outcome, Plan, page};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xtask::{install, paths};

/// What losing a server costs, and whether the store keeps its promises.
#[derive(Parser)]
#[command(name = "kontiki-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lose the leader of a running cluster under load.
    Failover(Failover),
    /// Run scenarios, each against members of its own.
    Run(RunArgs),
    /// List the scenarios.
    List,
}

#[derive(Args)]
struct Failover {
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
}

#[derive(Args)]
struct RunArgs {
    /// A scenario, or `all`.
    #[arg(default_value = "all")]
    scenario: String,
    /// Begin again, with further seeds, until so many minutes are over.
    #[arg(long)]
    minutes: Option<u64>,
    /// Decides everything that is left to chance; each further run takes the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long a cluster is troubled, about.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// One line of JSON a run.
    #[arg(long)]
    json: bool,
    /// Prefix of the network namespaces.
    #[arg(long, default_value = xtask::suite::CHAOS_CLUSTER)]
    cluster: String,
    /// The product's binary.
    #[arg(long, env = "KONTIKI_BINARY")]
    binary: PathBuf,
}

/// A void run is repeated so often before it is given up.
const ATTEMPTS: usize = 3;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Failover(what) => run_failover(what),
        Command::Run(what) => run_scenarios(&what),
        Command::List => list(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kontiki-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn list() -> Result<bool> {
    for scenario in scenario::ALL {
        writeln!(
            std::io::stdout(),
            "{:<18} {}",
            scenario.name,
            scenario.about
        )?;
    }
    Ok(true)
}

/// Runs what was asked for; whether everything passed. Void runs say nothing.
fn run_scenarios(args: &RunArgs) -> Result<bool> {
    install::require_root("to make network namespaces and mounts")?;
    let wanted: Vec<&Scenario> =
        match args.scenario.as_str() {
            "all" => scenario::ALL.iter().collect(),
            name => vec![scenario::find(name).with_context(|| {
                format!("there is no scenario {name}; `list` shows what there is")
            })?],
        };
    let until = args
        .minutes
        .map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let pages = paths::root().join(".kontiki/chaos");
    let mut reports = Reports::new(&pages)?;
    let (mut passed, mut failed, mut void) = (0_u32, 0_u32, 0_u32);
    let mut seed = args.seed;
    'rounds: loop {
        for scenario in &wanted {
            if until.is_some_and(|until| Instant::now() >= until) {
                break 'rounds;
            }
            let plan = Plan {
                scenario,
                seed,
                length: Duration::from_secs(args.seconds),
                binary: args.binary.clone(),
                cluster: args.cluster.clone(),
                keep: pages.clone(),
            };
            let outcome = match trial::run_valid(&plan, ATTEMPTS) {
                Ok(outcome) => outcome,
                Err(error) if trial::interrupted() => return Err(error),
                // A cluster that does not come up has failed; others may not.
                Err(error) => {
                    failed += 1;
                    let name = scenario.name;
                    writeln!(std::io::stderr(), "{name} (seed {seed}): FAILED: {error:#}")?;
                    continue;
                }
            };
            match (outcome.ended, outcome.passed()) {
                (Ended::Void, _) => void += 1,
                (Ended::Judged, true) => passed += 1,
                (Ended::Judged, false) => failed += 1,
            }
            let path = reports.add(&outcome)?;
            let text = if args.json {
                page::json(&outcome).to_string()
            } else {
                format!("{}\n  {}", line(&outcome), path.display())
            };
            writeln!(std::io::stdout(), "{text}")?;
        }
        seed += 1;
        if until.is_none() {
            break;
        }
    }
    if !args.json {
        writeln!(
            std::io::stdout(),
            "{passed} passed, {failed} failed, {void} void"
        )?;
    }
    Ok(failed == 0)
}

/// A run in a few words.
fn line(outcome: &Outcome) -> String {
    let what = match (outcome.ended, outcome.broken()) {
        (Ended::Void, _) => format!("void: only {:.0} calls a second", outcome.throughput),
        (Ended::Judged, Some(check)) => format!("FAILED: {}: {}", check.name, check.detail),
        (Ended::Judged, None) => {
            let gaps = outcome.impacts.iter().map(|impact| impact.gap_ms);
            format!(
                "passed: {} faults, longest gap between writes {:.0} ms, {:.0} calls/s",
                outcome.marks.len(),
                gaps.fold(0.0, f64::max),
                outcome.throughput
            )
        }
    };
    format!("{} (seed {}): {what}", outcome.scenario, outcome.seed)
}

fn run_failover(what: Failover) -> Result<bool> {
    let Failover {
        pause,
        times,
        json,
        cluster: name,
        binary,
    } = what;
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
