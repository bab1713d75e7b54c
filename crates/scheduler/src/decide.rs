//! One scheduling cycle: which node is best for a pod.

use crate::framework::{Plugin, Prepared, Verdict};
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A plugin in a profile.
#[derive(Clone, Copy)]
pub struct Enabled {
    /// The plugin.
    pub plugin: &'static dyn Plugin,
    /// Whether it filters.
    pub filters: bool,
    /// How much its scores weigh; 0 if it does not score.
    pub weight: i64,
}

/// Why no node will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many nodes there are.
    pub nodes: usize,
    /// Why no node at all was looked at.
    pub rejected: Option<String>,
    /// How many nodes each reason holds for.
    pub reasons: BTreeMap<String, usize>,
    /// The plugins that refused nodes.
    pub plugins: BTreeSet<&'static str>,
    /// Nodes that could do if other pods went away.
    pub resolvable: Vec<usize>,
    /// What became of the attempt to make other pods go away.
    pub preemption: Option<String>,
}

impl Unschedulable {
    fn refuse(&mut self, plugin: &'static str, reasons: Vec<String>) {
        self.plugins.insert(plugin);
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

/// `N reason` for each reason, sorted as upstream sorts them: as text.
pub(crate) fn histogram(reasons: &BTreeMap<String, usize>) -> String {
    let mut texts: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    texts.sort();
    texts.join(", ")
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.nodes)?;
        if let Some(rejected) = &self.rejected {
            write!(f, " {rejected}.")?;
        } else if !self.reasons.is_empty() {
            write!(f, " {}.", histogram(&self.reasons))?;
        }
        match &self.preemption {
            Some(outcome) => write!(f, " {outcome}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Unschedulable {}

/// Finds the best node; among equals the random number generator chooses.
///
/// # Errors
/// Why no node will do.
pub fn decide(
    plugins: &[Enabled],
    snapshot: &Snapshot,
    pod: &Pod,
    rng: &mut impl Rng,
) -> Result<usize, Unschedulable> {
    let feasible = feasible(plugins, snapshot, pod)?;
    if let [only] = feasible[..] {
        return Ok(only);
    }
    let mut totals = vec![0_i64; feasible.len()];
    for enabled in plugins.iter().filter(|enabled| enabled.weight > 0) {
        let scores = enabled.plugin.score(snapshot, pod, &feasible);
        for (total, score) in totals.iter_mut().zip(scores.iter().flatten()) {
            *total += enabled.weight * score;
        }
    }
    let best = totals.iter().copied().max().unwrap_or_default();
    let mut chosen = None;
    let mut equals = 0_u32;
    for (at, total) in feasible.iter().zip(totals) {
        if total == best {
            equals += 1;
            // Each of the equals ends up chosen with the same probability.
            if rng.random_range(0..equals) == 0 {
                chosen = Some(*at);
            }
        }
    }
    Ok(chosen.expect("at least one node is feasible and has the best score"))
}

/// The nodes on which a pod can run.
///
/// # Errors
/// Why there are none.
pub fn feasible(
    plugins: &[Enabled],
    snapshot: &Snapshot,
    pod: &Pod,
) -> Result<Vec<usize>, Unschedulable> {
    let mut refusal = Unschedulable {
        nodes: snapshot.len(),
        ..Unschedulable::default()
    };
    if snapshot.is_empty() {
        return Err(refusal);
    }
    let mut filters = Vec::new();
    for enabled in plugins.iter().filter(|enabled| enabled.filters) {
        match enabled.plugin.filter(snapshot, pod) {
            Prepared::Skip => {}
            Prepared::Filter(filter) => filters.push((enabled.plugin.name(), filter)),
            Prepared::Rejected(why) => {
                refusal.plugins.insert(enabled.plugin.name());
                refusal.rejected = Some(why);
                return Err(refusal);
            }
        }
    }
    let mut fitting = Vec::new();
    'nodes: for at in 0..snapshot.len() {
        for (plugin, filter) in &filters {
            match filter(at) {
                Verdict::Fits => {}
                Verdict::Unschedulable(reasons) => {
                    refusal.resolvable.push(at);
                    refusal.refuse(plugin, reasons);
                    continue 'nodes;
                }
                Verdict::Unresolvable(reasons) => {
                    refusal.refuse(plugin, reasons);
                    continue 'nodes;
                }
            }
        }
        fitting.push(at);
    }
    if fitting.is_empty() {
        Err(refusal)
    } else {
        Ok(fitting)
    }
}

/// Whether a pod can run on one node.
#[must_use]
pub fn fits(plugins: &[Enabled], snapshot: &Snapshot, pod: &Pod, at: usize) -> bool {
    plugins
        .iter()
        .filter(|enabled| enabled.filters)
        .all(|enabled| match enabled.plugin.filter(snapshot, pod) {
            Prepared::Skip => true,
            Prepared::Rejected(_) => false,
            Prepared::Filter(filter) => filter(at) == Verdict::Fits,
        })
}

#[cfg(test)]
mod tests;
