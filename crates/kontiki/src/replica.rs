//! Starting the store's replica of a data directory, and setting its data aside
//! when it is corrupt and the other members can give it back.

mod aside;
mod encryption;

pub use aside::SetAside;
pub use encryption::Encryption;

use crate::server::StoreDirs;
use anyhow::{Context, Result};
use kontiki_mvcc::{Engine, EngineError, SealedEngine};
use kontiki_raft::{ReplicatedConfig, ReplicatedStore, StartError, TcpNetwork, await_consent};
use kontiki_rocks::{RocksEngine, RocksOptions};
use kontiki_seal::Keyring;
use prometheus_client::registry::Registry;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long the other members are asked whether a corrupt one may be rebuilt.
const CONSENT_PATIENCE: Duration = Duration::from_secs(30);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// Its data is corrupt: the next start has it rebuilt.
    Corrupt,
    /// Its replica stopped of an error; what is on the disk is whole.
    Failed,
}

/// Damage that an earlier life of this process met.
#[derive(Debug, thiserror::Error)]
#[error(
    "{reason}; this was found while the member ran. Move {store} away and start this member again: it is rebuilt from its peers"
)]
struct FoundBefore {
    reason: String,
    store: String,
}

/// Starts the replica. If its data is corrupt, `rebuild` allows it, and a quorum of
/// the other members is there, its data is set aside and it starts with none.
pub async fn start(
    data_dir: &Path,
    mut config: ReplicatedConfig,
    rebuild: bool,
    key_file: Option<&Path>,
    registry: &mut Registry,
) -> Result<Arc<ReplicatedStore>> {
    let aside = SetAside::of(data_dir);
    let encryption = Encryption::of(&aside.store(), key_file);
    let told = (aside.clone(), encryption.clone());
    config.remarks = Some(Arc::new(move || {
        let mut remarks = told.0.remarks();
        remarks.extend(told.1.remark());
        remarks
    }));
    registry.register_collector(Box::new(aside.clone()));
    registry.register_collector(Box::new(encryption.clone()));
    let failure = match open(data_dir, config.clone(), &encryption, registry).await {
        Ok(store) => return Ok(store),
        Err(failure) => failure,
    };
    let Some(reason) = corruption(&failure).filter(|_| rebuild) else {
        return Err(failure);
    };
    tracing::error!(
        reason,
        "this member's data is corrupt; asking the others whether it may be rebuilt from them"
    );
    let consent = await_consent(&config, Arc::new(TcpNetwork), CONSENT_PATIENCE).await;
    if let Err(refusal) = consent {
        return Err(failure.context(format!(
            "this member's data is corrupt, and it is not rebuilt: {refusal}"
        )));
    }
    let set_aside = aside.set_aside(jiff::Timestamp::now());
    let place = set_aside.map_err(|error| failure.context(error))?;
    tracing::warn!(
        place = %place.display(),
        bytes = aside.bytes(),
        "set the corrupt data aside; this member is being rebuilt from the others. Remove that folder once it is a voter again"
    );
    open(data_dir, config, &encryption, registry).await
}

async fn open(
    data_dir: &Path,
    mut config: ReplicatedConfig,
    encryption: &Encryption,
    registry: &mut Registry,
) -> Result<Arc<ReplicatedStore>> {
    if let Some(reason) = SetAside::of(data_dir).found_before() {
        let store = SetAside::of(data_dir).store().display().to_string();
        return Err(FoundBefore { reason, store }.into());
    }
    let state = StoreDirs::of(data_dir).state;
    std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    // Opening reads files; the runtime's threads are not for that.
    let keys = encryption.unlock()?;
    config.keys.clone_from(&keys);
    let engine = tokio::task::spawn_blocking(move || open_engine(&state, keys)).await??;
    encryption.follow();
    let store = ReplicatedStore::start(config, engine, registry).await;
    Ok(Arc::new(store.context("the store did not start")?))
}

/// Opens the state in a folder; what is there is sealed if there are keys.
pub fn open_engine(
    state: &Path,
    keys: Option<Arc<Keyring>>,
) -> Result<Arc<dyn Engine>, EngineError> {
    let open = || RocksEngine::open(state, &RocksOptions::default()).map(Arc::new);
    let Some(keys) = keys else {
        return Ok(open()?);
    };
    let engine = SealedEngine::open(open()?, keys.clone())?;
    if !engine.took_over() {
        return Ok(Arc::new(engine));
    }
    // RocksDB's manifest names the first and last keys of files that are gone. The
    // next opening writes it anew, of those that are there.
    drop(engine);
    Ok(Arc::new(SealedEngine::open(open()?, keys)?))
}

/// What is corrupt, if that is why the replica did not start.
fn corruption(failure: &anyhow::Error) -> Option<String> {
    if let Some(error) = failure.downcast_ref::<StartError>() {
        return error.corruption();
    }
    if let Some(error) = failure.downcast_ref::<EngineError>() {
        return error.damaged.then(|| error.to_string());
    }
    let found = failure.downcast_ref::<FoundBefore>();
    found.map(|found| found.reason.clone())
}

/// Waits until the running replica cannot go on: it met damage, which is noted so
/// that the next start knows, or it stopped of another error.
pub async fn until_it_ends(store: &ReplicatedStore, data_dir: &Path, rebuild: bool) -> Ended {
    tokio::select! {
        // Damage stops the replica as well, and tells more.
        biased;
        () = corrupted(store, data_dir, rebuild) => Ended::Corrupt,
        reason = store.failed() => {
            tracing::error!(reason, "this member's replica has stopped; the process ends with it");
            Ended::Failed
        }
    }
}

/// Waits for ever if nobody wants to be rebuilt.
async fn corrupted(store: &ReplicatedStore, data_dir: &Path, rebuild: bool) {
    if !rebuild {
        return std::future::pending().await;
    }
    let reason = store.corrupted().await;
    tracing::error!(
        reason,
        "this member's data is corrupt; stopping, to start again and be rebuilt from the others"
    );
    if let Err(error) = SetAside::of(data_dir).note_found(&reason) {
        tracing::error!(%error, "could not note that; the next start may not find it by itself");
    }
}

/// Becomes a new process of the same program with the same arguments.
pub fn start_again() -> anyhow::Error {
    let begun = std::env::current_exe().map(|program| {
        let mut command = Command::new(program);
        // Only returns if it fails.
        command.args(std::env::args_os().skip(1)).exec()
    });
    let error = begun.unwrap_or_else(|error| error);
    anyhow::Error::new(error)
        .context("this member's data is corrupt, and it cannot start itself again; start it")
}
