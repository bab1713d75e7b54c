//! `NamespaceLifecycle`: nothing is created in a namespace that is missing or
//! terminating, and the system's namespaces stay.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_object::{Cause, Status};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let target = attributes.target;
        if attributes.operation != Operation::Create
            || !target.kind.namespaced
            || is_access_review(attributes)
        {
            return Ok(());
        }
        let Some(namespace) = attributes.lookup("", "v1", "namespaces", "", &target.namespace)
        else {
            // The cache may lag behind a namespace that was made a moment ago.
            attributes.registry.fresh().await?;
            return match attributes.lookup("", "v1", "namespaces", "", &target.namespace) {
                Some(_) => Ok(()),
                None => Err(Status::not_found("", "namespaces", &target.namespace)),
            };
        };
        if !namespace.is_terminating() {
            return Ok(());
        }
        let mut status = attributes.forbidden(&format!(
            "unable to create new content in namespace {} because it is being terminated",
            target.namespace
        ));
        if let Some(details) = &mut status.details {
            details.causes = vec![Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {} is being terminated", target.namespace),
                field: "metadata.namespace".to_owned(),
            }];
        }
        Err(status)
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let target = attributes.target;
        if attributes.operation == Operation::Delete
            && attributes.is_for("", "namespaces")
            && IMMORTAL.contains(&target.name.as_str())
        {
            return Err(attributes.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}

fn is_access_review(attributes: &Attributes<'_>) -> bool {
    let kind = &attributes.target.kind;
    kind.group == "authorization.k8s.io" && kind.plural == "localsubjectaccessreviews"
}
