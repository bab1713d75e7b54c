//! How commands reach the kernel.

use crate::ruleset::{Family, TABLE};
use async_trait::async_trait;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longer than any load takes: tens of thousands of Services need seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What can go wrong with `nft`.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It could not be started.
    #[error("cannot run nft; is the package nftables installed?")]
    Start(#[source] std::io::Error),
    /// It did not end in time, and was ended.
    #[error("nft did not end within {} s", TIMEOUT.as_secs())]
    Hangs,
    /// It refused the commands.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// Carries out nftables commands, all of them or none.
#[async_trait]
pub trait Nft: Send + Sync + 'static {
    /// Carries out a script.
    async fn apply(&self, script: &str) -> Result<(), NftError>;
}

/// The `nft` program.
#[derive(Clone, Copy, Debug, Default)]
pub struct NftCommand;

#[async_trait]
impl Nft for NftCommand {
    async fn apply(&self, script: &str) -> Result<(), NftError> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(NftError::Start)?;
        let mut input = child.stdin.take().expect("it is piped");
        let run = async {
            let written = input.write_all(script.as_bytes()).await;
            drop(input);
            let output = child.wait_with_output().await?;
            std::io::Result::Ok((written, output))
        };
        let (written, output) = tokio::time::timeout(TIMEOUT, run)
            .await
            .map_err(|_| NftError::Hangs)?
            .map_err(NftError::Start)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(NftError::Refused(text.chars().take(2000).collect()));
        }
        written.map_err(NftError::Start)
    }
}

/// Commands that remove everything of ours.
pub(crate) fn cleanup_script() -> String {
    [Family::V4, Family::V6]
        .map(|family| {
            let name = family.name();
            format!("add table {name} {TABLE}\ndelete table {name} {TABLE}\n")
        })
        .concat()
}
