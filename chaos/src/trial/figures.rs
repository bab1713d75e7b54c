//! Throughput, latency and availability, counted from a history.

use crate::trial::nemesis::Mark;
use crate::trial::pulse::Sighting;
use kontiki_checker::{History, Operation, Request};
use kontiki_store::StoreError;
use serde::Serialize;
use std::time::Duration;

/// What happened within a short while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bucket {
    /// Its beginning.
    pub at_ms: f64,
    /// Calls that were answered, if only by what etcd answers when, for instance,
    /// a lease has ended.
    pub answered: u32,
    /// Calls of which nothing certain was heard, or that nobody took.
    pub failed: u32,
    /// Half of the answered calls took no longer.
    pub p50_ms: f64,
    /// Nor did 99 of 100 take longer than this.
    pub p99_ms: f64,
}

/// For how long a member said that it leads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reign {
    /// Whose.
    pub member: usize,
    /// In which term.
    pub term: u64,
    /// When it was first seen.
    pub from_ms: f64,
    /// When it was last seen.
    pub until_ms: f64,
}

/// What a fault cost clients; reported, not judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Impact {
    /// The fault.
    pub what: String,
    /// Calls made meanwhile.
    pub called: usize,
    /// The share of them that was answered.
    pub available: f64,
    /// The longest time without an acknowledged write.
    pub gap_ms: f64,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Whether a member did what it is for, be it to say no.
fn is_answered(operation: &Operation) -> bool {
    let nobody = [StoreError::NoLeader, StoreError::TooManyRequests];
    let refused = operation
        .refusal()
        .is_some_and(|error| !nobody.contains(error));
    operation.response().is_some() || refused
}

/// When a call was answered and how long it took.
fn answer(operation: &Operation) -> Option<(f64, f64)> {
    if !is_answered(operation) {
        return None;
    }
    let at = operation.answer.as_ref()?.at.time;
    Some((ms(at), ms(at.saturating_sub(operation.called.time))))
}

/// The history in pieces of `width_ms`, up to `until_ms`.
#[must_use]
pub fn buckets(history: &History, width_ms: f64, until_ms: f64) -> Vec<Bucket> {
    let mut at_ms = 0.0;
    let mut buckets = Vec::new();
    while at_ms < until_ms {
        buckets.push(Bucket {
            at_ms,
            ..Bucket::default()
        });
        at_ms += width_ms;
    }
    let mut latencies = vec![Vec::new(); buckets.len()];
    let place = |at: f64| place(at, width_ms);
    for operation in &history.operations {
        match answer(operation) {
            Some((at, took)) => {
                if let Some(bucket) = buckets.get_mut(place(at)) {
                    bucket.answered += 1;
                    latencies[place(at)].push(took);
                }
            }
            None => {
                let at = operation
                    .answer
                    .as_ref()
                    .map_or(operation.called, |answer| answer.at);
                if let Some(bucket) = buckets.get_mut(place(ms(at.time))) {
                    bucket.failed += 1;
                }
            }
        }
    }
    for (bucket, latencies) in buckets.iter_mut().zip(&mut latencies) {
        latencies.sort_by(f64::total_cmp);
        bucket.p50_ms = percentile(latencies, 50);
        bucket.p99_ms = percentile(latencies, 99);
    }
    buckets
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are not negative, and a run is short"
)]
fn place(at: f64, width_ms: f64) -> usize {
    (at / width_ms) as usize
}

/// Of sorted values: the smallest that so many percent do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(0.0)
}

/// Answered calls a second in a window.
#[must_use]
pub fn throughput(history: &History, from_ms: f64, until_ms: f64) -> f64 {
    let answers = history.operations.iter().filter_map(answer);
    let count = answers
        .filter(|(at, _)| (from_ms..until_ms).contains(at))
        .count();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) * 1_000.0 / (until_ms - from_ms).max(1.0)
}

/// What each fault cost.
#[must_use]
pub fn impacts(history: &History, marks: &[Mark]) -> Vec<Impact> {
    let mut writes: Vec<f64> = history
        .operations
        .iter()
        .filter(|operation| matches!(operation.request, Request::Txn(_)))
        .filter(|operation| operation.response().is_some())
        .filter_map(|operation| Some(answer(operation)?.0))
        .collect();
    writes.sort_by(f64::total_cmp);
    marks
        .iter()
        .map(|mark| impact(history, mark, &writes))
        .collect()
}

/// What is still felt after a fault was undone belongs to it.
const AFTERWARDS_MS: f64 = 500.0;

fn impact(history: &History, mark: &Mark, writes: &[f64]) -> Impact {
    let window = mark.from_ms..mark.until_ms + AFTERWARDS_MS;
    let during = history.operations.iter();
    let during = during.filter(|operation| window.contains(&ms(operation.called.time)));
    let (mut called, mut answered) = (0, 0);
    for operation in during {
        called += 1;
        answered += usize::from(is_answered(operation));
    }
    let gaps = writes
        .windows(2)
        .filter(|pair| pair[1] > window.start && pair[0] < window.end);
    let share = |part: usize| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    Impact {
        what: mark.what.clone(),
        called,
        available: share(answered) / share(called).max(1.0),
        gap_ms: gaps.map(|pair| pair[1] - pair[0]).fold(0.0, f64::max),
    }
}

/// When each member said that it leads, without a break.
pub(crate) fn reigns(seen: &[Sighting]) -> Vec<Reign> {
    let mut reigns: Vec<Reign> = Vec::new();
    let mut open = std::collections::BTreeMap::<usize, usize>::new();
    for sighting in seen {
        let at = ms(sighting.at);
        let Some(view) = sighting.view.filter(|_| sighting.leads()) else {
            open.remove(&sighting.member);
            continue;
        };
        match open.get(&sighting.member) {
            Some(number) if reigns[*number].term == view.term => reigns[*number].until_ms = at,
            _ => {
                open.insert(sighting.member, reigns.len());
                reigns.push(Reign {
                    member: sighting.member,
                    term: view.term,
                    from_ms: at,
                    until_ms: at,
                });
            }
        }
    }
    reigns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::View;
    use kontiki_checker::{Answer, Moment, Response};
    use kontiki_store::{Header, TxnRequest};

    fn operation(called: u64, answered: Option<u64>, well: bool) -> Operation {
        let moment = |at: u64| Moment {
            order: at,
            time: Duration::from_millis(at),
        };
        Operation {
            member: 0,
            called: moment(called),
            request: Request::Txn(TxnRequest::default()),
            answer: answered.map(|at| Answer {
                at: moment(at),
                result: if well {
                    Ok(Response::Header(Header::default()))
                } else {
                    Err(StoreError::NoLeader)
                },
            }),
        }
    }

    fn history() -> History {
        let mut operations: Vec<Operation> = (0..100)
            .map(|at| operation(at * 10, Some(at * 10 + 1 + at / 50), true))
            .collect();
        operations.push(operation(1_100, Some(1_200), false));
        operations.push(operation(1_150, None, false));
        operations.push(operation(1_600, Some(1_700), true));
        History {
            operations,
            ..History::default()
        }
    }

    #[test]
    fn calls_are_counted_where_they_ended() {
        let buckets = buckets(&history(), 250.0, 2_000.0);
        assert_eq!(buckets.len(), 8);
        let counts: Vec<(u32, u32)> = buckets
            .iter()
            .map(|bucket| (bucket.answered, bucket.failed))
            .collect();
        assert_eq!(
            counts,
            [
                (25, 0),
                (25, 0),
                (25, 0),
                (25, 0),
                (0, 2),
                (0, 0),
                (1, 0),
                (0, 0)
            ]
        );
        assert!((buckets[0].p50_ms - 1.0).abs() < 1e-6 && (buckets[3].p99_ms - 2.0).abs() < 1e-6);
        assert!((buckets[6].p99_ms - 100.0).abs() < 1e-6 && buckets[5].p99_ms < 1e-6);
    }

    #[test]
    fn percentiles_are_ranks() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&sorted, 50) - 100.0).abs() < 1e-9);
        assert!((percentile(&sorted, 99) - 198.0).abs() < 1e-9);
        assert!((percentile(&[5.0], 99) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_fault_costs_the_time_without_writes_around_it() {
        let mark = Mark {
            from_ms: 1_050.0,
            until_ms: 1_300.0,
            what: "kill".into(),
            hit: Vec::new(),
            notes: Vec::new(),
        };
        let impact = &impacts(&history(), &[mark])[0];
        assert_eq!(impact.called, 3);
        assert!((impact.available - 1.0 / 3.0).abs() < 1e-9);
        // From the answer at 992 ms to the one at 1,700.
        assert!((impact.gap_ms - 708.0).abs() < 1e-6, "{impact:?}");
        assert!((throughput(&history(), 0.0, 1_000.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_reign_ends_with_the_term_or_with_silence() {
        let sighting = |at: u64, leader: u64, term: u64| Sighting {
            at: Duration::from_millis(at),
            member: 0,
            view: (term > 0).then_some(View {
                member: 7,
                leader,
                term,
                revision: 1,
            }),
        };
        let seen = [
            sighting(0, 7, 1),
            sighting(100, 7, 1),
            sighting(200, 0, 0),
            sighting(300, 7, 1),
            sighting(400, 7, 2),
            sighting(500, 9, 3),
        ];
        let spans: Vec<(u64, f64, f64)> = reigns(&seen)
            .iter()
            .map(|reign| (reign.term, reign.from_ms, reign.until_ms))
            .collect();
        assert_eq!(
            spans,
            [(1, 0.0, 100.0), (1, 300.0, 300.0), (2, 400.0, 400.0)]
        );
    }
}
