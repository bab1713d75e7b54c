//! Which watched ranges hold a key.
//!
//! Watchers of the same range form a group. Single keys and prefixes, which is
//! what nearly everybody watches, are found by hashing; other ranges lie in a
//! list sorted by their start, in which each place knows the furthest end up
//! to it, so that a search stops as soon as nothing before can reach the key.

use super::WatcherId;
use bytes::Bytes;
use kontiki_store::{KeyRange, prefix_end};
use std::collections::{BTreeMap, HashMap};

pub(super) type GroupId = u64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Prefix,
    Other,
}

fn shape(range: &KeyRange) -> Shape {
    if range.is_one() {
        Shape::One
    } else if prefix_end(&range.key) == range.end {
        Shape::Prefix
    } else {
        Shape::Other
    }
}

struct Group {
    range: KeyRange,
    members: Vec<WatcherId>,
}

/// One range that is neither a key nor a prefix.
struct Interval {
    range: KeyRange,
    group: GroupId,
    /// The furthest end of this one and all before it; `None` is no end.
    reach: Option<Bytes>,
}

#[derive(Default)]
pub(super) struct Matcher {
    last_id: GroupId,
    groups: HashMap<GroupId, Group>,
    by_range: HashMap<KeyRange, GroupId>,
    ones: HashMap<Bytes, GroupId>,
    prefixes: HashMap<Bytes, GroupId>,
    /// How many prefixes have a length.
    prefix_lens: BTreeMap<usize, usize>,
    intervals: Vec<Interval>,
}

impl Matcher {
    pub(super) fn insert(&mut self, range: &KeyRange, watcher: WatcherId) -> GroupId {
        let id = match self.by_range.get(range) {
            Some(id) => *id,
            None => self.add_group(range.clone()),
        };
        self.groups
            .get_mut(&id)
            .expect("every range has its group")
            .members
            .push(watcher);
        id
    }

    pub(super) fn remove(&mut self, id: GroupId, watcher: WatcherId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.members.retain(|member| *member != watcher);
        if group.members.is_empty() {
            self.remove_group(id);
        }
    }

    pub(super) fn members(&self, id: GroupId) -> &[WatcherId] {
        self.groups.get(&id).map_or(&[], |group| &group.members)
    }

    /// Calls `found` once for each group whose range holds the key.
    pub(super) fn each(&self, key: &[u8], mut found: impl FnMut(GroupId)) {
        if let Some(id) = self.ones.get(key) {
            found(*id);
        }
        for len in self.prefix_lens.range(..=key.len()).map(|(len, _)| *len) {
            if let Some(id) = self.prefixes.get(&key[..len]) {
                found(*id);
            }
        }
        let starts_before = self
            .intervals
            .partition_point(|interval| interval.range.key[..] <= *key);
        for interval in self.intervals[..starts_before].iter().rev() {
            if interval
                .reach
                .as_ref()
                .is_some_and(|reach| reach[..] <= *key)
            {
                break;
            }
            if interval.range.contains(key) {
                found(interval.group);
            }
        }
    }

    fn add_group(&mut self, range: KeyRange) -> GroupId {
        self.last_id += 1;
        let id = self.last_id;
        match shape(&range) {
            Shape::One => {
                self.ones.insert(range.key.clone(), id);
            }
            Shape::Prefix => {
                *self.prefix_lens.entry(range.key.len()).or_default() += 1;
                self.prefixes.insert(range.key.clone(), id);
            }
            Shape::Other => {
                let at = self
                    .intervals
                    .partition_point(|interval| interval.range.key <= range.key);
                self.intervals.insert(
                    at,
                    Interval {
                        range: range.clone(),
                        group: id,
                        reach: None,
                    },
                );
                self.update_reach(at);
            }
        }
        self.by_range.insert(range.clone(), id);
        self.groups.insert(
            id,
            Group {
                range,
                members: Vec::new(),
            },
        );
        id
    }

    fn remove_group(&mut self, id: GroupId) {
        let Some(Group { range, .. }) = self.groups.remove(&id) else {
            return;
        };
        self.by_range.remove(&range);
        match shape(&range) {
            Shape::One => {
                self.ones.remove(&range.key);
            }
            Shape::Prefix => {
                self.prefixes.remove(&range.key);
                if let Some(count) = self.prefix_lens.get_mut(&range.key.len()) {
                    *count -= 1;
                    if *count == 0 {
                        self.prefix_lens.remove(&range.key.len());
                    }
                }
            }
            Shape::Other => {
                if let Some(at) = self
                    .intervals
                    .iter()
                    .position(|interval| interval.group == id)
                {
                    self.intervals.remove(at);
                    self.update_reach(at);
                }
            }
        }
    }

    fn update_reach(&mut self, from: usize) {
        let mut reach = match from.checked_sub(1) {
            Some(before) => self.intervals[before].reach.clone(),
            None => Some(Bytes::new()),
        };
        for interval in &mut self.intervals[from..] {
            let end = (!interval.range.is_open_ended()).then(|| interval.range.end.clone());
            reach = match (reach, end) {
                (Some(reach), Some(end)) => Some(reach.max(end)),
                _ => None,
            };
            interval.reach = reach.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Random;

    #[test]
    fn a_key_finds_exactly_the_ranges_that_hold_it() {
        let mut random = Random::new(11);
        let mut matcher = Matcher::default();
        let mut oracle: Vec<(GroupId, KeyRange, WatcherId)> = Vec::new();
        for watcher in 0..3000 {
            if random.below(3) == 0 && !oracle.is_empty() {
                let (group, _, watcher) = oracle.swap_remove(random.below(oracle.len()));
                matcher.remove(group, watcher);
            } else {
                let range = random.range();
                oracle.push((matcher.insert(&range, watcher), range, watcher));
            }
            let key = random.key();
            let mut found: Vec<WatcherId> = Vec::new();
            matcher.each(&key, |group| found.extend(matcher.members(group)));
            found.sort_unstable();
            let mut expected: Vec<_> = oracle
                .iter()
                .filter(|(_, range, _)| range.contains(&key))
                .map(|(_, _, watcher)| *watcher)
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{key:?}");
        }
    }
}
