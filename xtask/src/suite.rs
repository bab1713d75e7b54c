//! `cargo xtask test`: everything that must hold before a change lands.

use crate::progress::{Step, Steps, say};
use crate::topology::Topology;
use crate::{build, down, install, paths};
use anyhow::Result;

/// The cluster that the end-to-end tests share.
pub const E2E_CLUSTER: &str = "e2e";
/// The members that `cargo xtask chaos` troubles.
pub const CHAOS_CLUSTER: &str = "kchaos";
/// Those that the end-to-end tests trouble.
pub const E2E_CHAOS_CLUSTER: &str = "e2e-chaos";

/// Formatting, lints, unit and integration tests, then the end-to-end tests
/// against a release build with real containers.
///
/// # Errors
/// At the first part that fails.
pub fn run(only: Option<&str>) -> Result<()> {
    let steps = Steps::new();
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    if wanted("format") {
        steps.step("cargo fmt --check", |step| {
            build::run(step, &["fmt", "--all", "--check"])
        })?;
    }
    if wanted("lint") {
        let args = [
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ];
        steps.step("cargo clippy", |step| build::run(step, &args))?;
    }
    if wanted("unit") {
        steps.step("packages for the tests", packages)?;
        let args = [
            "test",
            "--locked",
            "--workspace",
            "--exclude",
            "kontiki-e2e",
            "--no-fail-fast",
        ];
        steps.step("cargo test", |step| build::run(step, &args))?;
    }
    if wanted("e2e") {
        steps.step("packages for the tests", packages)?;
        let binary = steps.step("kontiki, release build", |step| {
            build::release(step, "kontiki")
        })?;
        // What an interrupted run left behind would be taken for this one's.
        let topology = Topology::new(E2E_CLUSTER, 9, 9);
        let troubled = Topology::new(E2E_CHAOS_CLUSTER, 9, 0);
        steps.step("an empty machine", |_| {
            down::down(&topology)?;
            down::down(&troubled)
        })?;
        // One test after the other: they would fight for two cores.
        let args = [
            "test",
            "--locked",
            "--package",
            "kontiki-e2e",
            "--no-fail-fast",
            "--",
            "--test-threads=1",
        ];
        let tested = steps.step("end-to-end tests", |step| {
            let mut cargo = build::cargo(step)?;
            cargo.args(args).env("KONTIKI_BINARY", &binary);
            crate::shell::interactive(cargo.env("KONTIKI_XTASK", build::this_program()?))
        });
        if tested.is_err() {
            let logs = paths::root().join(".kontiki-e2e-logs");
            let _ = std::fs::remove_dir_all(&logs);
            let from = paths::state(E2E_CLUSTER).join("logs");
            let kept =
                crate::shell::output(crate::shell::command("cp", ["-a"]).arg(from).arg(&logs));
            if kept.is_ok() {
                say(&format!("the logs are kept in {}", logs.display()));
            }
        }
        steps.step("the cluster is taken away", |_| {
            down::down(&topology)?;
            down::down(&troubled)
        })?;
        tested?;
    }
    say(&format!("all tests passed in {:.0} s", steps.seconds()));
    Ok(())
}

fn packages(step: &Step) -> Result<()> {
    install::run_packages(step)?;
    install::test_packages(step)
}
