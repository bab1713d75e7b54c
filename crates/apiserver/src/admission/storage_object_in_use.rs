//! `StorageObjectInUseProtection`: volumes and claims do not vanish while they are used.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_object::{Status, Value};
use serde_json::json;

pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if attributes.operation != Operation::Create {
            return Ok(());
        }
        let finalizer = if attributes.is_for("", "persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else if attributes.is_for("", "persistentvolumeclaims") {
            "kubernetes.io/pvc-protection"
        } else if attributes.is_for("storage.k8s.io", "volumeattributesclasses") {
            "kubernetes.io/vac-protection"
        } else {
            return Ok(());
        };
        let metadata = attributes
            .object
            .as_deref_mut()
            .and_then(|object| object.get_mut("metadata"))
            .and_then(Value::as_object_mut);
        let Some(metadata) = metadata else {
            return Ok(());
        };
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(finalizers) = finalizers.as_array_mut()
            && !finalizers.iter().any(|own| own == finalizer)
        {
            finalizers.push(finalizer.into());
        }
        Ok(())
    }
}
