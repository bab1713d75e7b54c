//! Configuration files: parsed once, checked, and passed down.

mod agent;
mod server;

pub use agent::AgentConfig;
pub use server::{Component, ServerConfig, host_port as config_host_port};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a YAML (or JSON) file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text)
        .with_context(|| format!("{} is not a valid configuration", path.display()))
}
