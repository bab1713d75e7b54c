//! Noticing what happens in the runtime: by its events where it tells them, by
//! asking again and again where it does not.

use crate::cri::Cri;
use crate::labels;
use k8s_cri::v1::{Container, PodSandbox};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What there is of each pod, just enough to see a change.
pub type Snapshot = BTreeMap<String, BTreeSet<(String, i32)>>;

/// The pods of a listing.
#[must_use]
pub fn snapshot(sandboxes: &[PodSandbox], containers: &[Container]) -> Snapshot {
    let mut pods = Snapshot::new();
    let mut add = |labels: &HashMap<String, String>, id: &str, state: i32| {
        // What carries no pod's label is not Kubernetes' own.
        if let Some(uid) = labels.get(labels::POD_UID) {
            pods.entry(uid.clone())
                .or_default()
                .insert((id.to_owned(), state));
        }
    };
    sandboxes
        .iter()
        .for_each(|sandbox| add(&sandbox.labels, &sandbox.id, sandbox.state));
    containers
        .iter()
        .for_each(|container| add(&container.labels, &container.id, container.state));
    pods
}

/// The pods of which something changed.
#[must_use]
pub fn changed(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let uids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    uids.into_iter()
        .filter(|uid| old.get(*uid) != new.get(*uid))
        .cloned()
        .collect()
}

/// Asks the runtime for everything.
///
/// # Errors
/// What the runtime answers, or that it is away.
pub async fn list(cri: &Cri) -> crate::cri::CriResult<Snapshot> {
    let (sandboxes, containers) = cri.list(HashMap::new()).await?;
    Ok(snapshot(&sandboxes, &containers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(pods: &[(&str, &[(&str, i32)])]) -> Snapshot {
        let things = |list: &[(&str, i32)]| {
            list.iter()
                .map(|(id, state)| ((*id).to_owned(), *state))
                .collect()
        };
        pods.iter()
            .map(|(uid, list)| ((*uid).to_owned(), things(list)))
            .collect()
    }

    #[test]
    fn a_change_is_something_new_something_gone_or_another_state() {
        let old = snapshot(&[
            ("same", &[("a", 1)]),
            ("state", &[("b", 1)]),
            ("gone", &[("c", 1)]),
            ("less", &[("d", 1), ("e", 1)]),
        ]);
        let new = snapshot(&[
            ("same", &[("a", 1)]),
            ("state", &[("b", 2)]),
            ("new", &[("f", 0)]),
            ("less", &[("d", 1)]),
        ]);
        assert_eq!(changed(&old, &new), ["gone", "less", "new", "state"]);
        assert!(changed(&old, &old).is_empty());
    }

    #[test]
    fn what_is_not_a_pods_is_passed_over() {
        let own = HashMap::from([(labels::POD_UID.to_owned(), "u".to_owned())]);
        let container = |labels| Container {
            id: "c".into(),
            labels,
            ..Container::default()
        };
        let found = super::snapshot(&[], &[container(own), container(HashMap::new())]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["u"]);
    }
}
