//! A work queue of keys: de-duplicating, delaying, and rate-limiting retries.
//!
//! **Invariants:** a key is worked on by one worker at a time; a key added while
//! it is worked on is handed out once more after [`WorkQueue::done`]; a key that
//! waits is handed out once however often it was added. The queue is therefore
//! never longer than the number of distinct keys.

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a key that failed waits before it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubled by each further one.
    pub base: Duration,
    /// Never longer than this.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(5),
            max: Duration::from_secs(1000),
        }
    }
}

impl Backoff {
    /// The wait after `failures` earlier failures.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let factor = 2u32.checked_pow(failures.min(31)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueName {
    name: String,
}

type Histograms = Family<QueueName, Histogram, fn() -> Histogram>;

/// The `workqueue_*` metrics that dashboards read, for all queues of a process.
#[derive(Clone)]
pub struct QueueMetrics {
    depth: Family<QueueName, Gauge>,
    adds: Family<QueueName, Counter>,
    retries: Family<QueueName, Counter>,
    queue_seconds: Histograms,
    work_seconds: Histograms,
}

impl Default for QueueMetrics {
    fn default() -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-8, 10.0, 10));
        Self {
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            queue_seconds: Family::new_with_constructor(buckets),
            work_seconds: Family::new_with_constructor(buckets),
        }
    }
}

impl QueueMetrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "workqueue_depth",
            "Current depth of workqueue",
            self.depth.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Total number of adds handled by workqueue",
            self.adds.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Total number of retries handled by workqueue",
            self.retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            self.queue_seconds.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes",
            self.work_seconds.clone(),
        );
    }
}

/// The handles of one queue, so that the hot path takes no lock of a family.
struct Meters {
    depth: Gauge,
    adds: Counter,
    retries: Counter,
    queue_seconds: Histogram,
    work_seconds: Histogram,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Keys in `ready`, and keys that became due while worked on; with the time of the add.
    dirty: HashMap<K, Instant>,
    processing: HashMap<K, Instant>,
    delayed: BTreeMap<(Instant, u64), K>,
    delayed_at: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    sequence: u64,
    closed: bool,
}

struct Inner<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    backoff: Backoff,
    meters: Meters,
}

/// A queue of keys, shared by its clones.
pub struct WorkQueue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// An empty queue; `name` labels its metrics.
    #[must_use]
    pub fn new(name: &str, backoff: Backoff, metrics: &QueueMetrics) -> Self {
        let label = QueueName {
            name: name.to_owned(),
        };
        let meters = Meters {
            depth: metrics.depth.get_or_create_owned(&label),
            adds: metrics.adds.get_or_create_owned(&label),
            retries: metrics.retries.get_or_create_owned(&label),
            queue_seconds: metrics.queue_seconds.get_or_create_owned(&label),
            work_seconds: metrics.work_seconds.get_or_create_owned(&label),
        };
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            delayed: BTreeMap::new(),
            delayed_at: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
            closed: false,
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                wake: Notify::new(),
                backoff,
                meters,
            }),
        }
    }

    /// Asks for a key to be worked on.
    pub fn add(&self, key: K) {
        let mut state = self.inner.state.lock();
        self.enqueue(&mut state, key);
        drop(state);
        self.inner.wake.notify_one();
    }

    fn enqueue(&self, state: &mut State<K>, key: K) {
        if state.closed || state.dirty.contains_key(&key) {
            return;
        }
        self.inner.meters.adds.inc();
        state.dirty.insert(key.clone(), Instant::now());
        if !state.processing.contains_key(&key) {
            state.ready.push_back(key);
            self.inner.meters.depth.inc();
        }
    }

    /// Asks for a key to be worked on after a while; the earliest wish counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.inner.state.lock();
        if state.closed {
            return;
        }
        let due = Instant::now() + delay;
        if let Some(known) = state.delayed_at.get(&key).copied() {
            if known.0 <= due {
                return;
            }
            state.delayed.remove(&known);
        }
        state.sequence += 1;
        let place = (due, state.sequence);
        state.delayed.insert(place, key.clone());
        state.delayed_at.insert(key, place);
        drop(state);
        self.inner.wake.notify_one();
    }

    /// Asks for a key that failed to be worked on again, later each time.
    pub fn add_rate_limited(&self, key: K) {
        let failures = {
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        self.inner.meters.retries.inc();
        self.add_after(key, self.inner.backoff.after(failures - 1));
    }

    /// How often a key failed since it was last forgotten.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.inner
            .state
            .lock()
            .failures
            .get(key)
            .copied()
            .unwrap_or_default()
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &K) {
        self.inner.state.lock().failures.remove(key);
    }

    /// Waits for a key to work on; `None` once the queue is shut down and empty.
    /// [`WorkQueue::done`] must follow.
    pub async fn get(&self) -> Option<K> {
        loop {
            let notified = self.inner.wake.notified();
            let next_due = {
                let mut state = self.inner.state.lock();
                self.promote_due(&mut state);
                if let Some(key) = state.ready.pop_front() {
                    self.hand_out(&mut state, &key);
                    return Some(key);
                }
                if state.closed {
                    // The next waiter has to see it, too.
                    self.inner.wake.notify_one();
                    return None;
                }
                state.delayed.keys().next().map(|(due, _)| *due)
            };
            match next_due {
                None => notified.await,
                Some(due) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
            }
        }
    }

    fn promote_due(&self, state: &mut State<K>) {
        let now = Instant::now();
        while let Some(entry) = state.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            state.delayed_at.remove(&key);
            self.enqueue(state, key);
        }
    }

    fn hand_out(&self, state: &mut State<K>, key: &K) {
        let now = Instant::now();
        self.inner.meters.depth.dec();
        if let Some(added) = state.dirty.remove(key) {
            let waited = now.duration_since(added).as_secs_f64();
            self.inner.meters.queue_seconds.observe(waited);
        }
        state.processing.insert(key.clone(), now);
        if !state.ready.is_empty() || !state.delayed.is_empty() {
            // Passes the baton: this worker no longer watches the timer.
            self.inner.wake.notify_one();
        }
    }

    /// Ends the work on a key that [`WorkQueue::get`] handed out.
    pub fn done(&self, key: &K) {
        let mut state = self.inner.state.lock();
        if let Some(started) = state.processing.remove(key) {
            let took = started.elapsed().as_secs_f64();
            self.inner.meters.work_seconds.observe(took);
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            self.inner.meters.depth.inc();
            drop(state);
            self.inner.wake.notify_one();
        }
    }

    /// Takes no further keys; those that wait without a delay are still handed out.
    pub fn shut_down(&self) {
        let mut state = self.inner.state.lock();
        state.closed = true;
        state.delayed.clear();
        state.delayed_at.clear();
        drop(state);
        self.inner.wake.notify_waiters();
        self.inner.wake.notify_one();
    }

    /// How many keys are ready.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.state.lock().ready.len()
    }

    /// Whether no key is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys that are ready, worked on or delayed.
    #[must_use]
    pub fn pending(&self) -> HashSet<K> {
        let state = self.inner.state.lock();
        let ready = state.ready.iter();
        ready
            .chain(state.processing.keys())
            .chain(state.delayed_at.keys())
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> WorkQueue<&'static str> {
        WorkQueue::new("test", Backoff::default(), &QueueMetrics::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_handed_out_once() {
        let queue = queue();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.get().await, Some("a"));
        assert_eq!(queue.get().await, Some("b"));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_again_after_done() {
        let queue = queue();
        queue.add("a");
        assert_eq!(queue.get().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty(), "never on two workers at once");
        queue.done(&"a");
        assert_eq!(queue.get().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_wish_counts() {
        let queue = queue();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(90));
        assert_eq!(queue.get().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(queue.pending().len() == 1, "only the one worked on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_worker_notices_an_earlier_key() {
        let queue = queue();
        queue.add_after("late", Duration::from_secs(60));
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.get().await }
        });
        tokio::task::yield_now().await;
        queue.add_after("early", Duration::from_secs(1));
        assert_eq!(worker.await.expect("no panic"), Some("early"));
        assert_eq!(queue.get().await, Some("late"));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_wait_twice_as_long_each_time() {
        let queue = queue();
        let mut waits = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.add_rate_limited("a");
            assert_eq!(queue.get().await, Some("a"));
            waits.push(start.elapsed().as_millis());
            queue.done(&"a");
        }
        assert_eq!(waits, [5, 10, 20, 40]);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
        assert_eq!(Backoff::default().after(40), Duration::from_secs(1000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shut_down_queue_releases_every_worker() {
        let queue = queue();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.shut_down();
        for worker in workers {
            assert_eq!(worker.await.expect("no panic"), None);
        }
    }
}
