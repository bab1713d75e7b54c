//! The replica's metrics, under etcd's names so that etcd's dashboards work.

use crate::recent::Recent;
use kontiki_wal::WalObserver;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Registered once; every field is a handle.
pub(crate) struct Metrics {
    pub has_leader: Gauge,
    pub is_leader: Gauge,
    pub is_learner: Gauge,
    /// Ends in `_total` on the wire as every counter does.
    pub leader_changes: Counter,
    pub proposals_committed: Gauge,
    pub proposals_applied: Gauge,
    pub proposals_pending: Gauge,
    pub proposals_failed: Counter,
    pub read_indexes_failed: Counter,
    pub leases_expired: Counter,
    pub db_total_size: Gauge,
    pub db_in_use: Gauge,
    pub wal_bytes: Gauge,
    /// For the quantile that operators are shown.
    pub fsyncs: Recent,
    wal_fsync: Histogram,
    wal_written: Counter,
    backend_commit: Histogram,
    apply: Histogram,
    apply_entries: Histogram,
}

fn latency() -> Histogram {
    // etcd's buckets: 1 ms doubling 14 times.
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            has_leader: Gauge::default(),
            is_leader: Gauge::default(),
            is_learner: Gauge::default(),
            leader_changes: Counter::default(),
            proposals_committed: Gauge::default(),
            proposals_applied: Gauge::default(),
            proposals_pending: Gauge::default(),
            proposals_failed: Counter::default(),
            read_indexes_failed: Counter::default(),
            leases_expired: Counter::default(),
            db_total_size: Gauge::default(),
            db_in_use: Gauge::default(),
            wal_bytes: Gauge::default(),
            fsyncs: Recent::default(),
            wal_fsync: latency(),
            wal_written: Counter::default(),
            backend_commit: latency(),
            apply: latency(),
            apply_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
        }
    }

    /// Makes them known. Only once a replica runs: another start may follow one
    /// that failed, and nothing takes a metric out again.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.register_server(registry);
        self.register_storage(registry);
    }

    fn register_server(&self, registry: &mut Registry) {
        let server = registry.sub_registry_with_prefix("etcd_server");
        server.register(
            "has_leader",
            "Whether a leader exists: 1 if so",
            self.has_leader.clone(),
        );
        server.register(
            "is_leader",
            "Whether this member leads: 1 if so",
            self.is_leader.clone(),
        );
        server.register(
            "is_learner",
            "Whether this member is a learner: 1 if so",
            self.is_learner.clone(),
        );
        server.register(
            "leader_changes_seen",
            "Leader changes this member has seen",
            self.leader_changes.clone(),
        );
        // etcd exposes these two as gauges whose names end in _total.
        server.register(
            "proposals_committed_total",
            "Index of the last committed consensus proposal",
            self.proposals_committed.clone(),
        );
        server.register(
            "proposals_applied_total",
            "Index of the last applied consensus proposal",
            self.proposals_applied.clone(),
        );
        server.register(
            "proposals_pending",
            "Requests that wait for their proposal",
            self.proposals_pending.clone(),
        );
        server.register(
            "proposals_failed",
            "Requests whose proposal failed",
            self.proposals_failed.clone(),
        );
        server.register(
            "read_indexes_failed",
            "Read barriers that failed",
            self.read_indexes_failed.clone(),
        );
        registry.register(
            "etcd_debugging_lease_expired",
            "Leases that this member ended as leader",
            self.leases_expired.clone(),
        );
    }

    fn register_storage(&self, registry: &mut Registry) {
        let disk = registry.sub_registry_with_prefix("etcd_disk");
        disk.register(
            "wal_fsync_duration_seconds",
            "Time of a write and sync of the write-ahead log",
            self.wal_fsync.clone(),
        );
        disk.register(
            "wal_write_bytes",
            "Bytes written to the write-ahead log",
            self.wal_written.clone(),
        );
        disk.register(
            "backend_commit_duration_seconds",
            "Time to make the state machine durable",
            self.backend_commit.clone(),
        );
        registry.register(
            "etcd_mvcc_db_total_size_in_bytes",
            "Bytes on disk of the state machine",
            self.db_total_size.clone(),
        );
        registry.register(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Of these, bytes in use",
            self.db_in_use.clone(),
        );
        registry.register(
            "kontiki_wal_size_bytes",
            "Bytes of the write-ahead log",
            self.wal_bytes.clone(),
        );
        registry.register(
            "kontiki_store_apply_duration_seconds",
            "Time to apply a run of log entries",
            self.apply.clone(),
        );
        registry.register(
            "kontiki_store_apply_entries",
            "Log entries applied in one run",
            self.apply_entries.clone(),
        );
    }

    pub(crate) fn applied(&self, entries: usize, took: Duration) {
        self.apply.observe(took.as_secs_f64());
        self.apply_entries.observe(entries as f64);
    }

    pub(crate) fn backend_committed(&self, took: Duration) {
        self.backend_commit.observe(took.as_secs_f64());
    }
}

impl WalObserver for Metrics {
    fn committed(&self, bytes: usize, took: Duration) {
        self.fsyncs.note(took);
        self.wal_fsync.observe(took.as_secs_f64());
        self.wal_written.inc_by(bytes as u64);
    }
}

/// A gauge of a number that fits.
pub(crate) fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
