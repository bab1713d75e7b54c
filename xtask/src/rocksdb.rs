//! RocksDB as a static library, compiled once for all clones.
//!
//! The bindings' own build compiles 340 files of which each reads the same
//! headers; that takes ten minutes on two cores. Here a few large units include
//! them all: the same code in a fifth of the time.

use crate::progress::Step;
use crate::{paths, shell};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Number of units; more would read the headers more often, fewer could not be
/// compiled side by side.
const UNITS: usize = 8;

const DEFINES: [&str; 14] = [
    "-DNDEBUG=1",
    "-DOS_LINUX",
    "-DROCKSDB_PLATFORM_POSIX",
    "-DROCKSDB_LIB_IO_POSIX",
    "-DROCKSDB_SCHED_GETCPU_PRESENT",
    "-DROCKSDB_AUXV_GETAUXVAL_PRESENT",
    "-DROCKSDB_FALLOCATE_PRESENT",
    "-DROCKSDB_RANGESYNC_PRESENT",
    "-DROCKSDB_SUPPORT_THREAD_LOCAL",
    "-DHAVE_PCLMUL=1",
    "-DHAVE_SSE42=1",
    "-msse4.2",
    "-mpclmul",
    "-DLZ4=1",
];

/// The folder with `librocksdb.a` for `ROCKSDB_LIB_DIR`; `None` where only the
/// bindings' own build is known to work.
///
/// # Errors
/// If the sources cannot be found or do not compile.
pub fn library(step: &Step) -> Result<Option<PathBuf>> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(None);
    }
    let sources = Sources::find()?;
    let version = sources
        .rocksdb
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let dir = paths::cache().join("rocksdb").join(version);
    if dir.join("librocksdb.a").exists() {
        return Ok(Some(dir));
    }
    std::fs::create_dir_all(&dir)?;
    build(&sources, &dir, step).context("RocksDB could not be compiled")?;
    Ok(Some(dir))
}

/// The unpacked crates that the library is made from.
struct Sources {
    rocksdb: PathBuf,
    lz4: PathBuf,
    zstd: PathBuf,
}

impl Sources {
    fn find() -> Result<Self> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(paths::root());
        let metadata: serde_json::Value = serde_json::from_str(&shell::output(&mut cargo)?)?;
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata lists no packages")?;
        let find = |name: &str| -> Result<PathBuf> {
            let package = packages.iter().find(|package| package["name"] == name);
            let manifest = package.and_then(|package| package["manifest_path"].as_str());
            let manifest =
                manifest.with_context(|| format!("{name} is not among the dependencies"))?;
            Ok(Path::new(manifest)
                .parent()
                .context("a manifest lies in a folder")?
                .to_owned())
        };
        Ok(Self {
            rocksdb: find("librocksdb-sys")?,
            lz4: find("lz4-sys")?,
            zstd: find("zstd-sys")?,
        })
    }
}

fn build(sources: &Sources, dir: &Path, step: &Step) -> Result<()> {
    let list = std::fs::read_to_string(sources.rocksdb.join("rocksdb_lib_sources.txt"))?;
    let files: Vec<&str> = list
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(".cc") && !line.contains("build_version"))
        .collect();
    let mut units = Vec::new();
    for (number, chunk) in files.chunks(files.len().div_ceil(UNITS)).enumerate() {
        let mut text = String::new();
        for file in chunk {
            writeln!(
                text,
                "#include \"{}\"",
                sources.rocksdb.join("rocksdb").join(file).display()
            )?;
        }
        let unit = dir.join(format!("unit{number}.cc"));
        std::fs::write(&unit, text)?;
        units.push(unit);
    }
    units.push(sources.rocksdb.join("build_version.cc"));
    let objects = compile_all(sources, dir, &units, step)?;
    let archive = dir.join("librocksdb.a.new");
    let _ = std::fs::remove_file(&archive);
    shell::output(shell::command("ar", ["crs"]).arg(&archive).args(&objects))?;
    // Renamed last, so that an interrupted build is not taken for a finished one.
    std::fs::rename(&archive, dir.join("librocksdb.a"))?;
    Ok(())
}

fn compile_all(
    sources: &Sources,
    dir: &Path,
    units: &[PathBuf],
    step: &Step,
) -> Result<Vec<PathBuf>> {
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    let mut objects = Vec::new();
    let mut running: Vec<(PathBuf, Child)> = Vec::new();
    for (done, unit) in units.iter().enumerate() {
        if running.len() == jobs {
            finish(running.remove(0))?;
        }
        step.note(&format!(
            "compiling RocksDB, unit {} of {}",
            done + 1,
            units.len()
        ));
        let object = dir
            .join(unit.file_name().context("a unit is a file")?)
            .with_extension("o");
        let child = compile(sources, unit, &object)
            .spawn()
            .context("cannot run c++")?;
        running.push((unit.clone(), child));
        objects.push(object);
    }
    running.into_iter().try_for_each(finish)?;
    Ok(objects)
}

fn compile(sources: &Sources, unit: &Path, object: &Path) -> Command {
    let mut command = Command::new("c++");
    command
        .args([
            "-std=c++20",
            "-O2",
            "-fPIC",
            "-w",
            "-include",
            "cstdint",
            "-DZSTD=1",
        ])
        .args(DEFINES);
    for include in [
        sources.rocksdb.join("rocksdb/include"),
        sources.rocksdb.join("rocksdb"),
        sources.rocksdb.clone(),
        sources.lz4.join("liblz4/lib"),
        sources.zstd.join("zstd/lib"),
    ] {
        command.arg("-I").arg(include);
    }
    command.arg("-c").arg(unit).arg("-o").arg(object);
    command
}

fn finish((unit, mut child): (PathBuf, Child)) -> Result<()> {
    let status = child.wait()?;
    if !status.success() {
        bail!("c++ failed on {} ({status})", unit.display());
    }
    Ok(())
}
