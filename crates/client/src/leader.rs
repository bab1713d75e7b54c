//! Leader election on a `Lease`, as upstream's components do it and its tools
//! read it.
//!
//! Who waits follows a watch on the lease: it tries in the instant in which the
//! holder releases it, or in which the holder's lease has run out as seen from
//! here (no clock is compared across machines). Who leads renews; a leader that
//! could not renew for `renew_deadline` stops *before* another may start,
//! because `renew_deadline < lease_duration`.
//!
//! A lease that was not renewed in time is taken before it has run out if a
//! [`Witness`] knows that its holder's process has ended: nothing that has ended
//! can act on a lease.
//!
//! **Invariant:** losing the lease cancels the payload's token; the process and
//! its caches stay, and it stands for election again.

use crate::{Client, Clock, ResourceClient, WatchEvent, WatchParams, resources};
use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use kontiki_object::{Object, SharedObject, Status, Value, time};
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Retry periods after which a renewal that has not been seen is overdue.
const OVERDUE: f64 = 1.25;

/// Which lease, who stands for it, and the timing.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease, for instance `kube-scheduler`.
    pub name: String,
    /// Who stands; unique among the candidates. A candidate that comes back with
    /// the identity it had takes its lease up again at once.
    pub identity: String,
    /// How long a lease holds without a renewal.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it stops; below `lease_duration`.
    pub renew_deadline: Duration,
    /// The pause between renewals and between retries.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// Upstream's timing: 15 s, 10 s, 2 s, in `kube-system`.
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Knows more about a holder than its lease tells.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Whether the process of the candidate with this identity has certainly
    /// ended. One that is only silent, frozen or cut off has not.
    async fn has_ended(&self, holder: &str) -> bool;
}

/// What a candidate knows about the election.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderStatus {
    /// Who holds the lease; empty if nobody is known to.
    pub holder: String,
    /// Whether that is this candidate.
    pub leading: bool,
    /// How often the lease changed hands.
    pub transitions: i64,
    /// When the holder acquired it.
    pub since: Option<Timestamp>,
}

/// The lease as last seen.
#[derive(Clone)]
struct Observed {
    lease: SharedObject,
    at: Instant,
    /// Whether its holder's process is known to have ended since.
    abandoned: bool,
}

impl Observed {
    fn new(lease: SharedObject, at: Instant) -> Self {
        Self {
            lease,
            at,
            abandoned: false,
        }
    }

    fn holder(&self) -> &str {
        self.lease
            .str_at(&["spec", "holderIdentity"])
            .unwrap_or_default()
    }

    /// When the lease may be taken from its holder, by the local clock.
    fn expires(&self) -> Instant {
        let seconds = self.lease.get(&["spec", "leaseDurationSeconds"]);
        let seconds = seconds.and_then(Value::as_u64).unwrap_or_default();
        self.at + Duration::from_secs(seconds)
    }

    fn transitions(&self) -> i64 {
        let transitions = self.lease.get(&["spec", "leaseTransitions"]);
        transitions.and_then(Value::as_i64).unwrap_or_default()
    }
}

/// One candidate for one lease.
pub struct LeaderElector {
    leases: ResourceClient,
    config: LeaderConfig,
    clock: Clock,
    witness: Option<Arc<dyn Witness>>,
    status: watch::Sender<LeaderStatus>,
}

impl LeaderElector {
    /// A candidate that does not stand yet.
    #[must_use]
    pub fn new(client: &Client, config: LeaderConfig, clock: Clock) -> Self {
        Self {
            leases: client.namespaced(&resources::LEASES, &config.namespace),
            config,
            clock,
            witness: None,
            status: watch::channel(LeaderStatus::default()).0,
        }
    }

    /// Asks this witness about holders that are overdue.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Follows the election.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LeaderStatus> {
        self.status.subscribe()
    }

    /// Stands for election until `cancel` is cancelled. While leading, the
    /// future that `payload` makes runs; its token is cancelled when leadership
    /// ends, and the lease is released (or another term sought) only after it
    /// has returned.
    pub async fn run<F, Fut>(&self, cancel: CancellationToken, payload: F)
    where
        F: Fn(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        while !cancel.is_cancelled() {
            let observed = tokio::select! {
                () = cancel.cancelled() => return,
                observed = self.acquire() => observed,
            };
            tracing::info!(lease = %self.config.name, identity = %self.config.identity, "became the leader");
            let term = CancellationToken::new();
            let mut work = tokio::spawn(payload(term.clone()));
            let last = tokio::select! {
                last = self.renew(observed) => last,
                () = cancel.cancelled() => None,
                _ = &mut work => None,
            };
            term.cancel();
            if !work.is_finished() {
                // A panic of the payload ends the term like its return does.
                let _ = work.await;
            }
            let lost = last.is_some();
            self.publish(last.as_ref());
            if lost {
                tracing::warn!(lease = %self.config.name, "lost the lease");
            } else {
                self.release().await;
            }
        }
    }

    /// Returns once the lease is held.
    async fn acquire(&self) -> Observed {
        let mut observed: Option<Observed> = None;
        loop {
            match self.try_acquire(&mut observed).await {
                Ok(true) => {
                    if let Some(observed) = observed {
                        self.publish(Some(&observed));
                        return observed;
                    }
                }
                Ok(false) => {
                    self.publish(observed.as_ref());
                    if let Some(seen) = observed.take() {
                        observed = Some(self.wait_for_vacancy(seen).await);
                    }
                }
                Err(status) if status.is_conflict() || status.is_already_exists() => {}
                Err(status) => {
                    tracing::debug!(lease = %self.config.name, %status, "could not try for the lease");
                    let jitter = rand::random_range(0.5..1.0);
                    tokio::time::sleep(self.config.retry_period.mul_f64(jitter)).await;
                }
            }
        }
    }

    /// Takes the lease if it is free; otherwise tells who holds it.
    async fn try_acquire(&self, observed: &mut Option<Observed>) -> Result<bool, Status> {
        let Some(lease) = self.leases.get_opt(&self.config.name).await? else {
            let lease = self.leases.create(self.record(None)).await?;
            *observed = Some(Observed::new(lease, Instant::now()));
            return Ok(true);
        };
        let seen = self.note(observed, lease);
        let free = seen.holder().is_empty()
            || seen.holder() == self.config.identity
            || seen.abandoned
            || seen.expires() <= Instant::now();
        if free {
            let record = self.record(Some(&seen));
            let lease = self.leases.update(&self.config.name, record).await?;
            *observed = Some(Observed::new(lease, Instant::now()));
        }
        Ok(free)
    }

    /// Takes in a state of the lease; only a change of it restarts its term.
    fn note(&self, observed: &mut Option<Observed>, lease: SharedObject) -> Observed {
        let seen = match observed {
            Some(known) if known.lease.get(&["spec"]) == lease.get(&["spec"]) => Observed {
                lease,
                ..known.clone()
            },
            _ => Observed::new(lease, Instant::now()),
        };
        *observed = Some(seen.clone());
        seen
    }

    /// Returns when the lease is worth a try.
    async fn wait_for_vacancy(&self, mut seen: Observed) -> Observed {
        let params = WatchParams {
            field_selector: format!("metadata.name={}", self.config.name),
            resource_version: seen.lease.resource_version().to_owned(),
            bookmarks: false,
            ..WatchParams::default()
        };
        let mut events = match self.leases.watch(params).await {
            Ok(events) => events,
            Err(_) => {
                tokio::time::sleep(self.config.retry_period).await;
                return seen;
            }
        };
        loop {
            let event = tokio::select! {
                () = tokio::time::sleep_until(seen.expires()) => return seen,
                () = self.end_of_holder(&seen) => {
                    let (lease, holder) = (&self.config.name, seen.holder());
                    tracing::info!(%lease, holder, "the holder's process has ended; its lease is taken over early");
                    seen.abandoned = true;
                    return seen;
                }
                event = events.next() => event,
            };
            match event {
                Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) => {
                    if lease.name() != self.config.name {
                        continue;
                    }
                    let mut known = Some(seen);
                    seen = self.note(&mut known, lease);
                    self.publish(Some(&seen));
                    if seen.holder().is_empty() {
                        return seen;
                    }
                }
                Some(Ok(WatchEvent::Deleted(lease))) if lease.name() == self.config.name => {
                    return seen;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    // The server that was asked may be the one that died.
                    let jitter = rand::random_range(0.05..0.15);
                    tokio::time::sleep(self.config.retry_period.mul_f64(jitter)).await;
                    return seen;
                }
            }
        }
    }

    /// Returns when the holder is overdue and its process is known to have ended.
    async fn end_of_holder(&self, seen: &Observed) {
        let Some(witness) = self.witness.as_ref().filter(|_| !seen.holder().is_empty()) else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(seen.at + self.config.retry_period.mul_f64(OVERDUE)).await;
        while !witness.has_ended(seen.holder()).await {
            tokio::time::sleep(self.config.retry_period / 4).await;
        }
    }

    /// Renews until the lease is lost; then tells what is known of it.
    async fn renew(&self, mut observed: Observed) -> Option<Observed> {
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let deadline = observed.at + self.config.renew_deadline;
            loop {
                let attempt = tokio::time::timeout_at(deadline, self.renew_once(&observed)).await;
                match attempt {
                    Err(_) => return Some(observed),
                    Ok(Ok(renewed)) => {
                        observed = renewed;
                        break;
                    }
                    Ok(Err(RenewError::Taken(by))) => return Some(by),
                    Ok(Err(RenewError::Failed(status))) => {
                        tracing::debug!(lease = %self.config.name, %status, "could not renew the lease");
                        let pause = self.config.retry_period / 4;
                        if Instant::now() + pause >= deadline {
                            tokio::time::sleep_until(deadline).await;
                            return Some(observed);
                        }
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    async fn renew_once(&self, observed: &Observed) -> Result<Observed, RenewError> {
        // The term is counted from before the request: the others see it later.
        let at = Instant::now();
        let record = self.record(Some(observed));
        let status = match self.leases.update(&self.config.name, record).await {
            Ok(lease) => return Ok(Observed::new(lease, at)),
            Err(status) => status,
        };
        if !status.is_conflict() && !status.is_not_found() {
            return Err(RenewError::Failed(status));
        }
        let found = self.leases.get_opt(&self.config.name).await;
        let Some(lease) = found.map_err(RenewError::Failed)? else {
            let created = self.leases.create(self.record(None)).await;
            let lease = created.map_err(RenewError::Failed)?;
            return Ok(Observed::new(lease, at));
        };
        let now = Observed::new(lease, at);
        if now.holder() != self.config.identity {
            return Err(RenewError::Taken(now));
        }
        let record = self.record(Some(&now));
        let updated = self.leases.update(&self.config.name, record).await;
        let lease = updated.map_err(RenewError::Failed)?;
        Ok(Observed::new(lease, at))
    }

    /// Gives the lease back, so that the next candidate need not wait.
    async fn release(&self) {
        let released = async {
            let Some(lease) = self.leases.get_opt(&self.config.name).await? else {
                return Ok(());
            };
            if lease.str_at(&["spec", "holderIdentity"]) != Some(&self.config.identity) {
                return Ok(());
            }
            let now = time::format_micro(self.clock.now());
            let mut tree = lease.to_value();
            let transitions = tree["spec"]["leaseTransitions"].clone();
            tree["spec"] = json!({
                "holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now,
                "renewTime": now, "leaseTransitions": transitions,
            });
            self.leases.update(&self.config.name, tree).await?;
            Ok::<(), Status>(())
        };
        match tokio::time::timeout(self.config.retry_period, released).await {
            Ok(Ok(())) => self.publish(None),
            Ok(Err(status)) => {
                tracing::debug!(lease = %self.config.name, %status, "could not release the lease");
            }
            Err(_) => {
                tracing::debug!(lease = %self.config.name, "could not release the lease in time");
            }
        }
    }

    /// The lease as this candidate writes it over `previous`.
    fn record(&self, previous: Option<&Observed>) -> Value {
        let now = time::format_micro(self.clock.now());
        let mut tree = previous.map_or_else(
            || {
                json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.config.name, "namespace": self.config.namespace},
                    "spec": {"leaseTransitions": 0, "acquireTime": now},
                })
            },
            |previous| Object::clone(&previous.lease).to_value(),
        );
        if let Some(previous) = previous
            && previous.holder() != self.config.identity
        {
            tree["spec"]["acquireTime"] = json!(now);
            tree["spec"]["leaseTransitions"] = json!(previous.transitions() + 1);
        }
        tree["spec"]["holderIdentity"] = json!(self.config.identity);
        tree["spec"]["leaseDurationSeconds"] = json!(self.config.lease_duration.as_secs().max(1));
        tree["spec"]["renewTime"] = json!(now);
        tree
    }

    fn publish(&self, observed: Option<&Observed>) {
        let fresh = observed.map_or_else(LeaderStatus::default, |observed| LeaderStatus {
            holder: observed.holder().to_owned(),
            leading: observed.holder() == self.config.identity,
            transitions: observed.transitions(),
            since: observed
                .lease
                .str_at(&["spec", "acquireTime"])
                .and_then(time::parse),
        });
        self.status.send_if_modified(|known| {
            let changed = *known != fresh;
            *known = fresh;
            changed
        });
    }
}

enum RenewError {
    /// Another candidate holds the lease now.
    Taken(Observed),
    Failed(Status),
}

#[cfg(test)]
mod tests;
