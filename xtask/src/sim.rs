//! `cargo xtask sim`: the seeded simulation of the store.

use crate::progress::Steps;
use crate::{build, paths, shell};
use anyhow::Result;
use clap::Args;

/// What to simulate.
#[derive(Args)]
pub struct Sim {
    /// So many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them; goes on where an earlier run ended.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// End after this many seconds even if there are seeds left.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Plant a bug, to see it found.
    #[arg(long)]
    bug: Option<String>,
}

/// Builds the simulator and runs it.
pub fn run(sim: &Sim) -> Result<()> {
    let steps = Steps::new();
    let binary = steps.step("kontiki-simulator", |step| {
        build::release(step, "kontiki-simulator")
    })?;
    let mut command = std::process::Command::new(binary);
    command
        .arg("--seeds")
        .arg(sim.seeds.to_string())
        .arg("--from")
        .arg(sim.from.to_string())
        .args(sim.trace.then_some("--trace"));
    if let Some(seconds) = sim.seconds {
        command.arg("--seconds").arg(seconds.to_string());
    }
    if let Some(bug) = &sim.bug {
        command.arg("--bug").arg(bug);
    }
    shell::interactive(command.current_dir(paths::root()))
}
