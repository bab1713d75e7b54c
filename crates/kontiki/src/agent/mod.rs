//! `kontiki agent`: a node, put together.

mod identity;
mod metrics;
mod node;

use crate::config::AgentConfig;
use anyhow::Result;
use kontiki_telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

/// Runs a node until it is asked to stop. Containers go on.
pub async fn run(config: AgentConfig) -> Result<()> {
    config.validate()?;
    let telemetry = Telemetry::init("kontiki-agent", &config.telemetry)?;
    let cancel = CancellationToken::new();
    crate::cli::stop_on_signal(cancel.clone())?;
    let result = node::run(config, cancel).await;
    telemetry.shutdown();
    result
}
