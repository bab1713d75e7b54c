//! Talking to a cluster with a real kubectl.

use crate::shell;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A kubectl binary with a kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// From the two files.
    #[must_use]
    pub fn new(binary: &Path, kubeconfig: &Path) -> Self {
        let cache = kubeconfig.with_file_name("kubectl-cache");
        Self {
            binary: binary.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache,
        }
    }

    /// A command with the kubeconfig set.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(args);
        command
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        shell::output(&mut self.command(args))
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// If it fails.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        shell::output_with_input(&mut self.command(&["apply", "-f", "-"]), manifest)
    }

    /// Repeats a command until `done` is satisfied with what it printed.
    ///
    /// # Errors
    /// If that does not happen within `patience`; the error holds the last answer.
    pub fn until(
        &self,
        args: &[&str],
        patience: Duration,
        mut done: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let answer = self.run(args);
            if let Ok(text) = &answer
                && done(text)
            {
                return answer;
            }
            if Instant::now() > deadline {
                let last = answer.unwrap_or_else(|error| format!("{error:#}"));
                bail!(
                    "kubectl {} did not become what was waited for; last answer:\n{last}",
                    args.join(" ")
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
