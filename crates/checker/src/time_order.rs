//! The order of the revisions keeps to real time: what was called after
//! something was answered does not come before it.

use crate::history::History;
use crate::replay::{Replayed, check_refusals};
use crate::{Property, Violation};
use kontiki_store::Revision;

/// What happens to a call, in the order in which it was noted.
enum Edge {
    Called(usize),
    Answered(Revision),
}

pub(crate) fn check(history: &History, replayed: &Replayed) -> Result<(), Violation> {
    check_refusals(history)?;
    let mut edges = Vec::new();
    for (number, operation) in history.operations.iter().enumerate() {
        edges.push((operation.called.order, Edge::Called(number)));
        if let (Some(answer), Some(revision)) = (&operation.answer, operation.revision()) {
            edges.push((answer.at.order, Edge::Answered(revision)));
        }
    }
    edges.sort_by_key(|(order, _)| *order);
    let mut newest = 1;
    for (_, edge) in edges {
        match edge {
            Edge::Answered(revision) => newest = newest.max(revision),
            Edge::Called(number) => {
                let operation = &history.operations[number];
                let wrote = replayed.wrote.get(&number);
                let stale = match (wrote, operation.revision()) {
                    (Some(revision), _) => *revision <= newest,
                    (None, Some(revision)) => revision < newest,
                    (None, None) => false,
                };
                if stale {
                    return Err(Violation::new(
                        Property::Linearizable,
                        format!(
                            "revision {newest} had been answered before this was called: {operation:?} (wrote at {wrote:?})"
                        ),
                    ));
                }
            }
        }
    }
    Ok(())
}
