//! `AlwaysPullImages`: whoever runs a pod must be allowed to pull its images,
//! even where another's pod has left them on the node. Off by default.

use super::{Attributes, Operation, Plugin, pod};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Status, Value};
use std::collections::BTreeSet;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const FIELD: &str = "imagePullPolicy";
const ALWAYS: &str = "Always";

pub(super) struct AlwaysPullImages;

/// Whether it is about a pod and what its containers are made of.
fn is_meant(attributes: &Attributes<'_>) -> bool {
    let target = attributes.target;
    let is_pod = target.kind.group.is_empty() && target.kind.plural == "pods";
    let is_written = matches!(attributes.operation, Operation::Create | Operation::Update);
    is_pod && is_written && matches!(&*target.subresource, "" | "ephemeralcontainers")
}

fn images(pod: &Tree) -> BTreeSet<&str> {
    let spec = pod.get("spec");
    let list = |name: &str| spec.and_then(|spec| spec.get(name)?.as_array());
    let containers = LISTS.into_iter().filter_map(list).flatten();
    let volumes = list("volumes").into_iter().flatten();
    let of_volumes = volumes.filter_map(|volume| volume["image"]["reference"].as_str());
    containers
        .filter_map(|container| container["image"].as_str())
        .chain(of_volumes)
        .collect()
}

/// Whether a change brings no image that the pod did not have.
fn brings_nothing_new(attributes: &Attributes<'_>) -> bool {
    match (attributes.object.as_deref(), attributes.old) {
        (Some(new), Some(old)) => images(new).is_subset(&images(old)),
        _ => false,
    }
}

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !is_meant(attributes) || brings_nothing_new(attributes) {
            return Ok(());
        }
        let Some(spec) = pod::spec(attributes) else {
            return Ok(());
        };
        for list in LISTS {
            for container in pod::containers(spec, list) {
                container.insert(FIELD.to_owned(), ALWAYS.into());
            }
        }
        for volume in pod::containers(spec, "volumes") {
            if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
                image.insert("pullPolicy".to_owned(), ALWAYS.into());
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !is_meant(attributes) || brings_nothing_new(attributes) {
            return Ok(());
        }
        let spec = attributes.object.as_deref().and_then(|pod| pod.get("spec"));
        for list in LISTS {
            let containers = spec.and_then(|spec| spec.get(list)?.as_array());
            for (at, container) in containers.into_iter().flatten().enumerate() {
                let policy = container[FIELD].as_str().unwrap_or_default();
                if policy != ALWAYS {
                    return Err(attributes.forbidden(&format!(
                        "spec.{list}[{at}].{FIELD}: Unsupported value: {policy:?}: supported values: {ALWAYS:?}"
                    )));
                }
            }
        }
        Ok(())
    }
}
