//! The watchers of a trial: tasks that each have at most one watch open.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The number of the watch that a watcher has open.
pub(crate) type Present = Arc<Mutex<Option<usize>>>;

/// Watchers at work.
#[derive(Default)]
pub(crate) struct Crowd {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    present: Vec<Present>,
}

impl Crowd {
    /// Has a watcher run until it is told to stop; it notes its watch.
    pub(crate) fn join<F>(&mut self, watcher: impl FnOnce(Present, CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let present = Present::default();
        self.present.push(present.clone());
        self.tasks.spawn(watcher(present, self.stop.clone()));
    }

    /// Waits until every watcher has a watch that is as `wanted`; whether all had.
    pub(crate) async fn until(&self, patience: Duration, wanted: impl Fn(usize) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let is_behind = |present: &Present| present.lock().is_none_or(|number| !wanted(number));
        while self.present.iter().any(is_behind) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// The watches that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> {
        self.present.iter().filter_map(|present| *present.lock())
    }

    /// Ends them.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
