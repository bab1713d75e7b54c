//! `MutatingAdmissionWebhook`.

use super::super::dynamic::{Live, Request, apply_json_patch, is_configuration};
use super::super::{Attributes, Plugin};
use super::hook::Hook;
use super::{ask, is_meant, judge};
use crate::registry::default_object;
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Status, Value};
use std::sync::Arc;

pub(in crate::admission) struct MutatingAdmissionWebhook {
    hooks: Live<Vec<Hook>>,
    authorizer: Arc<dyn Authorizer>,
}

impl MutatingAdmissionWebhook {
    pub(in crate::admission) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            hooks: Live::new("mutatingwebhookconfigurations", Hook::build_all),
            authorizer,
        }
    }
}

/// The object that a patch leads to, in the form that was asked for.
async fn patched(
    hook: &Hook,
    request: &Request<'_>,
    kind: &Kind,
    operations: &[Value],
) -> Result<Option<Tree>, Status> {
    let (object, _) = request.shown_as(kind).await?;
    let Some(before) = object.map(Value::Object) else {
        return Err(Status::internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    let after = apply_json_patch(&before, operations)
        .map_err(|failure| Status::internal(failure.text()))?;
    let Value::Object(after) = after else {
        return Err(Status::internal("the patched object is no object"));
    };
    if Some(&after) == before.as_object() {
        return Ok(None);
    }
    let own = &request.target.kind;
    let is_whole = request.shows_whole_objects();
    let after = if is_whole {
        let shaped = default_object(kind, after);
        shaped.map_err(|status| Status::internal(status.message))?
    } else {
        after
    };
    request.convert(kind, own, after).await.map(Some)
}

#[async_trait]
impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let configurations = self.hooks.get(attributes.registry);
        if configurations.is_empty() || is_configuration(attributes.target) {
            return Ok(());
        }
        let mut request = Request::new(attributes);
        let is_second = attributes.reinvocation.is_second;
        attributes
            .reinvocation
            .webhooks
            .begin(is_second, request.object.as_ref());
        for hook in configurations.iter().flat_map(|hooks| hooks.iter()) {
            let Some(kind) = is_meant(hook, &request, &self.authorizer).await? else {
                continue;
            };
            let reinvocation = &mut attributes.reinvocation;
            if is_second && !reinvocation.webhooks.is_due(&hook.key) {
                continue;
            }
            let changed = match ask(hook, &request, &kind, true).await {
                Ok(operations) if operations.is_empty() => None,
                Ok(operations) => patched(hook, &request, &kind, &operations).await?,
                Err(refusal) => {
                    judge(hook, refusal)?;
                    None
                }
            };
            if let Some(tree) = changed {
                request.object = Some(tree);
                reinvocation.webhooks.object_changed();
                reinvocation.is_wanted = true;
            }
            if hook.is_reinvoked {
                reinvocation.webhooks.asked(&hook.key);
            }
        }
        attributes
            .reinvocation
            .webhooks
            .end(request.object.as_ref());
        let changed = request.object.take();
        if let (Some(object), Some(changed)) = (attributes.object.as_deref_mut(), changed) {
            *object = changed;
        }
        Ok(())
    }
}
