//! Simulates clusters from seeds until one of them breaks a promise.

use anyhow::{Result, bail};
use clap::Parser;
use kontiki_simulator::{Bug, Failure, Plan, simulate};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lines of the trace that are shown when a seed fails.
const TRACE_LINES: usize = 60;

/// No seed takes nearly as long, even on a machine that is busy with other things.
const HANG: Duration = Duration::from_secs(300);

/// Simulates clusters of the store, one a seed, and checks what their clients saw.
#[derive(Parser)]
struct Cli {
    /// So many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them; goes on where an earlier run ended.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// End after this many seconds even if there are seeds left.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print the whole trace of every seed.
    #[arg(long)]
    trace: bool,
    /// Plant a bug and see whether it is found.
    #[arg(long)]
    bug: Option<Bug>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.trace {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .without_time()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let began = Instant::now();
    let present = watch_for_hangs();
    let mut out = std::io::stdout().lock();
    let (mut answered, mut revisions, mut events) = (0, 0, 0);
    for seed in cli.from..cli.from + cli.seeds {
        let late = cli.seconds.map(Duration::from_secs);
        if late.is_some_and(|late| began.elapsed() >= late) {
            writeln!(out, "time is over; go on with --from {seed}")?;
            break;
        }
        present.store(seed, Ordering::Relaxed);
        let plan = Plan {
            bug: cli.bug,
            ..Plan::new(seed)
        };
        match simulate(&plan) {
            Ok(report) => {
                answered += report.summary.answered;
                revisions += report.summary.revisions;
                events += report.summary.events;
                if cli.trace {
                    writeln!(out, "seed {seed}: {report:?}")?;
                }
                let done = seed - cli.from + 1;
                if done % 100 == 0 || done == cli.seeds {
                    let took = began.elapsed().as_secs_f64();
                    writeln!(
                        out,
                        "{done} seeds held ({:.2} s each): {answered} answers, {revisions} revisions, {events} events",
                        took / done as f64
                    )?;
                }
            }
            Err(failure) => {
                show(&mut out, seed, &failure, cli.bug)?;
                bail!("seed {seed} failed");
            }
        }
    }
    Ok(())
}

/// Ends the process when the seed that is set in what this returns does not end:
/// something runs in a circle, and its thread cannot be asked to stop.
fn watch_for_hangs() -> Arc<AtomicU64> {
    let present = Arc::new(AtomicU64::new(u64::MAX));
    let watched = present.clone();
    std::thread::spawn(move || {
        let mut before = u64::MAX;
        loop {
            std::thread::sleep(HANG);
            let now = watched.load(Ordering::Relaxed);
            if now == before && now != u64::MAX {
                eprintln!(
                    "seed {now}: hangs; its end: cargo xtask sim --seeds 1 --from {now} --trace"
                );
                std::process::exit(2);
            }
            before = now;
        }
    });
    present
}

fn show(out: &mut impl Write, seed: u64, failure: &Failure, bug: Option<Bug>) -> Result<()> {
    let from = failure.trace.len().saturating_sub(TRACE_LINES);
    for line in &failure.trace[from..] {
        writeln!(out, "{line}")?;
    }
    let bug = bug.map(|bug| format!(" --bug {bug:?}")).unwrap_or_default();
    writeln!(
        out,
        "\nseed {seed}: {}\ntrace {:016x}, {} lines; the same again, whole: cargo xtask sim --seeds 1 --from {seed} --trace{bug}",
        failure.what,
        failure.digest,
        failure.trace.len()
    )?;
    Ok(())
}
