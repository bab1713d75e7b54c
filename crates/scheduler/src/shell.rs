//! The shell: feeds changes to the core and carries its decisions out.

mod carry_out;
mod state;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::metrics::{Attempt, Metrics};
use carry_out::{Carrier, Outcome};
use kontiki_client::events::{EventShape, EventSource};
use kontiki_client::{Client, Clock, Delta, EventRecorder, Informer, InformerConfig, resources};
use rand::SeedableRng;
use rand::rngs::StdRng;
use state::State;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pods that are looked at before changes are taken in again.
const PODS_A_ROUND: usize = 16;

/// A scheduler that keeps its caches warm and schedules while it leads.
pub struct Scheduler {
    client: Client,
    config: Config,
    metrics: Metrics,
    clock: Clock,
    recorder: EventRecorder,
    seed: u64,
    pods: Informer,
    nodes: Informer,
}

impl Scheduler {
    /// Starts following pods and nodes until `cancel` is cancelled. `seed`
    /// decides between equally good nodes.
    #[must_use]
    pub fn new(
        client: Client,
        config: Config,
        metrics: Metrics,
        clock: Clock,
        seed: u64,
        cancel: &CancellationToken,
    ) -> Self {
        let follow = |resource| {
            let config = InformerConfig::all(resource);
            Informer::start(client.clone(), config, cancel.clone())
        };
        let source = EventSource {
            component: "default-scheduler".to_owned(),
            instance: "default-scheduler".to_owned(),
            shape: EventShape::Series,
        };
        let recorder = EventRecorder::start(client.clone(), source, clock.clone(), cancel.clone());
        Self {
            pods: follow(resources::PODS),
            nodes: follow(resources::NODES),
            client,
            config,
            metrics,
            clock,
            recorder,
            seed,
        }
    }

    /// Whether the caches hold what the API server has.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.pods.has_synced() && self.nodes.has_synced()
    }

    /// Schedules until `cancel` is cancelled; to be called by the leader only.
    /// Assignments under way are finished before it returns.
    pub async fn lead(&self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = async { self.nodes.synced().await; self.pods.synced().await } => {}
        }
        let (outcomes, incoming) = mpsc::channel(self.config.bindings_max.max(1));
        let mut term = Term {
            nodes: self.nodes.cache().subscribe(),
            pods: self.pods.cache().subscribe(),
            incoming,
            tasks: JoinSet::new(),
            state: State::new(self.config.clone(), StdRng::seed_from_u64(self.seed)),
            carrier: Arc::new(Carrier {
                client: self.client.clone(),
                clock: self.clock.clone(),
                recorder: self.recorder.clone(),
                outcomes,
            }),
            metrics: self.metrics.clone(),
            bindings_max: self.config.bindings_max.max(1),
        };
        tracing::info!("the scheduler leads");
        term.run(&cancel).await;
        term.finish().await;
        tracing::info!("the scheduler leads no more");
    }
}

/// One term of leadership: a fresh core over warm caches.
struct Term {
    nodes: mpsc::UnboundedReceiver<Delta>,
    pods: mpsc::UnboundedReceiver<Delta>,
    incoming: mpsc::Receiver<Outcome>,
    tasks: JoinSet<()>,
    state: State,
    carrier: Arc<Carrier>,
    metrics: Metrics,
    bindings_max: usize,
}

impl Term {
    async fn run(&mut self, cancel: &CancellationToken) {
        loop {
            self.take_in();
            let more = self.round();
            self.show_queue();
            if more {
                // Lets informers and writers get on.
                tokio::task::yield_now().await;
                if cancel.is_cancelled() {
                    return;
                }
                continue;
            }
            let wake = self.state.wakes_at();
            tokio::select! {
                () = cancel.cancelled() => return,
                delta = self.nodes.recv() => match delta {
                    Some(delta) => self.state.node_changed(&delta, Instant::now()),
                    None => return,
                },
                delta = self.pods.recv() => match delta {
                    Some(delta) => self.state.pod_changed(&delta, Instant::now()),
                    None => return,
                },
                Some(outcome) = self.incoming.recv() => self.settle(outcome),
                Some(_) = self.tasks.join_next() => {}
                () = async { match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    /// Takes in all that is known by now; nodes first, because pods refer to them.
    fn take_in(&mut self) {
        let now = Instant::now();
        while let Ok(delta) = self.nodes.try_recv() {
            self.state.node_changed(&delta, now);
        }
        while let Ok(delta) = self.pods.try_recv() {
            self.state.pod_changed(&delta, now);
        }
        while let Ok(outcome) = self.incoming.try_recv() {
            self.settle(outcome);
        }
        while self.tasks.try_join_next().is_some() {}
        self.state.expire(now);
    }

    /// Decides about some pods; answers whether there may be more.
    fn round(&mut self) -> bool {
        for _ in 0..PODS_A_ROUND {
            if self.tasks.len() >= self.bindings_max {
                return false;
            }
            let started = Instant::now();
            let Some(decision) = self.state.next(started) else {
                return false;
            };
            let seconds = started.elapsed().as_secs_f64();
            self.metrics.algorithm_seconds.observe(seconds);
            if !decision.victims.is_empty() {
                self.metrics.preemptions.inc();
                #[expect(clippy::cast_precision_loss, reason = "a number of pods")]
                self.metrics.victims.observe(decision.victims.len() as f64);
            }
            let result = if decision.node.is_some() {
                "scheduled"
            } else {
                "unschedulable"
            };
            let attempt = Attempt {
                result: result.to_owned(),
                profile: decision.pod.scheduler_name().to_owned(),
            };
            self.metrics.attempts.get_or_create(&attempt).inc();
            self.metrics
                .attempt_seconds
                .get_or_create(&attempt)
                .observe(seconds);
            if decision.node.is_some() {
                self.metrics
                    .attempts_a_pod
                    .observe(f64::from(decision.attempts));
            }
            let carrier = self.carrier.clone();
            self.tasks
                .spawn(async move { carrier.carry_out(decision).await });
        }
        true
    }

    fn settle(&mut self, outcome: Outcome) {
        self.state.settle(outcome, Instant::now());
    }

    fn show_queue(&self) {
        for (queue, size) in self.state.queue_sizes() {
            let label = crate::metrics::Queue {
                queue: queue.to_owned(),
            };
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            self.metrics.pending.get_or_create(&label).set(size);
        }
    }

    /// Waits for what was begun; outcomes are drained so that nobody blocks.
    async fn finish(&mut self) {
        loop {
            tokio::select! {
                done = self.tasks.join_next() => if done.is_none() { return },
                _ = self.incoming.recv() => {}
            }
        }
    }
}
