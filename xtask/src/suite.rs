//! `cargo xtask test`: everything that must hold before a change lands.

use crate::progress::{Step, Steps, say};
use crate::{build, install};
use anyhow::Result;

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
        // One cluster after the other: they would fight for two cores.
        let args = [
            "test",
            "--locked",
            "--package",
            "kontiki-e2e",
            "--no-fail-fast",
            "--",
            "--test-threads=1",
        ];
        steps.step("end-to-end tests", |step| {
            let mut cargo = build::cargo(step)?;
            crate::shell::interactive(cargo.args(args).env("KONTIKI_BINARY", &binary))
        })?;
    }
    say(&format!("all tests passed in {:.0} s", steps.seconds()));
    Ok(())
}

fn packages(step: &Step) -> Result<()> {
    install::run_packages(step)?;
    install::test_packages(step)
}
