//! `TaintNodesByCondition`: a new node takes no pods until it is known to be ready.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_object::{Status, Value};
use serde_json::json;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.is_for("", "nodes") {
            return Ok(());
        }
        let Some(node) = attributes.object.as_deref_mut() else {
            return Ok(());
        };
        let spec = node.entry("spec").or_insert_with(|| json!({}));
        let Some(spec) = spec.as_object_mut() else {
            return Ok(());
        };
        let taints = spec.entry("taints").or_insert_with(|| json!([]));
        if let Some(taints) = taints.as_array_mut() {
            let is_there =
                |taint: &Value| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule";
            if !taints.iter().any(is_there) {
                taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            }
        }
        Ok(())
    }
}
