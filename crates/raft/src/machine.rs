//! The consensus library's view of the MVCC state machine.

use crate::config::TraceContext;
use crate::corruption::Corruption;
use crate::lessor::Lessor;
use crate::metrics::Metrics;
use crate::position::Position;
use crate::snapshot::SnapshotContent;
use crate::status::StatusBoard;
use crate::types::Origin;
use crate::types::{EntryT, LogIdT, Proposal, StoredMembershipT, TypeConfig};
use crate::waiters::Waiters;
use crate::watch;
use crate::window::Verdict;
use crate::workers::Workers;
use futures::{Stream, StreamExt};
use kontiki_mvcc::{Applied, Command, Entry, Outcome, StateMachine, decode_batch};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::Arc;
use std::time::Instant;

type Snapshot = SnapshotOf<TypeConfig, SnapshotContent>;

/// Entries that are applied in one batch at most.
const ENTRIES_MAX: usize = 1024;

/// The state machine and everybody who wants to know what it does.
pub(crate) struct Machine {
    pub content: Arc<StateMachine>,
    pub position: Position,
    pub waiters: Arc<Waiters>,
    pub lessor: Arc<Lessor>,
    pub status: Arc<StatusBoard>,
    pub metrics: Arc<Metrics>,
    pub traces: Option<Arc<dyn TraceContext>>,
    /// Index of the last applied entry.
    pub applied: watch::Sender<u64>,
    pub workers: Workers,
    pub corruption: Corruption,
}

/// A batch of entries, taken apart.
#[derive(Default)]
struct Run {
    entries: Vec<Entry>,
    /// For every entry: who proposed it, if it is applied now.
    origins: Vec<Option<Origin>>,
    responders: Vec<ApplyResponder<TypeConfig>>,
    traces: Vec<bytes::Bytes>,
}

impl Machine {
    fn take_apart(&mut self, run: &mut Run, entry: EntryT) -> Result<(), io::Error> {
        let mut taken = Entry {
            term: entry.log_id.leader_id.term,
            commands: Vec::new(),
        };
        let mut origin = None;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.position
                    .set_membership(StoredMembershipT::new(Some(entry.log_id), membership));
            }
            EntryPayload::Normal(proposal) => {
                (origin, taken.commands) = self.judge(run, &proposal)?;
            }
        }
        self.position.applied = Some(entry.log_id);
        run.entries.push(taken);
        run.origins.push(origin);
        Ok(())
    }

    /// The proposal's commands, unless it was applied before.
    fn judge(
        &mut self,
        run: &mut Run,
        proposal: &Proposal,
    ) -> Result<(Option<Origin>, Vec<Command>), io::Error> {
        let (origin, trace, commands) = proposal.parse()?;
        match self.position.window.admit(origin) {
            Verdict::New => {
                let commands = decode_batch(commands).map_err(io::Error::other)?;
                if !trace.is_empty() {
                    run.traces.push(trace);
                }
                Ok((Some(origin), commands))
            }
            Verdict::Seen => Ok((None, Vec::new())),
            Verdict::StaleBoot { current } => {
                self.waiters.outlived(origin, current);
                Ok((None, Vec::new()))
            }
        }
    }

    fn apply_run(&mut self, run: Run) -> Result<(), io::Error> {
        let Run {
            entries,
            origins,
            responders,
            traces,
        } = run;
        if entries.is_empty() {
            return Ok(());
        }
        // They end with this function.
        let _spans = self.spans(&traces, entries.len());
        let started = Instant::now();
        let outcomes = may_block(|| self.content.apply(&entries, self.position.encode())).map_err(
            |error| {
                self.corruption.of_engine(&error);
                self.fatal(&error)
            },
        )?;
        self.metrics.applied(entries.len(), started.elapsed());
        for (entry, outcomes) in entries.iter().zip(&outcomes) {
            self.tell_lessor(&entry.commands, outcomes);
        }
        let index = self.position.applied.map_or(0, |id| id.index);
        // The status first: who was woken by `applied` must not find it behind.
        self.status.applied(index, &self.content);
        self.applied.send_replace(index);
        for (origin, outcomes) in origins.into_iter().zip(outcomes) {
            if let Some(origin) = origin {
                self.waiters.applied(origin, outcomes);
            }
        }
        for responder in responders {
            responder.send(());
        }
        Ok(())
    }

    /// A span in each of the traces that these entries belong to.
    fn spans(&self, traces: &[bytes::Bytes], entries: usize) -> Vec<tracing::Span> {
        let Some(context) = &self.traces else {
            return Vec::new();
        };
        let index = self.position.applied.map_or(0, |id| id.index);
        let parents = traces
            .iter()
            .filter_map(|joined| std::str::from_utf8(joined).ok())
            .flat_map(|joined| joined.split(','));
        let joined = parents.map(|parent| {
            let span = tracing::info_span!(parent: None, "raft apply", index, entries);
            context.join(&span, parent);
            span
        });
        joined.collect()
    }

    fn tell_lessor(&self, commands: &[Command], outcomes: &[Outcome]) {
        for (command, outcome) in commands.iter().zip(outcomes) {
            match (command, outcome) {
                (Command::LeaseGrant { id, .. }, Ok(Applied::Lease(grant))) => {
                    self.lessor.granted(*id, grant.ttl_seconds);
                }
                (Command::LeaseRevoke { id }, _) => self.lessor.revoked(*id),
                _ => {}
            }
        }
    }

    fn fatal(&self, error: &dyn std::fmt::Display) -> io::Error {
        tracing::error!(%error, "the state machine failed; this replica stops");
        self.status
            .trouble("state machine", Some(error.to_string()));
        io::Error::other(error.to_string())
    }

    fn meta(position: &Position) -> SnapshotMetaOf<TypeConfig> {
        SnapshotMetaOf::<TypeConfig> {
            last_log_id: position.applied,
            last_membership: position.membership.clone(),
        }
    }
}

/// Runs what may wait for the disk without keeping other tasks from their turn.
fn may_block<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotContent;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogIdT>, StoredMembershipT), io::Error> {
        Ok((self.position.applied, self.position.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut run = Run::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            run.responders.extend(responder);
            self.take_apart(&mut run, entry)
                .map_err(|error| self.fatal(&error))?;
            if run.entries.len() >= ENTRIES_MAX {
                self.apply_run(std::mem::take(&mut run))?;
            }
        }
        self.apply_run(run)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            content: self.content.clone(),
            metrics: self.metrics.clone(),
            workers: self.workers.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotContent,
    ) -> Result<(), io::Error> {
        let SnapshotContent::Incoming(installer) = snapshot else {
            // The library offers this replica's own snapshot again; it is in already.
            return Ok(());
        };
        let found = may_block(|| installer.finish()).map_err(|error| self.fatal(&error))?;
        self.position = Position::decode(found)?;
        tracing::info!(snapshot = %meta, revision = self.content.revision(), "installed a snapshot");
        let index = self.position.applied.map_or(0, |id| id.index);
        self.waiters.jumped();
        self.lessor.jumped(&self.content);
        // The status first: who was woken by `applied` must not find it behind.
        self.status.applied(index, &self.content);
        self.applied.send_replace(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let reader = self
            .workers
            .snapshot(&self.content)
            .map_err(|error| self.fatal(&error))?;
        let position = Position::decode(reader.meta())?;
        if position.applied.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot {
            meta: Self::meta(&position),
            snapshot: SnapshotContent::Outgoing(reader),
        }))
    }
}

/// Makes the state machine durable: that is what a snapshot is here. Applying
/// goes on meanwhile.
pub(crate) struct Builder {
    content: Arc<StateMachine>,
    metrics: Arc<Metrics>,
    workers: Workers,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotContent;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let content = self.content.clone();
        let started = Instant::now();
        let flushed = self.workers.run(move || content.flush()).await?;
        let meta = flushed.map_err(io::Error::other)?;
        self.metrics.backend_committed(started.elapsed());
        let position = Position::decode(meta)?;
        Ok(Snapshot {
            meta: Machine::meta(&position),
            snapshot: SnapshotContent::Local,
        })
    }
}
