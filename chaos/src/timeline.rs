//! From what was seen to when what happened.

use serde::Serialize;

/// Milliseconds since the run began.
pub type Ms = f64;

/// What was seen of one run.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When the signal was sent.
    pub lost: Ms,
    /// When another member was first seen to lead.
    pub led: Option<Ms>,
    /// When each acknowledgement was read, in any order.
    pub acknowledged: Vec<Ms>,
    /// Of each lease that the lost server held: when another held it.
    pub scheduler: Lease,
    /// The same for the controllers.
    pub controllers: Lease,
}

/// One lease across the loss of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Lease {
    /// The lost server did not hold it.
    #[default]
    NotHeld,
    /// It did, and nobody took it over while it was watched.
    Orphaned,
    /// It did, and another took it over then.
    Taken(Ms),
}

/// When what happened, in milliseconds after the loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// A new leader.
    pub leader_ms: Option<Ms>,
    /// The first write that was acknowledged afterwards.
    pub first_write_ms: Option<Ms>,
    /// For how long no write was acknowledged because of the loss.
    pub gap_ms: Option<Ms>,
    /// The scheduler's lease taken over; `None` if the lost server did not hold it.
    pub scheduler_ms: Option<Ms>,
    /// The same for the controllers' lease.
    pub controllers_ms: Option<Ms>,
    /// Whether a lease that was held was never taken over.
    pub orphaned: bool,
}

impl Timeline {
    /// When the last lease was taken over; `None` if the lost server held none.
    #[must_use]
    pub fn leases_ms(&self) -> Option<Ms> {
        [self.scheduler_ms, self.controllers_ms]
            .into_iter()
            .flatten()
            .reduce(f64::max)
    }
}

/// Puts together what was seen.
#[must_use]
pub fn timeline(seen: &Seen) -> Timeline {
    let after = |at: Ms| (at - seen.lost).max(0.0);
    let taken = |lease: Lease| match lease {
        Lease::Taken(at) => Some(after(at)),
        Lease::NotHeld | Lease::Orphaned => None,
    };
    let longest = outage(seen);
    Timeline {
        leader_ms: seen.led.map(after),
        first_write_ms: longest.map(|(_, end)| after(end)),
        gap_ms: longest.map(|(start, end)| end - start),
        scheduler_ms: taken(seen.scheduler),
        controllers_ms: taken(seen.controllers),
        orphaned: [seen.scheduler, seen.controllers].contains(&Lease::Orphaned),
    }
}

/// Start and end of the time without acknowledgements that the loss caused.
///
/// What was on its way when the leader was lost may still be answered a moment
/// later, so the first answer is not its end. And what pauses once the new
/// leader is at work has other causes. So it is the longest pause of those that
/// end after the loss and begin before the new leader.
fn outage(seen: &Seen) -> Option<(Ms, Ms)> {
    let mut times = seen.acknowledged.clone();
    times.sort_by(f64::total_cmp);
    times
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .filter(|(start, end)| *end > seen.lost && seen.led.is_none_or(|led| *start <= led))
        .max_by(|left, right| (left.1 - left.0).total_cmp(&(right.1 - right.0)))
}

/// How many of `times` lie in a window, per second.
#[must_use]
pub fn rate(times: &[Ms], from: Ms, to: Ms) -> f64 {
    let count = times.iter().filter(|at| (from..to).contains(*at)).count();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) * 1_000.0 / (to - from).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outage_ends_with_the_first_write_of_the_new_leader() {
        // Two answers that were on their way arrive after the loss at 100.
        let seen = Seen {
            lost: 100.0,
            led: Some(350.0),
            acknowledged: vec![400.0, 410.0, 80.0, 20.0, 101.0, 102.0, 415.0],
            ..Seen::default()
        };
        let timeline = timeline(&seen);
        assert_eq!(timeline.leader_ms, Some(250.0));
        assert_eq!(timeline.first_write_ms, Some(300.0));
        assert_eq!(timeline.gap_ms, Some(298.0));
        assert_eq!(timeline.leases_ms(), None);
    }

    #[test]
    fn pauses_before_the_loss_are_not_its_fault() {
        let seen = Seen {
            lost: 1_000.0,
            acknowledged: vec![0.0, 900.0, 990.0, 1_050.0, 1_060.0],
            ..Seen::default()
        };
        assert_eq!(timeline(&seen).gap_ms, Some(60.0));
    }

    #[test]
    fn a_pause_under_the_new_leader_is_not_the_outage() {
        let seen = Seen {
            lost: 100.0,
            led: Some(150.0),
            acknowledged: vec![99.0, 160.0, 170.0, 900.0],
            ..Seen::default()
        };
        assert_eq!(timeline(&seen).gap_ms, Some(61.0));
        assert_eq!(timeline(&seen).first_write_ms, Some(60.0));
    }

    #[test]
    fn without_a_write_afterwards_there_is_no_end() {
        let seen = Seen {
            lost: 100.0,
            acknowledged: vec![50.0, 90.0],
            ..Seen::default()
        };
        assert_eq!(timeline(&seen).gap_ms, None);
        assert_eq!(timeline(&seen).first_write_ms, None);
    }

    #[test]
    fn the_leases_are_over_when_the_later_one_is() {
        let seen = Seen {
            lost: 10.0,
            scheduler: Lease::Taken(30.0),
            controllers: Lease::Taken(50.0),
            ..Seen::default()
        };
        assert_eq!(timeline(&seen).leases_ms(), Some(40.0));
        let seen = Seen {
            controllers: Lease::Orphaned,
            ..seen
        };
        assert_eq!(timeline(&seen).leases_ms(), Some(20.0));
        assert!(timeline(&seen).orphaned);
    }

    #[test]
    fn a_rate_is_counted_in_its_window() {
        assert!((rate(&[0.0, 100.0, 200.0, 900.0, 1_100.0], 100.0, 1_100.0) - 3.0).abs() < 1e-9);
        assert!(rate(&[], 0.0, 0.0) < 1e-9);
    }
}
