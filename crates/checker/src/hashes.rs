//! Replicas that stand at the same place hold the same.

use crate::{HashSample, Property, Violation};
use std::collections::BTreeMap;

pub(crate) fn check(samples: &[HashSample]) -> Result<(), Violation> {
    let mut keys = BTreeMap::new();
    let mut states = BTreeMap::new();
    for sample in samples {
        let place = (sample.revision, sample.compact_revision);
        let first = *keys.entry(place).or_insert(sample);
        if first.keys != sample.keys {
            return Err(different(first, sample, &format!("revision {}", place.0)));
        }
        let first = *states.entry(sample.applied_index).or_insert(sample);
        if first.state != sample.state {
            let place = format!("log entry {}", sample.applied_index);
            return Err(different(first, sample, &place));
        }
    }
    Ok(())
}

fn different(a: &HashSample, b: &HashSample, place: &str) -> Violation {
    Violation::new(
        Property::EqualHashes,
        format!(
            "members {} and {} differ at {place}: {a:?}, {b:?}",
            a.member, b.member
        ),
    )
}
