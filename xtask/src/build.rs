//! Building the product.

use crate::progress::Step;
use crate::{install, paths, rocksdb, shell};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Cargo with everything set that a build needs: compilers are installed,
/// RocksDB is prebuilt.
///
/// # Errors
/// If something that a build needs cannot be had.
pub fn cargo(step: &Step) -> Result<Command> {
    install::build_packages(step)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root());
    // What cargo told this program about itself. Build scripts look at it, and
    // would run again, with all that depends on them, for each caller's own.
    for (key, _) in std::env::vars_os() {
        let key = key.to_string_lossy();
        if key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(key.as_ref());
        }
    }
    if let Some(dir) = rocksdb::library(step)? {
        cargo.env("ROCKSDB_STATIC", "1").env("ROCKSDB_LIB_DIR", dir);
    }
    Ok(cargo)
}

/// Builds the product in release mode; returns the path of its binary, or the
/// one that `KONTIKI_BINARY` names.
///
/// # Errors
/// If it does not compile.
pub fn release(step: &Step, package: &str) -> Result<PathBuf> {
    // For those who build in another way, for instance with debug information.
    let given = format!("{}_BINARY", package.to_uppercase().replace('-', "_"));
    if let Some(path) = std::env::var_os(given) {
        return Ok(PathBuf::from(path));
    }
    let mut cargo = cargo(step)?;
    step.note("cargo build --release (the first time takes some minutes)");
    cargo.args(["build", "--release", "--locked"]);
    executable(&mut cargo, package)
}

/// Lets a cargo command build a package's program; returns its path, wherever
/// cargo is set up to put it.
fn executable(cargo: &mut Command, package: &str) -> Result<PathBuf> {
    cargo
        // Features are settled for the whole workspace, so that no program has
        // its own variants of what the others have built.
        .args(["--workspace", "--bin", package])
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = cargo
        .spawn()
        .context("cannot run cargo")?
        .wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "{package} does not compile, see above"
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    let artifact = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    artifact.context("cargo built no executable")
}

/// The program `xtask`, whose hidden commands run beside a cluster: this one, or
/// for tests the one that `KONTIKI_XTASK` names or that cargo builds.
///
/// # Errors
/// If it is none of them.
pub fn this_program() -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    if this.file_stem().is_some_and(|name| name == "xtask") {
        return Ok(this);
    }
    if let Some(path) = std::env::var_os("KONTIKI_XTASK") {
        return Ok(PathBuf::from(path));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root()).args(["build", "--locked"]);
    executable(&mut cargo, "xtask")
}

/// Runs cargo with its output shown.
///
/// # Errors
/// If it fails.
pub fn run(step: &Step, args: &[&str]) -> Result<()> {
    let mut cargo = cargo(step)?;
    shell::interactive(cargo.args(args))
}
