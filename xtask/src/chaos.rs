//! `cargo xtask chaos`: the store's promises, tried on real processes.

use crate::progress::Steps;
use crate::{build, install, paths, shell};
use anyhow::Result;
use clap::Args;

/// What to try.
#[derive(Args)]
pub struct Chaos {
    /// A scenario, or `all`.
    #[arg(default_value = "all")]
    scenario: String,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    /// Begin again, with further seeds, until so many minutes are over.
    #[arg(long)]
    minutes: Option<u64>,
    /// Decides everything that is left to chance; each further round takes the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long a cluster is troubled, about.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// One line of JSON a run.
    #[arg(long)]
    json: bool,
}

/// Builds what it needs and runs it.
///
/// # Errors
/// If something cannot be built, or a scenario fails.
pub fn run(what: &Chaos) -> Result<()> {
    let steps = Steps::new();
    let program = steps.step("kontiki-chaos", |step| {
        build::release(step, "kontiki-chaos")
    })?;
    let mut command = std::process::Command::new(program);
    if what.list {
        return shell::interactive(command.arg("list"));
    }
    install::require_root("to make network namespaces and mounts")?;
    steps.step("packages", |step| {
        install::run_packages(step)?;
        install::test_packages(step)
    })?;
    let kontiki = steps.step("kontiki", |step| build::release(step, "kontiki"))?;
    command
        .args(["run", &what.scenario])
        .args(["--seed", &what.seed.to_string()])
        .args(["--seconds", &what.seconds.to_string()])
        .args(what.json.then_some("--json"))
        .env("KONTIKI_BINARY", kontiki);
    if let Some(minutes) = what.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    shell::interactive(command.current_dir(paths::root()))
}
