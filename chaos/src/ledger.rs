//! What was acknowledged, and what is missing of it.

use std::collections::BTreeMap;

/// What one writer or all of them were promised: objects and the highest
/// counter in each that a server acknowledged. Counters begin at 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    acknowledged: BTreeMap<String, u64>,
    writes: u64,
}

/// An object that is not as it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The object's name.
    pub name: String,
    /// The counter that was acknowledged.
    pub acknowledged: u64,
    /// The counter that was read; `None` if the object is not there.
    pub found: Option<u64>,
}

impl Loss {
    /// So many acknowledged writes are gone: each raised the counter by one.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.acknowledged - self.found.unwrap_or(0).min(self.acknowledged)
    }
}

impl Ledger {
    /// A server acknowledged that the object holds this counter.
    pub fn acknowledge(&mut self, name: &str, counter: u64) {
        let held = self.acknowledged.entry(name.to_owned()).or_default();
        *held = counter.max(*held);
        self.writes += 1;
    }

    /// The highest acknowledged counter of an object; 0 if none was.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.acknowledged.get(name).copied().unwrap_or(0)
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// What is missing of it in what a server answers.
    ///
    /// More than was acknowledged is no loss: an answer may have been lost on
    /// its way after the write was done.
    #[must_use]
    pub fn losses(&self, found: &BTreeMap<String, u64>) -> Vec<Loss> {
        self.acknowledged
            .iter()
            .map(|(name, acknowledged)| Loss {
                name: name.clone(),
                acknowledged: *acknowledged,
                found: found.get(name).copied(),
            })
            .filter(|loss| loss.writes() > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for counter in 1..=5 {
            ledger.acknowledge("a", counter);
        }
        ledger.acknowledge("b", 1);
        ledger
    }

    fn found(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs
            .iter()
            .map(|(name, counter)| ((*name).to_owned(), *counter))
            .collect()
    }

    #[test]
    fn what_is_all_there_is_no_loss() {
        assert_eq!(ledger().losses(&found(&[("a", 5), ("b", 1)])), []);
        assert_eq!(ledger().writes(), 6);
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_no_loss() {
        assert_eq!(ledger().losses(&found(&[("a", 6), ("b", 1), ("c", 1)])), []);
    }

    #[test]
    fn every_write_that_went_back_or_vanished_is_counted() {
        let losses = ledger().losses(&found(&[("a", 3)]));
        assert_eq!(losses.iter().map(Loss::writes).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(losses[1].found, None);
        assert_eq!(
            ledger()
                .losses(&BTreeMap::new())
                .iter()
                .map(Loss::writes)
                .sum::<u64>(),
            6
        );
    }

    #[test]
    fn answers_that_arrive_out_of_order_do_not_lower_the_promise() {
        let mut ledger = ledger();
        ledger.acknowledge("a", 2);
        assert_eq!(ledger.counter("a"), 5);
    }
}
