//! Finds the unpacked sources of a crate that this build depends on.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The `src` directory of `package`. Cargo itself is asked first; where its
/// answer needs packages that this build did not need, the registry that this
/// build unpacked into is looked through.
pub fn source_of(package: &str) -> PathBuf {
    let variable = format!("{}_SRC", package.to_uppercase().replace('-', "_"));
    println!("cargo::rerun-if-env-changed={variable}");
    if let Some(dir) = std::env::var_os(&variable) {
        return PathBuf::from(dir);
    }
    from_metadata(package)
        .or_else(|| from_registry(package))
        .unwrap_or_else(|| {
            panic!("cannot find the sources of {package}: set {variable} to their directory")
        })
}

fn manifest_dir() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
}

fn from_metadata(package: &str) -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO")?;
    let target = std::env::var_os("TARGET")?;
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--frozen",
            "--filter-platform",
        ])
        .arg(target)
        .current_dir(manifest_dir())
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let found = metadata["packages"]
        .as_array()?
        .iter()
        .find(|entry| entry["name"] == package)?;
    existing(
        Path::new(found["manifest_path"].as_str()?)
            .parent()?
            .join("src"),
    )
}

/// Registry sources lie in `registry/src/<index>/<name>-<version>`.
fn from_registry(package: &str) -> Option<PathBuf> {
    let lock = manifest_dir()
        .ancestors()
        .find_map(|dir| std::fs::read_to_string(dir.join("Cargo.lock")).ok())?;
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    let version = after.split('"').next()?;
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let indexes = std::fs::read_dir(home.join("registry/src")).ok()?;
    indexes.flatten().find_map(|index| {
        existing(
            index
                .path()
                .join(format!("{package}-{version}"))
                .join("src"),
        )
    })
}

fn existing(dir: PathBuf) -> Option<PathBuf> {
    dir.is_dir().then_some(dir)
}
