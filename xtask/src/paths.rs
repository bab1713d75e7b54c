//! Where things lie.

use std::path::{Path, PathBuf};

/// The checkout: told by cargo when it runs this (`cargo xtask`, a test), else as
/// it was when this was built.
#[must_use]
pub fn root() -> PathBuf {
    // Every package lies one or two folders below the checkout's root.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package
        .ancestors()
        .find(|dir| dir.join("Cargo.lock").is_file());
    root.unwrap_or(&package).to_owned()
}

/// What may be kept between builds and clones: `$KONTIKI_CACHE`, or `~/.cache/kontiki`.
#[must_use]
pub fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("KONTIKI_CACHE") {
        return PathBuf::from(dir);
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    home.join(".cache/kontiki")
}

/// What a cluster leaves in the checkout: `.kontiki` for the one of `cargo xtask
/// up`, `.kontiki-NAME` for any other. None lies in another, because `down`
/// removes all of one.
#[must_use]
pub fn state(cluster: &str) -> PathBuf {
    if cluster == "kontiki" {
        root().join(".kontiki")
    } else {
        root().join(format!(".kontiki-{cluster}"))
    }
}

/// Sockets and runtime state: short paths, because a socket's may have 107 bytes.
#[must_use]
pub fn run(cluster: &str) -> PathBuf {
    Path::new("/run/kontiki").join(cluster)
}
