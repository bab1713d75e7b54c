//! `NodeResourcesBalancedAllocation`: prefers nodes whose CPU and memory fill
//! up evenly.

use crate::framework::{Plugin, SCORE_MAX};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// See the module.
pub struct NodeResourcesBalancedAllocation;

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "shares of resources between 0 and 1"
)]
fn balance(shares: [(i64, i64); 2]) -> i64 {
    let [cpu, memory] = shares.map(|(has, used)| {
        if has == 0 {
            0.0
        } else {
            (used as f64 / has as f64).min(1.0)
        }
    });
    // The standard deviation of two numbers is half their distance.
    let deviation = (cpu - memory).abs() / 2.0;
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        // A pod that asks for nothing changes no balance.
        if pod.request.milli_cpu == 0 && pod.request.memory == 0 {
            return None;
        }
        let score = |at: &usize| {
            let has = &snapshot.allocatable[*at];
            let used = &snapshot.requested[*at];
            let with = [
                (has.milli_cpu, used.milli_cpu + pod.request.milli_cpu),
                (has.memory, used.memory + pod.request.memory),
            ];
            let without = [(has.milli_cpu, used.milli_cpu), (has.memory, used.memory)];
            // Balances lie between 50 and 100, so do these scores: 75 if the
            // pod changes nothing, more if the node gets more even.
            SCORE_MAX / 2 + (SCORE_MAX / 2 + balance(with) - balance(without)) / 2
        };
        Some(feasible.iter().map(score).collect())
    }
}
