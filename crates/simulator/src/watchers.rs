//! Clients that watch, go on where they were when their member dies, and never
//! look at what they get.

use crate::bugs::Bug;
use crate::ledger::Ledger;
use crate::world::World;
use bytes::Bytes;
use kontiki_mvcc::conformance::Random;
use kontiki_raft::ReplicatedStore;
use kontiki_store::{KeyRange, Store, WatchItem, WatchRequest};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a watcher goes about it.
#[derive(Clone, Debug)]
struct Habit {
    range: KeyRange,
    prev_kv: bool,
    buffer: usize,
    /// Milliseconds between two items that it takes.
    pause: u64,
    /// Milliseconds of silence after which it asks for progress.
    ask_after: u64,
    bug: Option<Bug>,
}

/// One watcher, over all its watches.
struct Watcher {
    habit: Habit,
    /// Watches one member for good; others go wherever they are served.
    home: Option<usize>,
    /// The number of the present watch, and whether it is over.
    watch: Option<(usize, Arc<Mutex<bool>>)>,
}

/// All of them.
pub(crate) struct Watchers {
    watchers: Vec<Watcher>,
    random: Random,
    /// Once set, nobody is slow any more.
    hurry: Arc<AtomicBool>,
}

impl Watchers {
    /// One that sees everything at each member, and `wanderers` beside them.
    pub(crate) fn new(members: usize, wanderers: usize, seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed);
        let recorders = (0..members).map(|member| Watcher {
            habit: Habit {
                range: KeyRange {
                    key: Bytes::from_static(b"\0"),
                    end: Bytes::from_static(b"\0"),
                },
                prev_kv: true,
                buffer: 0,
                pause: 0,
                ask_after: 200,
                bug: None,
            },
            home: Some(member),
            watch: None,
        });
        let mut watchers: Vec<Watcher> = recorders.collect();
        for _ in 0..wanderers {
            let range = match random.below(3) {
                0 => KeyRange::prefix("k/"),
                1 => KeyRange::one(format!("k/{}", random.below(4))),
                _ => KeyRange {
                    key: Bytes::from_static(b"k/2"),
                    end: Bytes::from_static(b"l"),
                },
            };
            watchers.push(Watcher {
                habit: Habit {
                    range,
                    prev_kv: random.one_in(2),
                    buffer: [0, 1, 4][random.below(3)],
                    pause: [0, 0, 20, 100][random.below(4)],
                    ask_after: 20 + random.below(300) as u64,
                    bug,
                },
                home: None,
                watch: None,
            });
        }
        Self {
            watchers,
            random,
            hurry: Arc::default(),
        }
    }

    /// Opens the watches that are missing.
    pub(crate) fn tend(&mut self, world: &World) {
        for watcher in &mut self.watchers {
            if watcher
                .watch
                .as_ref()
                .is_some_and(|(_, over)| !*over.lock())
            {
                continue;
            }
            let members = world.nodes.len();
            let member = watcher.home.unwrap_or_else(|| self.random.below(members));
            let Some(store) = world.nodes[member].store() else {
                continue;
            };
            let start_revision = match &watcher.watch {
                Some((number, _)) => world.ledger.resume_at(*number),
                // From the beginning, or from now on.
                None if watcher.home.is_some() || self.random.one_in(2) => 2,
                None => 0,
            };
            let request = WatchRequest {
                range: watcher.habit.range.clone(),
                start_revision,
                prev_kv: watcher.habit.prev_kv,
                buffer: watcher.habit.buffer,
            };
            let number = world.ledger.watching(member, request.clone());
            let over = Over(Arc::new(Mutex::new(false)));
            watcher.watch = Some((number, over.0.clone()));
            let (ledger, habit) = (world.ledger.clone(), watcher.habit.clone());
            let hurry = self.hurry.clone();
            world.nodes[member].spawn(async move {
                watch(store, request, number, &habit, &ledger, (&over, &hurry)).await;
            });
        }
    }

    /// From here on everybody takes what there is at once.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// From here on every watch that is open must have delivered everything.
    pub(crate) fn settle(&self, world: &World) {
        for watcher in &self.watchers {
            if let Some((number, over)) = &watcher.watch
                && !*over.lock()
            {
                world.ledger.settled(*number);
            }
        }
    }

    /// Cancels one in so many watches, so that they are opened anew.
    pub(crate) fn shake(&mut self, one_in: usize) {
        for watcher in &mut self.watchers {
            if self.random.one_in(one_in)
                && let Some((_, over)) = &watcher.watch
            {
                *over.lock() = true;
            }
        }
    }
}

/// Says that a watch is over, also when its process dies.
struct Over(Arc<Mutex<bool>>);

impl Drop for Over {
    fn drop(&mut self) {
        *self.0.lock() = true;
    }
}

async fn watch(
    store: Arc<ReplicatedStore>,
    request: WatchRequest,
    number: usize,
    habit: &Habit,
    ledger: &Ledger,
    (over, hurry): (&Over, &AtomicBool),
) {
    let Ok(mut stream) = store.watch(request.clone()).await else {
        return;
    };
    ledger.watch_opened(number, stream.opened_at);
    let patience = Duration::from_millis(habit.ask_after);
    let mut taken = 0_u64;
    while !*over.0.lock() {
        let item = match tokio::time::timeout(patience, stream.next()).await {
            Ok(Some(item)) => item,
            Ok(None) => return,
            Err(_) => {
                stream.request_progress();
                continue;
            }
        };
        if let WatchItem::Compacted { compact_revision } = item
            && habit.bug == Some(Bug::LostWatchEventAtCompaction)
        {
            let again = WatchRequest {
                start_revision: compact_revision,
                ..request.clone()
            };
            match store.watch(again).await {
                Ok(again) => stream = again,
                Err(_) => return,
            }
            continue;
        }
        ledger.delivered(number, item);
        taken += 1;
        if taken.is_multiple_of(16) {
            stream.request_progress();
        }
        if habit.pause > 0 && !hurry.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(habit.pause)).await;
        }
    }
}
