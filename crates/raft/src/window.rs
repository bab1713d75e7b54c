//! Which proposals were applied already, so that none is applied twice.
//!
//! A follower forwards a proposal again when it does not know what became of
//! it. Every proposal names its member, that process's life (a number that only
//! grows) and a sequence number within it; the window is part of the state
//! machine, so every replica decides alike.

use crate::types::Origin;
use crate::wire::state;
use std::collections::{BTreeMap, BTreeSet};

/// Sequence numbers above a gap that are remembered one by one. A gap is a
/// proposal that was given up; with this many later ones applied it never comes.
const ABOVE_MAX: usize = 1024;

/// What to do with a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Apply it.
    New,
    /// It was applied before, or is too old to tell.
    Seen,
    /// A later life of its member has proposed since.
    StaleBoot {
        /// That life.
        current: u64,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    boot: u64,
    low: u64,
    above: BTreeSet<u64>,
}

/// The proposals that were applied, by member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    members: BTreeMap<u64, Seen>,
}

impl Window {
    /// Judges a proposal and, if it is new, remembers it.
    pub(crate) fn admit(&mut self, origin: Origin) -> Verdict {
        let seen = self.members.entry(origin.member).or_default();
        if origin.boot < seen.boot {
            return Verdict::StaleBoot { current: seen.boot };
        }
        if origin.boot > seen.boot {
            *seen = Seen {
                boot: origin.boot,
                ..Seen::default()
            };
        }
        if origin.sequence <= seen.low || !seen.above.insert(origin.sequence) {
            return Verdict::Seen;
        }
        if seen.above.len() > ABOVE_MAX {
            seen.low = seen.above.pop_first().expect("longer than the bound");
        }
        while seen.above.first() == Some(&(seen.low + 1)) {
            seen.low += 1;
            seen.above.pop_first();
        }
        Verdict::New
    }

    /// The last life of a member that proposed anything.
    pub(crate) fn boot(&self, member: u64) -> u64 {
        self.members.get(&member).map_or(0, |seen| seen.boot)
    }

    pub(crate) fn encode(&self) -> Vec<state::Applied> {
        let applied = self.members.iter().map(|(member, seen)| state::Applied {
            member: *member,
            boot: seen.boot,
            low: seen.low,
            above: seen.above.iter().copied().collect(),
        });
        applied.collect()
    }

    pub(crate) fn decode(applied: Vec<state::Applied>) -> Self {
        let members = applied.into_iter().map(|applied| {
            let above = applied.above.into_iter().collect();
            (
                applied.member,
                Seen {
                    boot: applied.boot,
                    low: applied.low,
                    above,
                },
            )
        });
        Self {
            members: members.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn every_proposal_is_new_exactly_once_in_any_order_with_repeats(
            sequences in proptest::collection::vec((1..3u64, 1..200u64), 1..600),
        ) {
            let (mut window, mut oracle) = (Window::default(), HashSet::new());
            for (member, sequence) in sequences {
                let verdict = window.admit(Origin { member, boot: 5, sequence });
                let expected = if oracle.insert((member, sequence)) { Verdict::New } else { Verdict::Seen };
                prop_assert_eq!(verdict, expected);
                window = Window::decode(window.encode());
            }
        }
    }

    #[test]
    fn an_earlier_life_is_refused_and_a_later_one_starts_afresh() {
        let mut window = Window::default();
        let origin = |boot, sequence| Origin {
            member: 1,
            boot,
            sequence,
        };
        assert_eq!(window.admit(origin(2, 1)), Verdict::New);
        assert_eq!(
            window.admit(origin(1, 9)),
            Verdict::StaleBoot { current: 2 }
        );
        assert_eq!(window.admit(origin(3, 1)), Verdict::New);
        assert_eq!(
            window.admit(origin(2, 2)),
            Verdict::StaleBoot { current: 3 }
        );
        assert_eq!(window.boot(1), 3);
    }

    #[test]
    fn a_proposal_that_was_given_up_does_not_keep_the_window_growing() {
        let mut window = Window::default();
        for sequence in 2..5000 {
            assert_eq!(
                window.admit(Origin {
                    member: 1,
                    boot: 1,
                    sequence
                }),
                Verdict::New
            );
            assert!(window.members[&1].above.len() <= ABOVE_MAX);
        }
        assert_eq!(
            window.admit(Origin {
                member: 1,
                boot: 1,
                sequence: 1
            }),
            Verdict::Seen
        );
    }
}
