//! `PodTopologyLabels`: a pod carries the zone and region of its node.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Status, Value};

const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

pub(super) struct PodTopologyLabels;

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let kind = &attributes.target.kind;
        let is_pod = kind.group.is_empty() && kind.plural == "pods";
        if attributes.operation != Operation::Create || !is_pod {
            return Ok(());
        }
        let object = attributes.object.as_deref();
        let text = |part: &str, field: &str| {
            let value = object.and_then(|object| object.get(part)?.get(field)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        let node = match &*attributes.target.subresource {
            "" => text("spec", "nodeName"),
            "binding" if text("target", "kind") == "Node" => text("target", "name"),
            _ => return Ok(()),
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = attributes.lookup("", "v1", "nodes", "", &node) else {
            return Ok(());
        };
        let metadata = attributes.object.as_deref_mut().map(|object| {
            object
                .entry("metadata")
                .or_insert_with(|| Value::Object(Tree::new()))
        });
        let Some(Value::Object(metadata)) = metadata else {
            return Ok(());
        };
        for label in LABELS {
            let Some(value) = node.label(label) else {
                continue;
            };
            let labels = metadata
                .entry("labels")
                .or_insert_with(|| Value::Object(Tree::new()));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(label.to_owned(), value.into());
            }
        }
        Ok(())
    }
}
