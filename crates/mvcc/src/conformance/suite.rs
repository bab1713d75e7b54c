//! Random runs of commands, compared step by step with the oracle.

use super::requests::LEASES;
use super::{Oracle, Random, everything};
use crate::check::check_single_writes;
use crate::command::{Command, decode_batch, encode_batch};
use crate::engine::Engine;
use crate::machine::{Applied, Entry, Outcome, StateMachine};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kontiki_store::{EventBatch, Revision, StoreError, WatchItem, WatchRequest, WatchStream};
use std::sync::Arc;

/// How the suite handles one engine.
pub trait Harness {
    /// A fresh, empty engine.
    fn fresh(&mut self) -> Arc<dyn Engine>;

    /// The engine again after everything that was not flushed is lost. Nobody
    /// holds `engine` but the caller.
    fn crash(&mut self, engine: Arc<dyn Engine>) -> Arc<dyn Engine>;
}

/// Runs the suite: `seeds` random histories of `steps` runs of entries.
///
/// # Panics
/// When the state machine and the oracle disagree.
pub fn run(harness: &mut dyn Harness, seeds: std::ops::Range<u64>, steps: usize) {
    for seed in seeds {
        Run::new(harness, seed).all(steps);
    }
}

/// A watch, what it asked for, and what it got.
struct Watching {
    request: WatchRequest,
    stream: WatchStream,
    opened_at: Revision,
    seen: Vec<Arc<EventBatch>>,
    compacted: Option<Revision>,
    progress: Option<Revision>,
}

struct Run<'h> {
    harness: &'h mut dyn Harness,
    seed: u64,
    random: Random,
    oracle: Oracle,
    machine: Arc<StateMachine>,
    background: LocalBoxFuture<'static, ()>,
    watches: Vec<Watching>,
    index: u64,
    /// What the log would replay: runs after the last flush.
    unflushed: Vec<(Vec<Entry>, Bytes)>,
}

impl<'h> Run<'h> {
    fn new(harness: &'h mut dyn Harness, seed: u64) -> Self {
        let (machine, background) =
            StateMachine::open(harness.fresh()).expect("an empty engine opens");
        Self {
            harness,
            seed,
            random: Random::new(seed),
            oracle: Oracle::default(),
            machine,
            background: background.run().boxed_local(),
            watches: Vec::new(),
            index: 0,
            unflushed: Vec::new(),
        }
    }

    fn all(mut self, steps: usize) {
        for step in 0..steps {
            self.apply_some();
            match self.random.below(20) {
                0..=4 => self.open_watch(),
                5..=9 => self.read_watches(false),
                10..=12 => self.poll_background(),
                13 if self.random.one_in(2) => self.crash(),
                14 => self.unflush(),
                15 if self.random.one_in(3) => self.move_to_another_replica(),
                _ => self.check_reads(),
            }
            if step % 64 == 63 {
                self.check_everything();
            }
        }
        self.read_watches(true);
        self.check_everything();
    }

    fn commands(&mut self) -> Vec<Command> {
        let count = self.random.below(4);
        (0..count)
            .map(|_| match self.random.below(24) {
                0 => Command::LeaseGrant {
                    id: self.random.below(LEASES as usize) as i64,
                    ttl_seconds: 10,
                },
                1 => Command::LeaseRevoke {
                    id: self.random.below(LEASES as usize) as i64,
                },
                2 => {
                    let span = (self.oracle.revision - self.oracle.compacted + 2) as usize;
                    Command::Compact {
                        revision: self.oracle.compacted + self.random.below(span) as Revision,
                    }
                }
                3 => Command::Noop,
                4 => Command::ClusterPut {
                    key: self.random.key(),
                    value: self.random.key(),
                },
                5 => Command::ClusterDelete {
                    key: self.random.key(),
                },
                _ => Command::Txn(self.random.txn(self.oracle.revision, 2)),
            })
            .collect()
    }

    /// Applies a run of a few entries and compares every answer.
    fn apply_some(&mut self) {
        let count = 1 + self.random.below(3);
        let mut entries = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..count {
            self.index += 1;
            let term = 1 + self.index / 50;
            let commands = self.commands();
            let decoded = decode_batch(encode_batch(&commands)).expect("what was encoded decodes");
            assert_eq!(
                decoded, commands,
                "seed {}: the encoding is not faithful",
                self.seed
            );
            self.oracle.term = term;
            expected.push(
                decoded
                    .iter()
                    .map(|command| expect(&mut self.oracle, command))
                    .collect::<Vec<_>>(),
            );
            entries.push(Entry {
                term,
                commands: decoded,
            });
        }
        let meta = Bytes::copy_from_slice(&self.index.to_be_bytes());
        let outcomes = self
            .machine
            .apply(&entries, meta.clone())
            .expect("the engine works");
        assert_eq!(
            outcomes, expected,
            "seed {}, index {}: {entries:#?}",
            self.seed, self.index
        );
        assert_eq!(self.machine.applied_meta(), Some(meta.clone()));
        assert_eq!(self.machine.header().revision, self.oracle.revision);
        self.unflushed.push((entries, meta));
    }

    fn check_reads(&mut self) {
        for _ in 0..8 {
            let request = self.random.range_request(self.oracle.revision);
            let expected = self.oracle.range(&request, self.oracle.revision);
            assert_eq!(
                self.machine.range(&request),
                expected,
                "seed {}: {request:?}",
                self.seed
            );
        }
    }

    fn check_everything(&mut self) {
        self.check_reads();
        let all = kontiki_store::RangeRequest {
            range: everything(),
            ..Default::default()
        };
        let found = self.machine.range(&all).expect("now can always be read");
        assert_eq!(
            found.kvs,
            self.oracle.live(&everything(), self.oracle.revision),
            "seed {}",
            self.seed
        );
        for lease in self.machine.leases() {
            let keys = self
                .oracle
                .live(&everything(), self.oracle.revision)
                .into_iter();
            let keys: Vec<Bytes> = keys
                .filter(|kv| kv.lease == lease.id)
                .map(|kv| kv.key)
                .collect();
            assert_eq!(
                self.machine.lease(lease.id, true).map(|lease| lease.keys),
                Some(keys)
            );
        }
        let ids: Vec<_> = self.machine.leases().iter().map(|lease| lease.id).collect();
        assert_eq!(
            ids,
            self.oracle.leases.iter().copied().collect::<Vec<_>>(),
            "seed {}",
            self.seed
        );
    }

    fn open_watch(&mut self) {
        let span = self.oracle.revision as usize + 4;
        let start_revision = if self.random.one_in(3) {
            0
        } else {
            1 + self.random.below(span) as Revision
        };
        let request = WatchRequest {
            range: if self.random.one_in(3) {
                everything()
            } else {
                self.random.range()
            },
            start_revision,
            prev_kv: self.random.one_in(2),
            buffer: 1 + self.random.below(4),
        };
        let stream = self.machine.watch(request.clone());
        assert_eq!(stream.opened_at, self.oracle.revision);
        let opened_at = self.oracle.revision;
        self.watches.push(Watching {
            request,
            stream,
            opened_at,
            seen: Vec::new(),
            compacted: None,
            progress: None,
        });
        if self.watches.len() > 12 {
            let at = self.random.below(self.watches.len());
            self.watches.swap_remove(at);
        }
    }

    fn poll_background(&mut self) {
        let waker = futures::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        for _ in 0..1 + self.random.below(4) {
            assert!(
                self.background.as_mut().poll(&mut context).is_pending(),
                "the background ended by itself"
            );
        }
    }

    /// Takes what waits; with `to_the_end` until nothing comes any more.
    fn read_watches(&mut self, to_the_end: bool) {
        loop {
            let mut moved = false;
            for watching in &mut self.watches {
                if to_the_end
                    && watching
                        .progress
                        .is_none_or(|seen| seen < self.oracle.revision)
                {
                    watching.stream.request_progress();
                }
                while let Some(item) = watching.stream.try_next() {
                    moved = true;
                    watching.take(item, self.seed);
                }
            }
            if !to_the_end
                || !moved
                    && self
                        .watches
                        .iter()
                        .all(|watching| watching.is_over(self.oracle.revision))
            {
                break;
            }
            self.poll_background();
        }
        for watching in &self.watches {
            watching.check(&self.oracle, self.seed);
        }
    }

    fn unflush(&mut self) {
        assert_eq!(
            self.machine.flush().expect("the engine flushes"),
            self.machine.applied_meta()
        );
        assert_eq!(
            self.machine.durable_meta().expect("the engine reads"),
            self.machine.applied_meta()
        );
        self.unflushed.clear();
    }

    /// Loses what was not flushed, opens again and replays.
    fn crash(&mut self) {
        self.read_watches(false);
        self.watches.clear();
        let before = self.machine.state_hash().expect("the state can be hashed");
        let engine = self.close();
        let (machine, background) =
            StateMachine::open(self.harness.crash(engine)).expect("what was flushed opens");
        (self.machine, self.background) = (machine, background.run().boxed_local());
        let durable = self.machine.applied_meta();
        let after = self
            .unflushed
            .iter()
            .position(|(_, meta)| Some(meta) == durable.as_ref());
        for (entries, meta) in &self.unflushed[after.map_or(0, |at| at + 1)..] {
            self.machine
                .apply(entries, meta.clone())
                .expect("a replay applies");
        }
        let after = self.machine.state_hash().expect("the state can be hashed");
        assert_eq!(after, before, "seed {}: a replay led elsewhere", self.seed);
        self.check_everything();
    }

    /// Gives the engine back; nothing else holds it afterwards.
    fn close(&mut self) -> Arc<dyn Engine> {
        let engine = self.machine.engine.clone();
        let (machine, background) =
            StateMachine::open(Arc::new(crate::MemoryEngine::new())).expect("memory opens");
        (self.machine, self.background) = (machine, background.run().boxed_local());
        engine
    }

    /// Streams a snapshot into another state machine, which carries on.
    fn move_to_another_replica(&mut self) {
        self.watches.clear();
        let (target, background) =
            StateMachine::open(self.harness.fresh()).expect("an empty engine opens");
        let noise = Command::Txn(self.random.txn(1, 0));
        target
            .apply(
                &[Entry {
                    term: 9,
                    commands: vec![noise],
                }],
                Bytes::from_static(b"old"),
            )
            .expect("it applies");
        let mut snapshot = self.machine.snapshot().expect("a snapshot starts");
        assert_eq!(snapshot.meta(), self.machine.applied_meta());
        let mut installer = target.install().expect("an install starts");
        while let Some(chunk) = snapshot.blocking_next() {
            installer
                .push(chunk.expect("the engine reads"))
                .expect("the chunk fits");
        }
        let meta = installer.finish().expect("the snapshot is complete");
        assert_eq!(meta, self.machine.applied_meta());
        assert_eq!(target.applied_meta(), meta);
        assert_eq!(target.durable_meta().expect("the engine reads"), meta);
        let hashes = [&self.machine, &target]
            .map(|machine| machine.state_hash().expect("the state can be hashed"));
        assert_eq!(hashes[0], hashes[1], "seed {}: the copy differs", self.seed);
        (self.machine, self.background) = (target, background.run().boxed_local());
        self.unflushed.clear();
        self.check_everything();
    }
}

impl Watching {
    fn take(&mut self, item: WatchItem, seed: u64) {
        assert_eq!(
            self.compacted, None,
            "seed {seed}: something came after the end"
        );
        match item {
            WatchItem::Events(batch) => {
                assert!(
                    self.progress.is_none_or(|seen| seen < batch.revision),
                    "seed {seed}: progress came too early"
                );
                self.seen.push(batch);
            }
            WatchItem::Progress(revision) => self.progress = Some(revision),
            WatchItem::Compacted { compact_revision } => self.compacted = Some(compact_revision),
        }
    }

    fn is_over(&self, revision: Revision) -> bool {
        self.compacted.is_some() || self.progress.is_some_and(|seen| seen >= revision)
    }

    /// What came is a beginning of what must come; up to the progress it is all of it.
    fn check(&self, oracle: &Oracle, seed: u64) {
        let WatchRequest {
            range,
            start_revision,
            prev_kv,
            ..
        } = &self.request;
        let from = if *start_revision == 0 {
            self.opened_at + 1
        } else {
            *start_revision
        };
        let expected = oracle.history(range, from, *prev_kv);
        let context = || {
            format!(
                "seed {seed}: {:?} opened at {}",
                self.request, self.opened_at
            )
        };
        assert!(
            self.seen.len() <= expected.len(),
            "{}: more came than happened",
            context()
        );
        for (seen, expected) in self.seen.iter().zip(&expected) {
            assert_eq!(seen.revision, expected.revision, "{}", context());
            assert_eq!(
                seen.events.len(),
                expected.events.len(),
                "{}: a revision was split",
                context()
            );
            for (seen, expected) in seen.events.iter().zip(&expected.events) {
                assert_eq!(
                    (seen.kind, &seen.kv),
                    (expected.kind, &expected.kv),
                    "{}",
                    context()
                );
                // The previous version may be gone by compaction, but it is never wrong.
                let gone = seen.prev_kv.is_none() && seen.kv.mod_revision <= oracle.compacted;
                assert!(
                    gone || seen.prev_kv == expected.prev_kv,
                    "{}: {seen:?} but {expected:?}",
                    context()
                );
            }
        }
        let unseen = expected.get(self.seen.len()).map(|batch| batch.revision);
        if let (Some(progress), Some(unseen)) = (self.progress, unseen) {
            assert!(
                unseen > progress,
                "{}: revision {unseen} is missing",
                context()
            );
        }
        if let Some(compacted) = self.compacted {
            let next = self.seen.last().map_or(from, |batch| batch.revision + 1);
            assert!(
                next < compacted && compacted <= oracle.compacted,
                "{}: not compacted",
                context()
            );
        }
    }
}

/// What the oracle answers to a command.
fn expect(oracle: &mut Oracle, command: &Command) -> Outcome {
    match command {
        Command::Txn(txn) => {
            check_single_writes(txn)?;
            oracle.txn(txn).map(Applied::Txn)
        }
        Command::Compact { revision } => oracle.compact(*revision).map(Applied::Header),
        Command::LeaseGrant { id: 0, .. } => Err(StoreError::LeaseNotFound),
        Command::LeaseGrant { id, ttl_seconds } => {
            if !oracle.leases.insert(*id) {
                return Err(StoreError::LeaseExists);
            }
            let header = header(oracle);
            Ok(Applied::Lease(kontiki_store::LeaseGrant {
                header,
                id: *id,
                ttl_seconds: *ttl_seconds,
            }))
        }
        Command::LeaseRevoke { id } => oracle.revoke(*id).map(Applied::Header),
        _ => Ok(Applied::Header(header(oracle))),
    }
}

fn header(oracle: &Oracle) -> kontiki_store::Header {
    kontiki_store::Header {
        revision: oracle.revision,
        raft_term: oracle.term,
    }
}
