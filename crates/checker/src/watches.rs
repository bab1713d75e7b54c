//! What watches delivered, held against what happened.

use crate::compactions::Compactions;
use crate::history::{History, WatchRecord};
use crate::replay::{Replayed, same};
use crate::{Property, Violation};
use kontiki_store::{Event, EventBatch, Revision, WatchItem};

/// Answers how many events were delivered.
pub(crate) fn check(history: &History, replayed: &Replayed) -> Result<usize, Violation> {
    let compactions = Compactions::new(history);
    let mut delivered = 0;
    for watch in &history.watches {
        delivered += Follow::new(&compactions, replayed, watch).check()?;
    }
    Ok(delivered)
}

/// One watch, item by item.
struct Follow<'h> {
    compactions: &'h Compactions,
    replayed: &'h Replayed,
    watch: &'h WatchRecord,
    /// The first revision that was not accounted for yet.
    next: Revision,
}

impl<'h> Follow<'h> {
    fn new(compactions: &'h Compactions, replayed: &'h Replayed, watch: &'h WatchRecord) -> Self {
        let next = match (watch.request.start_revision, watch.opened_at) {
            (0, Some(opened_at)) => opened_at + 1,
            (start, _) => start,
        };
        Self {
            compactions,
            replayed,
            watch,
            next,
        }
    }

    fn check(mut self) -> Result<usize, Violation> {
        let mut delivered = 0;
        let mut over = false;
        for (moment, item) in &self.watch.items {
            if over {
                return Err(self.wrong(&format!("{item:?} came after the last item")));
            }
            match item {
                WatchItem::Events(batch) => {
                    self.batch(batch)?;
                    delivered += batch.events.len();
                }
                WatchItem::Progress(revision) => {
                    self.nothing_missing_up_to(*revision)?;
                    self.next = self.next.max(revision + 1);
                }
                WatchItem::Compacted { compact_revision } => {
                    let asked = self.compactions.before(moment.order);
                    if self.next >= *compact_revision || *compact_revision > asked {
                        let what = format!(
                            "it ended as compacted at {compact_revision}, {asked} was asked for"
                        );
                        return Err(self.wrong(&what));
                    }
                    over = true;
                }
            }
        }
        if self.watch.settled && !over && self.watch.opened_at.is_some() {
            self.nothing_missing_up_to(self.replayed.model.revision())?;
        }
        Ok(delivered)
    }

    /// What this watch must deliver of a revision.
    fn due(&self, revision: Revision) -> Vec<Event> {
        let range = &self.watch.request.range;
        let events = self.replayed.model.changes().get(&revision);
        events
            .into_iter()
            .flatten()
            .filter(|event| range.contains(&event.kv.key))
            .cloned()
            .collect()
    }

    fn batch(&mut self, batch: &EventBatch) -> Result<(), Violation> {
        if batch.revision < self.next {
            let what = format!(
                "revision {} came although everything before {} had come",
                batch.revision, self.next
            );
            return Err(self.wrong(&what));
        }
        self.nothing_missing_up_to(batch.revision - 1)?;
        let due = self.due(batch.revision);
        if !same(&due, &batch.events) {
            return Err(self.wrong(&format!("{batch:?} came, due was {due:?}")));
        }
        for (due, found) in due.iter().zip(&batch.events) {
            let forgotten = found.prev_kv.is_none()
                && (!self.watch.request.prev_kv
                    || batch.revision <= self.compactions.before(u64::MAX));
            if !forgotten && found.prev_kv != due.prev_kv {
                let what = format!("{found:?} came, before it was {:?}", due.prev_kv);
                return Err(self.wrong(&what));
            }
        }
        self.next = batch.revision + 1;
        Ok(())
    }

    fn nothing_missing_up_to(&self, revision: Revision) -> Result<(), Violation> {
        if revision < self.next {
            return Ok(());
        }
        let changes = self.replayed.model.changes().range(self.next..=revision);
        for (missing, _) in changes {
            let due = self.due(*missing);
            if !due.is_empty() {
                let what = format!(
                    "revision {missing} never came before something that says that all up to {revision} has come; it was {due:?}"
                );
                return Err(self.wrong(&what));
            }
        }
        Ok(())
    }

    fn wrong(&self, what: &str) -> Violation {
        let WatchRecord {
            member,
            request,
            called,
            opened_at,
            ..
        } = self.watch;
        Violation::new(
            Property::Watch,
            format!(
                "{what}; the watch at member {member} asked for {request:?} at {called:?}, opened at {opened_at:?}"
            ),
        )
    }
}
