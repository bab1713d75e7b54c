//! Where work goes that may wait for a disk.

use kontiki_mvcc::{Background, EngineError, SnapshotReader, StateMachine};
use kontiki_wal::{Clock, Disk, Wal, WalConfig, WalError, WalObserver};
use std::io;
use std::sync::Arc;

/// Who does what may wait for a disk.
#[derive(Clone, Default)]
pub enum Workers {
    /// Threads, so that nothing else waits with it.
    #[default]
    Threads,
    /// The caller, at once, so that everything happens on one thread in an
    /// order that repeats: for simulations. The log is handed to the function,
    /// which sees to it that [`Wal::step`] is called.
    Caller(Arc<dyn Fn(Wal) + Send + Sync>),
}

impl Workers {
    pub(crate) fn open_log(
        &self,
        config: WalConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn WalObserver>,
    ) -> Result<Wal, WalError> {
        match self {
            Self::Threads => Wal::open(config, disk, clock, Some(observer)),
            Self::Caller(keep) => {
                let wal = Wal::open_stepped(config, disk, clock, Some(observer))?;
                keep(wal.clone());
                Ok(wal)
            }
        }
    }

    /// Does `work` without keeping other tasks from their turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, io::Error> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(io::Error::other),
            Self::Caller(_) => Ok(work()),
        }
    }

    /// Starts a state machine's slow side.
    pub(crate) fn start(&self, background: Background) -> Result<(), io::Error> {
        match self {
            Self::Threads => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                std::thread::Builder::new()
                    .name("mvcc-background".into())
                    .spawn(move || runtime.block_on(background.run()))?;
            }
            Self::Caller(_) => drop(tokio::spawn(background.run())),
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self, content: &StateMachine) -> Result<SnapshotReader, EngineError> {
        match self {
            Self::Threads => content.snapshot(),
            Self::Caller(_) => content.snapshot_at_once(),
        }
    }
}
