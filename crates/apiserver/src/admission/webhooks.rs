//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: others are asked.

mod hook;
mod mutating;
mod review;
mod validating;

pub(super) use mutating::MutatingAdmissionWebhook;
pub(super) use validating::ValidatingAdmissionWebhook;

use super::dynamic::{Request, Subject};
use hook::Hook;
use kontiki_auth::Authorizer;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Status, Value};
use std::sync::Arc;

/// Why a webhook does not let a request pass.
enum Refusal {
    /// It could not be asked: its failure policy decides.
    Calling(String),
    /// It said no, or must not be asked.
    Final(Status),
}

/// Whether a webhook is to be asked about a request, and as which kind it is
/// meant.
async fn is_meant(
    hook: &Hook,
    request: &Request<'_>,
    authorizer: &Arc<dyn Authorizer>,
) -> Result<Option<Arc<Kind>>, Status> {
    let Some(kind) = hook.criteria.matches(request).await? else {
        return Ok(None);
    };
    if hook.conditions.is_empty() {
        return Ok(Some(kind));
    }
    let (object, old) = shown(request, &kind).await?;
    let namespace = request.namespace_object().await?;
    let subject = Subject {
        request,
        kind: &kind,
        object: object.as_ref(),
        old: old.as_ref(),
        namespace: namespace.as_deref(),
        authorizer,
    };
    match hook.conditions.hold(&subject.activation(None, &[])) {
        Ok(true) => Ok(Some(kind)),
        Ok(false) => Ok(None),
        Err(why) if hook.fails_closed => {
            let own = &request.target.kind;
            Err(Status::forbidden(
                &own.group,
                &own.plural,
                &request.name,
                &why,
            ))
        }
        Err(_) => Ok(None),
    }
}

async fn shown(
    request: &Request<'_>,
    kind: &Kind,
) -> Result<(Option<Value>, Option<Value>), Status> {
    let (object, old): (Option<Tree>, Option<Tree>) = request.shown_as(kind).await?;
    Ok((object.map(Value::Object), old.map(Value::Object)))
}

/// Asks a webhook; answers the operations of its patch.
async fn ask(
    hook: &Hook,
    request: &Request<'_>,
    kind: &Kind,
    is_mutating: bool,
) -> Result<Vec<Value>, Refusal> {
    if request.dry_run && !hook.is_free_of_side_effects {
        return Err(Refusal::Final(Status::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            hook.name
        ))));
    }
    let (object, old) = shown(request, kind).await.map_err(Refusal::Final)?;
    let asked = review::Review::new(hook, request, kind, object, old);
    let caller = request.registry.webhooks();
    let body = asked.body().map_err(Refusal::Calling)?;
    let answer = caller
        .call(&hook.client_config, body, hook.timeout)
        .await
        .map_err(|why| Refusal::Calling(format!("failed to call webhook: {why}")))?;
    let answer = asked
        .read(&answer, is_mutating)
        .map_err(|why| match why {
            review::Unreadable::Body(why) => format!("failed to call webhook: {why}"),
            review::Unreadable::Answer(why) => format!("received invalid webhook response: {why}"),
        })
        .map_err(Refusal::Calling)?;
    for (key, value) in &answer.annotations {
        let key = format!("{}/{key}", hook.name);
        request.context.annotate(&key, value.clone());
    }
    for warning in answer.warnings {
        request.context.warn(warning);
    }
    match answer.refusal {
        Some(status) => Err(Refusal::Final(status)),
        None => Ok(answer.patch),
    }
}

/// What becomes of a request that a webhook does not let pass: nothing, if the
/// webhook could not be asked and may be passed over.
fn judge(hook: &Hook, refusal: Refusal) -> Result<(), Status> {
    match refusal {
        Refusal::Final(status) => Err(status),
        Refusal::Calling(why) => {
            let why = format!("failed calling webhook {:?}: {why}", hook.name);
            if hook.fails_closed {
                return Err(Status::internal(why));
            }
            tracing::warn!(configuration = hook.configuration, why, "passed over");
            Ok(())
        }
    }
}
