//! `ImageLocality`: prefers nodes that have the pod's images already.

use crate::framework::{Plugin, SCORE_MAX};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// See the module.
pub struct ImageLocality;

const MIB: i64 = 1024 * 1024;
const BYTES_MIN: i64 = 23 * MIB;
const BYTES_MAX_A_CONTAINER: i64 = 1000 * MIB;

/// The name under which nodes report an image: with a tag.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score(&self, snapshot: &Snapshot, pod: &Pod, feasible: &[usize]) -> Option<Vec<i64>> {
        let spec = pod.spec()?;
        let images: Vec<String> = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .filter_map(|container| container.image.as_deref().map(normalized))
            .collect();
        let total = i64::try_from(snapshot.len()).unwrap_or(i64::MAX).max(1);
        let spread: Vec<i64> = images
            .iter()
            .map(|image| {
                let nodes = snapshot
                    .facts
                    .iter()
                    .filter(|f| f.images.contains_key(image));
                i64::try_from(nodes.count()).unwrap_or_default()
            })
            .collect();
        let most = BYTES_MAX_A_CONTAINER * i64::try_from(images.len()).unwrap_or(1).max(1);
        let score = |at: &usize| {
            let here: i64 = images
                .iter()
                .zip(&spread)
                .filter_map(|(image, nodes)| {
                    // An image that few nodes have must not draw all pods there.
                    let size = snapshot.facts[*at].images.get(image)?;
                    Some(size.saturating_mul(*nodes) / total)
                })
                .sum();
            SCORE_MAX * (here.clamp(BYTES_MIN, most) - BYTES_MIN) / (most - BYTES_MIN)
        };
        Some(feasible.iter().map(score).collect())
    }
}
