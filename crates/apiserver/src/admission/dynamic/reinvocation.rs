//! Who is asked again because somebody after him has changed the object: once,
//! and only those that want it.

use kontiki_kinds::Tree;
use std::collections::BTreeSet;

/// What the plugins of one request remember between its two rounds.
#[derive(Default)]
pub struct Reinvocation {
    /// Whether this is the second round.
    pub is_second: bool,
    /// Whether there shall be one.
    pub is_wanted: bool,
    /// The policies'.
    pub policies: Round,
    /// The webhooks'.
    pub webhooks: Round,
}

/// What one plugin remembers.
#[derive(Default)]
pub struct Round {
    last: Option<Tree>,
    asked: BTreeSet<String>,
    again: BTreeSet<String>,
}

impl Round {
    /// A plugin's turn begins with this object.
    pub fn begin(&mut self, is_second: bool, object: Option<&Tree>) {
        if is_second && self.last.as_ref() != object {
            self.object_changed();
        }
    }

    /// A plugin's turn ends with this object.
    pub fn end(&mut self, object: Option<&Tree>) {
        self.last = object.cloned();
    }

    /// Whoever has been asked before is asked again.
    pub fn object_changed(&mut self) {
        self.again.append(&mut self.asked);
    }

    /// Somebody who wants it has been asked.
    pub fn asked(&mut self, who: &str) {
        self.asked.insert(who.to_owned());
    }

    /// Whether somebody is asked in the second round.
    #[must_use]
    pub fn is_due(&self, who: &str) -> bool {
        self.again.contains(who)
    }
}
