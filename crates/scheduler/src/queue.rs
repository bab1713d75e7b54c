//! Which pod is next, and when a pod that failed is tried again.
//!
//! A pod is in one of four places. *Active* ones are handed out, the most
//! important and then the oldest first. One that failed is *unschedulable*
//! until something happens that a plugin which refused it deems helpful, or
//! five minutes pass; it then waits for the rest of its *backoff*. *Gated* ones
//! wait for their gates.
//!
//! **Invariant:** a pod is in at most one place, or in flight; what happens
//! while it is in flight is remembered until its attempt ends.

use crate::framework::{Event, Plugin};
use crate::pod::Pod;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a pod stays unschedulable when nothing happens.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(5 * 60);
/// Events that are remembered for pods in flight; more of them count as "anything".
const EVENTS_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Backoff(Instant),
    Unschedulable(Instant),
    Gated,
    InFlight { since: u64 },
}

#[derive(Clone, Debug)]
struct Entry {
    pod: Arc<Pod>,
    place: Place,
    attempts: u32,
    queued: Instant,
    serial: u64,
    refused_by: BTreeSet<&'static str>,
}

/// A pod that is handed out.
#[derive(Clone, Debug)]
pub struct Next {
    /// The pod.
    pub pod: Arc<Pod>,
    /// How many attempts there were, with this one.
    pub attempts: u32,
}

type Order = (Reverse<i32>, u64);

/// See the module.
pub struct Queue {
    entries: HashMap<String, Entry>,
    active: BTreeMap<Order, String>,
    plugins: &'static [&'static dyn Plugin],
    backoff_initial: Duration,
    backoff_max: Duration,
    serial: u64,
    /// Numbered events, kept while pods are in flight.
    events: Vec<Event>,
    events_start: u64,
    in_flight: usize,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(
        plugins: &'static [&'static dyn Plugin],
        backoff_initial: Duration,
        backoff_max: Duration,
    ) -> Self {
        Self {
            entries: HashMap::new(),
            active: BTreeMap::new(),
            plugins,
            backoff_initial,
            backoff_max,
            serial: 0,
            events: Vec::new(),
            events_start: 0,
            in_flight: 0,
        }
    }

    fn order(entry: &Entry) -> Order {
        (Reverse(entry.pod.priority), entry.serial)
    }

    fn move_to(&mut self, key: &str, place: Place) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        match entry.place {
            Place::Active => {
                self.active.remove(&Self::order(entry));
            }
            Place::InFlight { .. } => self.in_flight -= 1,
            _ => {}
        }
        match place {
            Place::Active => {
                self.active.insert(Self::order(entry), key.to_owned());
            }
            Place::InFlight { .. } => self.in_flight += 1,
            _ => {}
        }
        entry.place = place;
        if self.in_flight == 0 {
            self.events_start += self.events.len() as u64;
            self.events.clear();
        }
    }

    fn gate(&self, pod: &Pod) -> bool {
        self.plugins.iter().any(|plugin| plugin.gate(pod).is_some())
    }

    /// Takes in a pod that has no node: a new one, or a new state of one.
    pub fn put(&mut self, pod: Arc<Pod>, now: Instant) {
        let key = pod.key.clone();
        let gated = self.gate(&pod);
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.pod.uid == pod.uid
        {
            let in_flight = matches!(entry.place, Place::InFlight { .. });
            let place = entry.place.clone();
            let changed = wishes(&entry.pod) != wishes(&pod);
            if place == Place::Active {
                self.active.remove(&Self::order(entry));
            }
            entry.pod = pod;
            match place {
                Place::Active => {
                    let order = Self::order(entry);
                    self.active.insert(order, key.clone());
                    if gated {
                        self.move_to(&key, Place::Gated);
                    }
                }
                Place::Gated if !gated => self.move_to(&key, Place::Active),
                Place::Unschedulable(_) if changed => self.wake(&key, &Event::PodUpdated, now),
                _ if in_flight && changed => self.remember(Event::PodUpdated),
                _ => {}
            }
            return;
        }
        self.remove(&key);
        self.serial += 1;
        let entry = Entry {
            pod,
            place: Place::Gated,
            attempts: 0,
            queued: now,
            serial: self.serial,
            refused_by: BTreeSet::new(),
        };
        self.entries.insert(key.clone(), entry);
        if !gated {
            self.move_to(&key, Place::Active);
        }
    }

    /// Forgets a pod: it has a node, has ended or is gone.
    pub fn remove(&mut self, key: &str) {
        if self.entries.contains_key(key) {
            self.move_to(key, Place::Gated);
            self.entries.remove(key);
        }
    }

    /// The next pod, if one is ready.
    pub fn pop(&mut self, now: Instant) -> Option<Next> {
        self.advance(now);
        let (_, key) = self.active.first_key_value()?;
        let key = key.clone();
        let since = self.events_start + self.events.len() as u64;
        self.move_to(&key, Place::InFlight { since });
        let entry = self.entries.get_mut(&key).expect("it was active");
        entry.attempts += 1;
        Some(Next {
            pod: entry.pod.clone(),
            attempts: entry.attempts,
        })
    }

    /// The attempt found no node; `refused_by` are the plugins to blame, none if
    /// something went wrong.
    pub fn failed(&mut self, key: &str, refused_by: BTreeSet<&'static str>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Place::InFlight { since } = entry.place else {
            return;
        };
        entry.queued = now;
        let wrong = refused_by.is_empty();
        entry.refused_by = refused_by;
        let first = usize::try_from(since.saturating_sub(self.events_start)).unwrap_or(usize::MAX);
        let missed = since < self.events_start;
        let events: Vec<Event> = self.events.iter().skip(first).cloned().collect();
        self.move_to(key, Place::Unschedulable(now));
        if wrong || missed || events.iter().any(|event| self.helps(key, event)) {
            self.retry(key, now);
        }
    }

    fn remember(&mut self, event: Event) {
        if self.in_flight == 0 {
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            // Whoever is in flight now is tried again in any case.
            self.events_start += self.events.len() as u64 + 1;
            self.events.clear();
        }
        self.events.push(event);
    }

    fn helps(&self, key: &str, event: &Event) -> bool {
        let Some(entry) = self.entries.get(key) else {
            return false;
        };
        self.plugins.iter().any(|plugin| {
            entry.refused_by.contains(plugin.name()) && plugin.may_help(&entry.pod, event)
        })
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let factor = 1_u32 << attempts.saturating_sub(1).min(16);
        (self.backoff_initial * factor).min(self.backoff_max)
    }

    fn retry(&mut self, key: &str, now: Instant) {
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let ready = entry.queued + self.backoff(entry.attempts);
        let place = if ready <= now {
            Place::Active
        } else {
            Place::Backoff(ready)
        };
        self.move_to(key, place);
    }

    fn wake(&mut self, key: &str, event: &Event, now: Instant) {
        if self.helps(key, event) {
            self.retry(key, now);
        }
    }

    /// Something happened: pods that it may help are tried again.
    pub fn happened(&mut self, event: &Event, now: Instant) {
        let waiting: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.place, Place::Unschedulable(_)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            self.wake(&key, event, now);
        }
        self.remember(event.clone());
    }

    /// Moves pods whose time has come.
    fn advance(&mut self, now: Instant) {
        let due: Vec<(String, bool)> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| match entry.place {
                Place::Backoff(ready) if ready <= now => Some((key.clone(), true)),
                Place::Unschedulable(since) if since + UNSCHEDULABLE_MAX <= now => {
                    Some((key.clone(), false))
                }
                _ => None,
            })
            .collect();
        for (key, ready) in due {
            if ready {
                self.move_to(&key, Place::Active);
            } else {
                self.retry(&key, now);
            }
        }
    }

    /// When [`Queue::pop`] has something to give at the latest, if nothing happens.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| match entry.place {
                Place::Backoff(ready) => Some(ready),
                Place::Unschedulable(since) => Some(since + UNSCHEDULABLE_MAX),
                _ => None,
            })
            .min()
    }

    /// How many pods are active, in backoff, unschedulable and gated.
    #[must_use]
    pub fn sizes(&self) -> [(&'static str, usize); 4] {
        let count = |of: fn(&Place) -> bool| {
            let places = self.entries.values().filter(|entry| of(&entry.place));
            places.count()
        };
        [
            ("active", self.active.len()),
            ("backoff", count(|place| matches!(place, Place::Backoff(_)))),
            (
                "unschedulable",
                count(|place| matches!(place, Place::Unschedulable(_))),
            ),
            ("gated", count(|place| *place == Place::Gated)),
        ]
    }
}

/// What scheduling depends on: a new status makes no new attempt.
fn wishes(pod: &Pod) -> (Option<&kontiki_object::Value>, Vec<(&str, &str)>) {
    (
        pod.object.get(&["spec"]),
        pod.object.labels().collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests;
