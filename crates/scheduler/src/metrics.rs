//! Metrics, under the names that dashboards for kube-scheduler read.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempt {
    /// `scheduled`, `unschedulable` or `error`.
    pub result: String,
    /// The profile's scheduler name.
    pub profile: String,
}

/// Label of a part of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Queue {
    /// `active`, `backoff`, `unschedulable` or `gated`.
    pub queue: String,
}

/// Labels of a pod that enters the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Incoming {
    /// Where it goes.
    pub queue: String,
    /// Why.
    pub event: String,
}

/// All metrics of the scheduler.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `scheduler_schedule_attempts_total`.
    pub attempts: Family<Attempt, Counter>,
    /// `scheduler_scheduling_attempt_duration_seconds`.
    pub attempt_seconds: Family<Attempt, Histogram>,
    /// `scheduler_scheduling_algorithm_duration_seconds`.
    pub algorithm_seconds: Histogram,
    /// `scheduler_pod_scheduling_attempts`.
    pub attempts_a_pod: Histogram,
    /// `scheduler_pending_pods`.
    pub pending: Family<Queue, Gauge>,
    /// `scheduler_queue_incoming_pods_total`.
    pub incoming: Family<Incoming, Counter>,
    /// `scheduler_preemption_attempts_total`.
    pub preemptions: Counter,
    /// `scheduler_preemption_victims`.
    pub victims: Histogram,
}

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 20))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(durations),
            algorithm_seconds: durations(),
            attempts_a_pod: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            pending: Family::default(),
            incoming: Family::default(),
            preemptions: Counter::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
        }
    }
}

impl Metrics {
    /// Makes the metrics visible.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("scheduler");
        registry.register(
            "schedule_attempts",
            "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem",
            self.attempts.clone(),
        );
        registry.register(
            "scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            self.attempt_seconds.clone(),
        );
        registry.register(
            "scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            self.algorithm_seconds.clone(),
        );
        registry.register(
            "pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod",
            self.attempts_a_pod.clone(),
        );
        registry.register(
            "pending_pods",
            "Number of pending pods, by the queue type",
            self.pending.clone(),
        );
        registry.register(
            "queue_incoming_pods",
            "Number of pods added to scheduling queues by event and queue type",
            self.incoming.clone(),
        );
        registry.register(
            "preemption_attempts",
            "Total preemption attempts in the cluster till now",
            self.preemptions.clone(),
        );
        registry.register(
            "preemption_victims",
            "Number of selected preemption victims",
            self.victims.clone(),
        );
    }
}
