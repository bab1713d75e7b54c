//! Ending on SIGINT and SIGTERM without leaving anything behind.
//!
//! **Invariant:** the process ends only after the run under way has taken its
//! cluster away.

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing of a run takes longer to take away.
const CLEANUP_MAX: Duration = Duration::from_secs(60);
/// What a shell answers of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

struct Interrupt {
    asked: CancellationToken,
    /// Counts the runs under way.
    runs: TaskTracker,
}

/// Listens from the first run on, for as long as the process lives.
fn interrupt() -> &'static Interrupt {
    static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();
    INTERRUPT.get_or_init(|| {
        let (asked, runs) = (CancellationToken::new(), TaskTracker::new());
        let interrupt = Interrupt {
            asked: asked.clone(),
            runs: runs.clone(),
        };
        std::thread::spawn(move || listen(&asked, &runs));
        interrupt
    })
}

fn listen(asked: &CancellationToken, runs: &TaskTracker) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a runtime the signals do what they do by default.
    let Ok(runtime) = runtime else { return };
    let heard = runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        std::io::Result::Ok(())
    });
    if heard.is_ok() {
        asked.cancel();
        let deadline = Instant::now() + CLEANUP_MAX;
        while !runs.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::process::exit(INTERRUPTED);
    }
}

/// Runs `work` under the promise; what it is given is cancelled when the process
/// is asked to end.
pub(crate) fn guarded<T>(work: impl FnOnce(CancellationToken) -> T) -> T {
    let interrupt = interrupt();
    let _run = interrupt.runs.token();
    work(interrupt.asked.clone())
}

/// Whether the process was asked to end.
pub(crate) fn asked() -> bool {
    interrupt().asked.is_cancelled()
}
