//! `PersistentVolumeClaimResize`: a claim grows only if its class allows that.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Quantity, Status, Value};

pub(super) struct PersistentVolumeClaimResize;

fn size(claim: &Tree) -> Option<Quantity> {
    let requests = &claim.get("spec")?["resources"]["requests"];
    requests["storage"].as_str()?.parse().ok()
}

fn class(claim: &Tree) -> &str {
    let annotation = claim.get("metadata").and_then(|metadata| {
        let annotations = metadata.get("annotations")?;
        annotations.get("volume.beta.kubernetes.io/storage-class")
    });
    let named = claim
        .get("spec")
        .and_then(|spec| spec.get("storageClassName"));
    annotation
        .or(named)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let is_update = attributes.operation == Operation::Update;
        if !is_update || !attributes.is_for("", "persistentvolumeclaims") {
            return Ok(());
        }
        let (Some(new), Some(old)) = (attributes.object.as_deref(), attributes.old) else {
            return Ok(());
        };
        let grows = match (size(new), size(old)) {
            (Some(new), Some(old)) => new > old,
            (new, _) => new.is_some(),
        };
        if !grows {
            return Ok(());
        }
        if old
            .get("status")
            .is_none_or(|status| status["phase"] != "Bound")
        {
            let why = "Only bound persistent volume claims can be expanded";
            return Err(attributes.forbidden(why));
        }
        // What was acknowledged before counts.
        attributes.registry.fresh().await?;
        let name = class(new);
        let allows = !name.is_empty() && name == class(old) && {
            let class = attributes.lookup("storage.k8s.io", "v1", "storageclasses", "", name);
            class.is_some_and(|class| class.get(&["allowVolumeExpansion"]) == Some(&true.into()))
        };
        if allows {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(attributes.forbidden(why))
    }
}
