//! What a plugin is, and the order of upstream's extension points.

use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// The best score that a plugin gives, after normalising.
pub const SCORE_MAX: i64 = 100;

/// What a filter says about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod can run there.
    Fits,
    /// It cannot, but could if other pods went away.
    Unschedulable(Vec<String>),
    /// It cannot, whichever pods go away.
    Unresolvable(Vec<String>),
}

impl Verdict {
    /// A refusal that removing pods would not change.
    #[must_use]
    pub fn never(reason: &str) -> Self {
        Self::Unresolvable(vec![reason.to_owned()])
    }

    /// A refusal that removing pods could change.
    #[must_use]
    pub fn not_now(reason: &str) -> Self {
        Self::Unschedulable(vec![reason.to_owned()])
    }
}

/// A filter that is prepared for one pod; takes the position of a node.
pub type Filter<'a> = Box<dyn Fn(usize) -> Verdict + 'a>;

/// What the preparation of a filter (`PreFilter`) leads to.
pub enum Prepared<'a> {
    /// The plugin has nothing to say about this pod.
    Skip,
    /// No node will do.
    Rejected(String),
    /// To be asked for each node.
    Filter(Filter<'a>),
}

/// What changed in the cluster, as far as waiting pods care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node appeared, or became roomier, or changed labels or taints.
    Node(NodeChange),
    /// A pod that was on a node went away or asks for less.
    PodLeft,
    /// A pod came to a node, or its labels changed.
    PodArrived,
    /// The waiting pod itself changed.
    PodUpdated,
    /// A volume, claim or class changed.
    Storage,
}

/// What changed about a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// It is new.
    pub added: bool,
    /// It has other allocatable resources.
    pub allocatable: bool,
    /// It has other labels.
    pub labels: bool,
    /// It has other taints, or is (un)schedulable now.
    pub taints: bool,
}

/// One rule of scheduling. Every method is pure; the defaults have no opinion.
pub trait Plugin: Send + Sync {
    /// Upstream's name, by which profiles switch it.
    fn name(&self) -> &'static str;

    /// `PreEnqueue`: why the pod must not even be queued.
    fn gate(&self, _pod: &Pod) -> Option<String> {
        None
    }

    /// `PreFilter` and `Filter`.
    fn filter<'a>(&self, _snapshot: &'a Snapshot, _pod: &'a Pod) -> Prepared<'a> {
        Prepared::Skip
    }

    /// `PreScore`, `Score` and `NormalizeScore`: a score between 0 and
    /// [`SCORE_MAX`] for each of the feasible nodes; `None` to leave it to others.
    fn score(&self, _snapshot: &Snapshot, _pod: &Pod, _feasible: &[usize]) -> Option<Vec<i64>> {
        None
    }

    /// How much its scores weigh unless the profile says otherwise.
    fn weight(&self) -> i64 {
        1
    }

    /// The queueing hint: whether a pod that this plugin refused should be
    /// tried again after an event.
    fn may_help(&self, _pod: &Pod, _event: &Event) -> bool {
        false
    }
}

/// Stretches scores so that the best is [`SCORE_MAX`]; with `reverse`, low is good.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        *score = if most == 0 {
            if reverse { SCORE_MAX } else { 0 }
        } else {
            let scaled = SCORE_MAX * *score / most;
            if reverse { SCORE_MAX - scaled } else { scaled }
        };
    }
}
