//! Telling what is going on: a spinner on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The steps of one command.
pub struct Steps {
    started: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps {
    /// Starts the clock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Does one step and tells how long it took.
    ///
    /// # Errors
    /// Whatever the step fails with.
    pub fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Step) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let step = Step::start(what);
        let result = work(&step);
        step.finish(result.is_ok());
        result
    }

    /// Seconds since the first step began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// One step under way.
pub struct Step {
    what: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    fn start(what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .expect("the template is valid");
            bar.set_style(style);
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            say(&format!("  .. {what}"));
        }
        Self {
            what: what.to_owned(),
            started: Instant::now(),
            bar,
        }
    }

    /// Tells what the step is at.
    pub fn note(&self, note: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {note}", self.what)),
            None => say(&format!("     {}: {note}", self.what)),
        }
    }

    fn finish(self, well: bool) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mark = if well { "ok" } else { "!!" };
        say(&format!(
            "  {mark} {} ({:.1} s)",
            self.what,
            self.started.elapsed().as_secs_f64()
        ));
    }
}

/// Prints a line for the user.
pub fn say(line: &str) {
    // Standard error carries progress, standard output results. A closed
    // terminal must not end a half-done cluster.
    let _ = writeln!(std::io::stderr(), "{line}");
}
