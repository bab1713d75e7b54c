//! Runs one controller while this process leads.

use crate::controller::Context;
use crate::expectations::Expectation;
use crate::{Controller, Executor, Keys, Moment, Target};
use kontiki_client::{Backoff, QueueMetrics, WorkQueue};
use kontiki_object::GroupVersionResource;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long to wait before looking again whether a cache has caught up.
const CATCH_UP: Duration = Duration::from_millis(10);

/// What is remembered of a key between two attempts, and only until one succeeds.
#[derive(Default)]
struct Memory {
    expectations: Vec<Expectation>,
    last_error: Option<String>,
}

/// Runs one controller.
pub(crate) struct Runner {
    controller: Arc<dyn Controller>,
    context: Context,
    executor: Executor,
    queue: WorkQueue<String>,
    memory: Mutex<HashMap<String, Memory>>,
}

impl Runner {
    pub(crate) fn new(
        controller: Arc<dyn Controller>,
        context: Context,
        executor: Executor,
        metrics: &QueueMetrics,
    ) -> Self {
        let queue = WorkQueue::new(controller.name(), Backoff::default(), metrics);
        Self {
            controller,
            context,
            executor,
            queue,
            memory: Mutex::default(),
        }
    }

    /// Runs until `cancel` is cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let runner = Arc::new(self);
        let mut tasks = JoinSet::new();
        tokio::select! {
            () = cancel.cancelled() => return,
            () = runner.start(&mut tasks) => {}
        }
        cancel.cancelled().await;
        // Aborts mappers and workers; a request under way is answered to nobody.
        tasks.shutdown().await;
    }

    async fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let watches = self.controller.watches();
        for watch in &watches {
            if let Target::One(resource) = &watch.target {
                self.context.caches.informer(resource).synced().await;
            }
        }
        for watch in watches {
            match watch.target {
                Target::One(resource) => {
                    tasks.spawn(self.clone().map(resource, watch.keys));
                }
                Target::All => {
                    tasks.spawn(self.clone().map_all(watch.keys));
                }
            }
        }
        for key in self.controller.initial_keys() {
            self.queue.add(key);
        }
        let configured = self.context.config.workers;
        for _ in 0..self.controller.workers().unwrap_or(configured).max(1) {
            tasks.spawn(self.clone().work());
        }
    }

    async fn map(self: Arc<Self>, resource: GroupVersionResource, keys: Keys) {
        if matches!(keys, Keys::None) {
            return;
        }
        let mut deltas = self.context.caches.of(&resource).subscribe();
        while let Some(delta) = deltas.recv().await {
            for key in keys.of(&self.context, &resource, &delta) {
                self.queue.add(key);
            }
        }
    }

    /// Follows all resources, also those that are defined later.
    async fn map_all(self: Arc<Self>, keys: Keys) {
        let mut served = self.context.config.resources.clone();
        let mut known = HashSet::new();
        let mut mappers = JoinSet::new();
        loop {
            let current = served.borrow_and_update().clone();
            for resource in current.iter().filter(|r| r.is_followed()) {
                if known.insert(resource.resource.clone()) {
                    let mapper = self.clone().map(resource.resource.clone(), keys.clone());
                    mappers.spawn(mapper);
                }
            }
            if served.changed().await.is_err() {
                // The list is final; the mappers go on.
                while mappers.join_next().await.is_some() {}
                return;
            }
        }
    }

    async fn work(self: Arc<Self>) {
        while let Some(key) = self.queue.get().await {
            self.reconcile(&key).await;
            self.queue.done(&key);
        }
    }

    async fn reconcile(&self, key: &str) {
        let last_error = {
            let mut memory = self.memory.lock();
            match memory.get_mut(key) {
                None => None,
                Some(memory) => {
                    memory
                        .expectations
                        .retain(|e| !e.is_met(&self.context.caches));
                    if !memory.expectations.is_empty() {
                        self.queue.add_after(key.to_owned(), CATCH_UP);
                        return;
                    }
                    memory.last_error.clone()
                }
            }
        };
        let at = Moment {
            now: self.context.clock.now(),
            last_error,
        };
        let plan = match self.controller.decide(&self.context, key, &at).await {
            Ok(Some(plan)) => plan,
            Ok(None) => return self.settle(key, Memory::default()),
            Err(status) => return self.fail(key, Vec::new(), &status),
        };
        let outcome = self.executor.apply(&plan).await;
        match outcome.error {
            Some(status) => self.fail(key, outcome.expectations, &status),
            None => {
                let memory = Memory {
                    expectations: outcome.expectations,
                    last_error: None,
                };
                self.settle(key, memory);
                if let Some(after) = plan.requeue_after {
                    self.queue.add_after(key.to_owned(), after);
                }
            }
        }
    }

    fn settle(&self, key: &str, fresh: Memory) {
        self.queue.forget(&key.to_owned());
        let mut memory = self.memory.lock();
        if fresh.expectations.is_empty() {
            memory.remove(key);
        } else {
            memory.insert(key.to_owned(), fresh);
        }
    }

    fn fail(&self, key: &str, expectations: Vec<Expectation>, status: &kontiki_object::Status) {
        let controller = self.controller.name();
        if status.is_conflict() || status.is_already_exists() || status.is_not_found() {
            // Another writer was faster; the caches will show it soon.
            tracing::debug!(controller, key, %status, "will look again");
        } else {
            tracing::warn!(controller, key, %status, "could not reconcile, will try again");
        }
        let memory = Memory {
            expectations,
            last_error: Some(status.to_string()),
        };
        self.memory.lock().insert(key.to_owned(), memory);
        self.queue.add_rate_limited(key.to_owned());
    }
}
