//! How far history may have been forgotten.

use crate::history::{History, Request};
use kontiki_store::Revision;

/// The highest revision that anybody had asked to compact, over time.
pub(crate) struct Compactions {
    /// By the order in which they were asked for.
    asked: Vec<(u64, Revision)>,
    /// The store forgets by itself as well.
    by_itself: bool,
}

impl Compactions {
    pub(crate) fn new(history: &History) -> Self {
        let asked = history.operations.iter().filter_map(|operation| {
            let Request::Compact(revision) = operation.request else {
                return None;
            };
            Some((operation.called.order, revision))
        });
        let mut asked: Vec<_> = asked.collect();
        asked.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut asked {
            highest = highest.max(*revision);
            *revision = highest;
        }
        Self {
            asked,
            by_itself: history.compacts_itself,
        }
    }

    /// The highest revision up to which the store may have forgotten by then.
    pub(crate) fn before(&self, order: u64) -> Revision {
        if self.by_itself {
            return Revision::MAX;
        }
        let count = self.asked.partition_point(|(called, _)| *called < order);
        count.checked_sub(1).map_or(0, |last| self.asked[last].1)
    }
}
