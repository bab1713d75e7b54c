//! `eviction`: a deletion that asks the pod's disruption budget first (KEP-85).

use crate::dispatch::Answer;
use crate::registry::{DeleteRequest, RequestContext, Target, WriteOptions};
use crate::server::Inner;
use kontiki_client::{DeleteOptions, Preconditions};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Cause, LabelSelector, Object, SharedObject, Status, Value, time};
use serde_json::json;
use std::sync::Arc;

/// Deletions that are under way at once, as a budget records them.
const DISRUPTED_PODS_MAX: usize = 2000;

/// Evicts a pod.
///
/// # Errors
/// 429 if a budget does not allow it now, 500 if several budgets match, or
/// what a deletion answers.
pub async fn evict(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    eviction: &Tree,
    options: &WriteOptions,
) -> Result<Answer, Status> {
    let wish = Value::Object(eviction.clone());
    let pod_target = Target::object(&target.kind, &target.namespace, &target.name);
    let pod = inner.registry.get(&pod_target, "").await?;
    let request = deletion(&wish, options);
    if is_guarded(&pod) {
        let budgets = inner
            .registry
            .catalog()
            .find("policy", "v1", "poddisruptionbudgets");
        if let Some(kind) = budgets {
            spend(inner, context, &kind, &pod, &request).await?;
        }
    }
    inner
        .registry
        .delete(context, &pod_target, &request)
        .await?;
    let mut status = Status::success(None);
    status.code = 201;
    Ok(Answer::Status(status))
}

fn deletion(wish: &Value, options: &WriteOptions) -> DeleteRequest {
    let own = &wish["deleteOptions"];
    let text = |field: &str| own["preconditions"][field].as_str().map(str::to_owned);
    DeleteRequest {
        options: DeleteOptions {
            grace_period_seconds: own["gracePeriodSeconds"].as_i64(),
            preconditions: Preconditions {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            },
            propagation_policy: None,
        },
        orphan_dependents: None,
        dry_run: options.dry_run || own["dryRun"].as_array().is_some_and(|all| !all.is_empty()),
    }
}

/// Pods that do not run, or go already, cost no budget.
fn is_guarded(pod: &Object) -> bool {
    let phase = pod.str_at(&["status", "phase"]).unwrap_or_default();
    !pod.is_terminating() && !matches!(phase, "Succeeded" | "Failed" | "Pending")
}

fn is_ready(pod: &Object) -> bool {
    pod.get(&["status", "conditions"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

async fn spend(
    inner: &Inner,
    context: &RequestContext,
    kind: &Arc<Kind>,
    pod: &SharedObject,
    request: &DeleteRequest,
) -> Result<(), Status> {
    let all = inner.registry.cached_list(kind, pod.namespace());
    let matching: Vec<SharedObject> = all
        .into_iter()
        .filter(|budget| {
            LabelSelector::from_field(budget.get(&["spec", "selector"]))
                .is_ok_and(|selector| selector.matches(pod))
        })
        .collect();
    let budget = match &matching[..] {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(Status::failure(
                500,
                "InternalError",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let always = budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow");
    if !is_ready(pod) && always {
        return Ok(());
    }
    let mut target = Target::object(kind, budget.namespace(), budget.name());
    "status".clone_into(&mut target.subresource);
    let now = time::format(context.now);
    let name = pod.name().to_owned();
    let healthy = is_ready(pod);
    let mut edit = |tree: &mut Tree| take(tree, &name, healthy, &now);
    let options = WriteOptions {
        dry_run: request.dry_run,
        ..WriteOptions::default()
    };
    inner
        .registry
        .edit(context, &target, &options, false, &mut edit)
        .await
        .map(|_| ())
}

fn take(tree: &mut Tree, pod: &str, healthy: bool, now: &str) -> Result<(), Status> {
    let name = tree["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let status = tree.entry("status").or_insert_with(|| json!({}));
    let (current, desired) = (
        number(&status["currentHealthy"]),
        number(&status["desiredHealthy"]),
    );
    if !healthy && current >= desired && desired > 0 {
        return Ok(());
    }
    let generation = status["observedGeneration"].as_i64().unwrap_or_default();
    let disrupted = status["disruptedPods"]
        .as_object()
        .map_or(0, |pods| pods.len());
    let allowed = number(&status["disruptionsAllowed"]);
    let wanted = tree["metadata"]["generation"].as_i64().unwrap_or_default();
    if generation < wanted {
        return Err(refuse(
            10,
            &format!("The disruption budget {name} is still being processed by the server."),
        ));
    }
    if disrupted > DISRUPTED_PODS_MAX {
        return Err(refuse(
            0,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed <= 0 {
        return Err(refuse(
            0,
            &format!(
                "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
            ),
        ));
    }
    let status = tree.entry("status").or_insert_with(|| json!({}));
    status["disruptionsAllowed"] = (allowed - 1).into();
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = now.into();
    Ok(())
}

fn refuse(retry_after_seconds: u16, why: &str) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(message, retry_after_seconds);
    if let Some(details) = &mut status.details {
        details.causes = vec![Cause {
            reason: "DisruptionBudget".to_owned(),
            message: why.to_owned(),
            ..Cause::default()
        }];
    }
    status
}
