//! From concurrent requests to log entries: batching, forwarding to the leader
//! and trying again until the deadline.
//!
//! A batch may reach several leaders, one after the other; the window in the
//! state machine applies it once. Its outcome is known where it was applied,
//! here, never from the leader's answer.

use crate::forward::Forwarder;
use crate::replica::{Proposed, Replica};
use crate::types::{Proposal, TRACES_BYTES_MAX};
use bytes::Bytes;
use kontiki_mvcc::{Applied, Command, Outcome, encode_batch};
use kontiki_store::{Op, StoreError, TxnRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// A pause before a leader that refused is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A request that waits for its batch.
pub(crate) struct Pending {
    command: Command,
    trace: Option<String>,
    answer: oneshot::Sender<Outcome>,
}

/// The front of the queue.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Pending>,
    timeout: Duration,
}

impl Proposer {
    pub(crate) fn new(queue: mpsc::Sender<Pending>, timeout: Duration) -> Self {
        Self { queue, timeout }
    }

    /// Replicates a command; returns once it is applied here.
    pub(crate) async fn propose(
        &self,
        command: Command,
        trace: Option<String>,
    ) -> Result<Applied, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.queue
            .try_send(Pending {
                command,
                trace,
                answer,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => StoreError::TooManyRequests,
                mpsc::error::TrySendError::Closed(_) => StoreError::Stopped,
            })?;
        match tokio::time::timeout(self.timeout, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::Stopped),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

/// Takes requests from the queue and proposes them in batches.
pub(crate) async fn run(replica: Arc<Replica>, mut queue: mpsc::Receiver<Pending>) {
    let limits = replica.config.limits;
    let permits = Arc::new(Semaphore::new(limits.batches_in_flight_max));
    let forwarder = Arc::new(Forwarder::new(replica.peers.clone()));
    let sequence = AtomicU64::new(1);
    let mut waiting = Vec::with_capacity(limits.batch_requests_max);
    loop {
        // The permit first: while batches are under way, the next one grows.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        if waiting.is_empty()
            && queue
                .recv_many(&mut waiting, limits.batch_requests_max)
                .await
                == 0
        {
            return;
        }
        let mut bytes = 0;
        let fitting = waiting.iter().take_while(|pending| {
            bytes += size_bytes(&pending.command);
            bytes <= limits.batch_bytes_max
        });
        let count = fitting.count().max(1);
        let batch: Vec<Pending> = waiting.drain(..count).collect();
        replica
            .metrics
            .proposals_pending
            .inc_by(i64::try_from(count).unwrap_or(i64::MAX));
        let drive = drive(
            replica.clone(),
            forwarder.clone(),
            sequence.fetch_add(1, Ordering::Relaxed),
            batch,
        );
        tokio::spawn(async move {
            drive.await;
            drop(permit);
        });
    }
}

fn size_bytes(command: &Command) -> usize {
    fn of_txn(txn: &TxnRequest) -> usize {
        let of_op = |op: &Op| match op {
            Op::Put(put) => put.key.len() + put.value.len(),
            Op::Range(range) => range.range.key.len(),
            Op::DeleteRange(delete) => delete.range.key.len(),
            Op::Txn(txn) => of_txn(txn),
        };
        txn.success.iter().chain(&txn.failure).map(of_op).sum()
    }
    match command {
        Command::Txn(txn) => of_txn(txn),
        Command::ClusterPut { value, .. } => value.len(),
        _ => 0,
    }
}

/// Sees one batch through and answers its requests.
async fn drive(
    replica: Arc<Replica>,
    forwarder: Arc<Forwarder>,
    sequence: u64,
    batch: Vec<Pending>,
) {
    let (commands, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|pending| ((pending.command, pending.trace), pending.answer))
        .unzip();
    let traces = commands.iter().filter_map(|(_, trace)| trace.as_deref());
    let trace = join_traces(traces);
    let commands: Vec<Command> = commands.into_iter().map(|(command, _)| command).collect();
    let encoded = encode_batch(&commands);
    drop(commands);
    let result = see_through(&replica, &forwarder, sequence, &trace, encoded).await;
    replica.waiters.forget(sequence);
    let count = answers.len();
    replica
        .metrics
        .proposals_pending
        .dec_by(i64::try_from(count).unwrap_or(i64::MAX));
    match result {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                let _ = answer.send(outcome);
            }
        }
        Err(error) => {
            replica.metrics.proposals_failed.inc_by(count as u64);
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

/// As many trace parents as a proposal may carry, separated by commas.
fn join_traces<'a>(traces: impl Iterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for trace in traces {
        if joined.len() + 1 + trace.len() > TRACES_BYTES_MAX {
            break;
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(trace);
    }
    joined
}

async fn see_through(
    replica: &Replica,
    forwarder: &Forwarder,
    sequence: u64,
    trace: &str,
    commands: Bytes,
) -> Result<Vec<Outcome>, StoreError> {
    let deadline = Instant::now() + replica.config.limits.request_timeout;
    let mut leader = replica.leader.clone();
    // Once a leader may have taken the batch, a failure is no longer definite.
    let mut perhaps_taken = false;
    let mut applied = replica.waiters.wait(sequence);
    let mut proposal = Proposal::new(replica.waiters.origin(sequence), trace, &commands);
    loop {
        let known = *leader.borrow_and_update();
        let attempt = async {
            match known {
                None => std::future::pending().await,
                Some(id) if id == replica.id() => replica.propose_here(proposal.clone()).await,
                Some(id) => {
                    forwarder
                        .forward(id, &replica.peer_node(id), proposal.clone())
                        .await
                }
            }
        };
        let proposed = tokio::select! {
            biased;
            answer = &mut applied => match answer {
                Ok(Err(StoreError::TooManyRequests)) => {
                    // Refused for its process's number, see `Waiters::outlived`.
                    applied = replica.waiters.wait(sequence);
                    proposal = Proposal::new(replica.waiters.origin(sequence), trace, &commands);
                    continue;
                }
                Ok(result) => return result,
                Err(_) => return Err(StoreError::Stopped),
            },
            () = tokio::time::sleep_until(deadline) => return Err(give_up(known, perhaps_taken)),
            () = replica.leaderless() => return Err(give_up(None, perhaps_taken)),
            changed = leader.changed() => {
                if changed.is_err() {
                    return Err(StoreError::Stopped);
                }
                perhaps_taken |= known.is_some();
                continue;
            }
            proposed = attempt => proposed,
        };
        perhaps_taken |= proposed != Proposed::Refused;
        let pause = match proposed {
            // Only this replica's own apply is waited for now.
            Proposed::Committed => deadline.saturating_duration_since(Instant::now()),
            Proposed::Refused | Proposed::Unknown => RETRY_PAUSE,
        };
        tokio::select! {
            biased;
            answer = &mut applied => match answer {
                Ok(Err(StoreError::TooManyRequests)) => {
                    applied = replica.waiters.wait(sequence);
                    proposal = Proposal::new(replica.waiters.origin(sequence), trace, &commands);
                }
                Ok(result) => return result,
                Err(_) => return Err(StoreError::Stopped),
            },
            () = tokio::time::sleep(pause) => {}
            _ = leader.changed(), if proposed != Proposed::Committed => {}
        }
        if Instant::now() >= deadline {
            return Err(give_up(known, perhaps_taken));
        }
    }
}

fn give_up(leader: Option<u64>, perhaps_taken: bool) -> StoreError {
    match (leader, perhaps_taken) {
        (_, true) => StoreError::TimeoutLeaderFailure,
        (None, false) => StoreError::NoLeader,
        (Some(_), false) => StoreError::Timeout,
    }
}
