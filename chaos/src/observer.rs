//! Watching who leads: the store, and the leases of scheduler and controllers.

use crate::members::Members;
use crate::timeline::{Lease, Ms};
use futures::StreamExt;
use kontiki_client::resources::LEASES;
use kontiki_client::{Client, WatchEvent, WatchParams};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use xtask::topology::Machine;

/// The lease of the scheduler.
pub const SCHEDULER: &str = "kube-scheduler";
/// The lease of the controllers.
pub const CONTROLLERS: &str = "kube-controller-manager";

const POLL_INTERVAL: Duration = Duration::from_millis(4);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Who held what from when on.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    changes: Vec<(Ms, String, String)>,
}

impl Holders {
    /// A lease was seen with this holder.
    pub fn see(&mut self, at: Ms, lease: &str, holder: &str) {
        if self.current(lease) != Some(holder) {
            self.changes.push((at, lease.to_owned(), holder.to_owned()));
        }
    }

    /// Who holds a lease, as far as has been seen.
    #[must_use]
    pub fn current(&self, lease: &str) -> Option<&str> {
        self.changes
            .iter()
            .rev()
            .find(|(_, name, _)| name == lease)
            .map(|(_, _, holder)| holder.as_str())
    }

    /// What became of a lease when `server` was lost.
    #[must_use]
    pub fn across(&self, lease: &str, server: &str, lost: Ms) -> Lease {
        let changes = || self.changes.iter().filter(|(_, name, _)| name == lease);
        let held = changes()
            .rfind(|(at, _, _)| *at <= lost)
            .is_some_and(|(_, _, holder)| is_of(holder, server));
        if !held {
            return Lease::NotHeld;
        }
        changes()
            .find(|(at, _, holder)| *at > lost && !holder.is_empty() && !is_of(holder, server))
            .map_or(Lease::Orphaned, |(at, _, _)| Lease::Taken(*at))
    }
}

/// Whether an identity is that of a server: its name, or its name and something
/// that makes each start of it different.
fn is_of(identity: &str, server: &str) -> bool {
    identity
        .strip_prefix(server)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '-', '.']))
}

/// What is seen from the time of starting.
pub struct Observer {
    holders: Arc<Mutex<Holders>>,
    led: Arc<Mutex<Option<Ms>>>,
    tasks: JoinSet<()>,
    start: Instant,
}

impl Observer {
    /// Begins to watch the leases through `client`.
    #[must_use]
    pub fn start(client: &Client, start: Instant) -> Self {
        let holders: Arc<Mutex<Holders>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_leases(client.clone(), holders.clone(), start));
        Self {
            holders,
            led: Arc::default(),
            tasks,
            start,
        }
    }

    /// Polls the remaining members until one sees another leader than the lost one.
    pub fn await_leader(&mut self, members: &Members, remaining: &[Machine], lost: u64) {
        for server in remaining {
            let (members, server, led, start) = (
                members.clone(),
                server.clone(),
                self.led.clone(),
                self.start,
            );
            self.tasks.spawn(async move {
                let seen = poll_leader(&members, &server, lost, start).await;
                led.lock().get_or_insert(seen);
            });
        }
    }

    /// When a new leader was first seen.
    #[must_use]
    pub fn led(&self) -> Option<Ms> {
        *self.led.lock()
    }

    /// Who held which lease.
    #[must_use]
    pub fn holders(&self) -> Holders {
        self.holders.lock().clone()
    }
}

async fn poll_leader(members: &Members, server: &Machine, lost: u64, start: Instant) -> Ms {
    loop {
        let Ok(mut member) = members.connect(server).await else {
            tokio::time::sleep(RETRY_INTERVAL).await;
            continue;
        };
        while let Ok(view) = member.view().await {
            if view.leader != 0 && view.leader != lost {
                return ms_since(start);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn watch_leases(client: Client, holders: Arc<Mutex<Holders>>, start: Instant) {
    let leases = client.namespaced(&LEASES, "kube-system");
    loop {
        let params = WatchParams {
            send_initial_events: true,
            bookmarks: true,
            ..WatchParams::default()
        };
        if let Ok(mut events) = leases.watch(params).await {
            while let Some(Ok(event)) = events.next().await {
                let (WatchEvent::Added(lease) | WatchEvent::Modified(lease)) = event else {
                    continue;
                };
                let holder = lease
                    .str_at(&["spec", "holderIdentity"])
                    .unwrap_or_default();
                if [SCHEDULER, CONTROLLERS].contains(&lease.name()) {
                    holders.lock().see(ms_since(start), lease.name(), holder);
                }
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Milliseconds since `start`.
#[must_use]
pub fn ms_since(start: Instant) -> Ms {
    start.elapsed().as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_over_by_another_server_only() {
        let mut holders = Holders::default();
        holders.see(1.0, SCHEDULER, "s1_a");
        holders.see(2.0, SCHEDULER, "s1_a");
        holders.see(1.0, CONTROLLERS, "s2_b");
        // Released, then taken.
        holders.see(60.0, SCHEDULER, "");
        holders.see(70.0, SCHEDULER, "s3_c");
        assert_eq!(holders.across(SCHEDULER, "s1", 50.0), Lease::Taken(70.0));
        assert_eq!(holders.across(CONTROLLERS, "s1", 50.0), Lease::NotHeld);
        assert_eq!(holders.across(CONTROLLERS, "s2", 50.0), Lease::Orphaned);
        assert_eq!(holders.current(SCHEDULER), Some("s3_c"));
    }

    #[test]
    fn a_server_is_not_taken_for_another_whose_name_begins_alike() {
        assert!(is_of("s1", "s1") && is_of("s1_x", "s1"));
        assert!(!is_of("s10_x", "s1") && !is_of("s2", "s1"));
    }
}
