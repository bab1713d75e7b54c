//! The next step from the old template to the new one.

use super::sets::{Set, Sets, Spec};
use crate::pods;
use kontiki_object::SharedObject;

/// `RollingUpdate`: first grow the new set as far as the surge allows, then
/// shrink the old ones as far as availability allows.
pub(super) fn rolling(sets: &mut Sets, spec: &Spec) {
    let total = sets.total();
    let room = (spec.total_max() - total).max(0);
    let Some(new) = &mut sets.new else {
        sets.create = Some(room.min(spec.replicas));
        return;
    };
    let size = new.size();
    new.wanted = if size > spec.replicas {
        spec.replicas
    } else {
        size + room.min(spec.replicas - size)
    };
    if new.wanted == size {
        shrink_old(sets, spec);
    }
}

fn shrink_old(sets: &mut Sets, spec: &Spec) {
    let min_available = spec.replicas - spec.max_unavailable;
    let new_unavailable = sets
        .new
        .as_ref()
        .map_or(0, |new| new.size() - new.count("availableReplicas"));
    let mut budget = sets.total() - min_available - new_unavailable;
    // What does not work anyway goes first: it costs no availability.
    for set in &mut sets.old {
        let unhealthy = (set.size() - set.count("availableReplicas")).max(0);
        let cut = unhealthy.min(budget).max(0);
        set.wanted = set.size() - cut;
        budget -= cut;
    }
    let available: i64 = sets.all().map(|set| set.count("availableReplicas")).sum();
    let mut budget = (available - min_available).min(budget.max(0)).max(0);
    for set in &mut sets.old {
        let cut = set.wanted.min(budget);
        set.wanted -= cut;
        budget -= cut;
    }
}

/// `Recreate`: nothing of the new before the last of the old has ended.
pub(super) fn recreate(sets: &mut Sets, spec: &Spec, all_pods: &[SharedObject]) {
    let mut waits = false;
    for old in &mut sets.old {
        waits |= old.size() > 0;
        old.wanted = 0;
    }
    let new = sets.new.as_ref().map(|new| new.object.uid().to_owned());
    let runs = |pod: &&SharedObject| !pods::is_terminal(pod);
    waits |= all_pods.iter().filter(runs).any(|pod| {
        let owner = pod.controller_of().map(|owner| owner.uid);
        owner != new
            && sets
                .old
                .iter()
                .any(|old| Some(old.object.uid()) == owner.as_deref())
    });
    if waits {
        return;
    }
    match &mut sets.new {
        Some(new) => new.wanted = spec.replicas,
        None => sets.create = Some(spec.replicas),
    }
}

/// Old sets beyond the history limit that are empty, oldest first.
pub(super) fn surplus(sets: &Sets, limit: usize) -> Vec<&Set> {
    let mut empty: Vec<&Set> = sets
        .old
        .iter()
        .filter(|set| set.size() == 0 && set.count("replicas") == 0)
        .filter(|set| !set.object.is_terminating())
        .collect();
    let surplus = sets.old.len().saturating_sub(limit).min(empty.len());
    empty.truncate(surplus);
    empty
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_object::Object;
    use serde_json::json;
    use std::sync::Arc;

    fn set(size: i64, available: i64) -> Set {
        let tree = json!({"spec": {"replicas": size}, "status": {"availableReplicas": available, "replicas": size}});
        Set {
            object: Arc::new(Object::from_value(tree).expect("a map")),
            wanted: size,
        }
    }

    #[test]
    fn a_step_keeps_to_surge_and_availability() {
        // replicas, surge, unavailable, new (size, available), old → new size, old sizes
        type Case = (
            i64,
            i64,
            i64,
            (i64, i64),
            &'static [(i64, i64)],
            i64,
            &'static [i64],
        );
        let table: &[Case] = &[
            (4, 1, 1, (0, 0), &[(4, 4)], 1, &[4]),
            (4, 1, 1, (1, 0), &[(4, 4)], 1, &[3]),
            (4, 1, 1, (1, 1), &[(3, 3)], 2, &[3]),
            (4, 1, 1, (2, 2), &[(3, 3)], 2, &[1]),
            (4, 1, 0, (1, 0), &[(4, 4)], 1, &[4]),
            (4, 1, 0, (1, 1), &[(4, 4)], 1, &[3]),
            (4, 1, 1, (1, 0), &[(4, 1)], 1, &[3]),
            (2, 1, 0, (3, 3), &[], 2, &[]),
            (3, 1, 1, (3, 3), &[(1, 1)], 3, &[0]),
        ];
        for (replicas, surge, unavailable, new, old, new_size, old_sizes) in table {
            let spec = Spec {
                replicas: *replicas,
                paused: false,
                recreate: false,
                max_surge: *surge,
                max_unavailable: *unavailable,
                progress_deadline_seconds: None,
                history_limit: 10,
            };
            let mut sets = Sets {
                new: Some(set(new.0, new.1)),
                old: old
                    .iter()
                    .map(|(size, available)| set(*size, *available))
                    .collect(),
                create: None,
                created: None,
                revision: None,
            };
            rolling(&mut sets, &spec);
            assert_eq!(
                sets.new.as_ref().map(|new| new.wanted),
                Some(*new_size),
                "{new:?} {old:?}"
            );
            let sizes: Vec<i64> = sets.old.iter().map(|old| old.wanted).collect();
            assert_eq!(&sizes, old_sizes, "{new:?} {old:?}");
        }
    }
}
