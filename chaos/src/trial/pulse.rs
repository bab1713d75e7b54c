//! Who leads, as the members themselves say it.

use crate::members::View;
use crate::trial::wire::Wire;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(400);
/// What was seen longer ago says nothing of now.
const FRESH: Duration = Duration::from_millis(700);

/// What one member said of itself, or that it said nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub at: Duration,
    pub member: usize,
    pub view: Option<View>,
}

impl Sighting {
    /// Whether it said that it leads.
    pub(crate) fn leads(&self) -> bool {
        self.view
            .is_some_and(|view| view.leader != 0 && view.leader == view.member)
    }
}

/// Asks every member, again and again; ends with this.
pub(crate) struct Pulse {
    started: Instant,
    seen: Arc<Mutex<Vec<Sighting>>>,
    _tasks: JoinSet<()>,
}

impl Pulse {
    pub(crate) fn start(wires: &[Wire], started: Instant) -> Self {
        let seen = Arc::<Mutex<Vec<Sighting>>>::default();
        let mut tasks = JoinSet::new();
        for (member, wire) in wires.iter().cloned().enumerate() {
            let seen = seen.clone();
            tasks.spawn(async move {
                let mut pace = tokio::time::interval(EVERY);
                pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    pace.tick().await;
                    let answer = tokio::time::timeout(PATIENCE, wire.view()).await;
                    let view = answer.ok().and_then(Result::ok).map(|(view, _)| view);
                    let at = started.elapsed();
                    seen.lock().push(Sighting { at, member, view });
                }
            });
        }
        Self {
            started,
            seen,
            _tasks: tasks,
        }
    }

    pub(crate) fn sightings(&self) -> Vec<Sighting> {
        self.seen.lock().clone()
    }

    /// Who leads, as far as is known.
    pub(crate) fn leader(&self) -> Option<usize> {
        leader(&self.seen.lock(), self.started.elapsed())
    }

    /// Who leads, once somebody does, or after a while whoever did last.
    pub(crate) async fn wait_leader(&self) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(leader) = self.leader() {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = self.seen.lock();
        let last = seen.iter().rev().find(|sighting| sighting.leads());
        last.map_or(0, |sighting| sighting.member)
    }
}

/// Of those who said of late that they lead, the one of the highest term.
fn leader(seen: &[Sighting], now: Duration) -> Option<usize> {
    let fresh = seen
        .iter()
        .rev()
        .take_while(|sighting| sighting.at + FRESH > now);
    let mut last = std::collections::BTreeMap::new();
    for sighting in fresh {
        last.entry(sighting.member).or_insert(sighting);
    }
    let leads = last.values().filter(|sighting| sighting.leads());
    let highest = leads.max_by_key(|sighting| sighting.view.map_or(0, |view| view.term));
    highest.map(|sighting| sighting.member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(at: u64, member: usize, leader: u64, term: u64) -> Sighting {
        let view = View {
            member: member as u64 + 1,
            leader,
            term,
            revision: 1,
        };
        Sighting {
            at: Duration::from_millis(at),
            member,
            view: Some(view),
        }
    }

    #[test]
    fn the_leader_is_who_says_so_last_in_the_highest_term() {
        let now = Duration::from_millis(1_000);
        let mut seen = vec![sighting(100, 2, 3, 9), sighting(700, 0, 1, 2)];
        assert_eq!(leader(&seen, now), Some(0));
        seen.push(sighting(800, 1, 2, 3));
        assert_eq!(leader(&seen, now), Some(1));
        // It says no longer that it leads.
        seen.push(sighting(900, 1, 0, 4));
        assert_eq!(leader(&seen, now), Some(0));
        assert_eq!(leader(&seen, Duration::from_millis(5_000)), None);
    }
}
