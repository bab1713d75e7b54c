//! From single results to a verdict.

use k8s_openapi::api::core::v1::Probe;

/// What a probe decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether the container has started; until then the others wait.
    Startup,
    /// Whether it is ready for traffic.
    Readiness,
    /// Whether it is alive.
    Liveness,
}

impl ProbeKind {
    /// Its name at the start of a message.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    /// Its name in a message.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// Counts results until there are enough for another verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    success_threshold: u32,
    failure_threshold: u32,
    verdict: Option<bool>,
    last: Option<bool>,
    run: u32,
}

impl ProbeState {
    /// Before the first result. A container is alive until shown otherwise; it
    /// is neither started nor ready.
    #[must_use]
    pub fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| {
            value
                .and_then(|v| u32::try_from(v).ok())
                .filter(|v| *v > 0)
                .unwrap_or(default)
        };
        let verdict = match kind {
            ProbeKind::Startup => None,
            ProbeKind::Readiness => Some(false),
            ProbeKind::Liveness => Some(true),
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            verdict,
            last: None,
            run: 0,
        }
    }

    /// As it was before the agent was started again.
    #[must_use]
    pub fn resumed(mut self, verdict: Option<bool>) -> Self {
        self.verdict = verdict.or(self.verdict);
        self
    }

    /// The verdict so far.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Takes a result; whether the verdict changed by it.
    pub fn observe(&mut self, success: bool) -> bool {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let needed = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        let changes = self.run >= needed && self.verdict != Some(success);
        if changes {
            self.verdict = Some(success);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results as `+` and `-`; the verdict after each as `+`, `-` or `?`.
    fn verdicts(kind: ProbeKind, success: i32, failure: i32, results: &str) -> String {
        let probe = Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        };
        let mut state = ProbeState::new(kind, &probe);
        let verdicts = results.chars().map(|result| {
            let before = state.verdict();
            let changed = state.observe(result == '+');
            assert_eq!(changed, before != state.verdict());
            match state.verdict() {
                Some(true) => '+',
                Some(false) => '-',
                None => '?',
            }
        });
        verdicts.collect()
    }

    #[test]
    fn enough_equal_results_in_a_row_change_the_verdict() {
        for (kind, success, failure, results, expected) in [
            (ProbeKind::Liveness, 1, 3, "---+--+---", "++-++++++-"),
            (ProbeKind::Readiness, 2, 2, "+-++--+", "---++--"),
            (ProbeKind::Startup, 1, 3, "--+", "??+"),
            (ProbeKind::Startup, 1, 2, "--", "?-"),
        ] {
            assert_eq!(
                verdicts(kind, success, failure, results),
                expected,
                "{kind:?} {results}"
            );
        }
    }
}
