//! Where pages of runs are kept, and the page that leads to them.

use crate::trial::{Outcome, page};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages of one invocation.
pub struct Reports {
    folder: PathBuf,
    runs: Vec<(String, Value)>,
}

impl Reports {
    /// Keeps them in a folder, which is made.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            runs: Vec::new(),
        })
    }

    /// Writes the page of a run; answers where it is. A run that did not pass is
    /// not overwritten by a later one of the same scenario.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, outcome: &Outcome) -> Result<PathBuf> {
        let name = if outcome.passed() {
            format!("report-{}.html", outcome.scenario)
        } else {
            format!("report-{}-{}.html", outcome.scenario, outcome.seed)
        };
        let path = self.folder.join(&name);
        fs::write(&path, page::html(outcome))?;
        self.runs.push((name, page::json(outcome)));
        fs::write(self.folder.join("index.html"), page::index(&self.runs))?;
        Ok(path)
    }
}
