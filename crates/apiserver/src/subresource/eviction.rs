//! `eviction`: a deletion that asks the pod's disruption budget first (KEP-85).

use crate::dispatch::Answer;
use crate::registry::{Check, DeleteRequest, RequestContext, Target, WriteOptions, note_update};
use crate::server::Inner;
use kontiki_client::{DeleteOptions, Preconditions};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Cause, LabelSelector, Object, SharedObject, Status, Value, time};
use serde_json::json;
use std::sync::Arc;

/// Deletions that are under way at once, as a budget records them.
const DISRUPTED_PODS_MAX: usize = 2000;
/// How often an eviction is tried again because the pod changed meanwhile.
const ATTEMPTS_MAX: usize = 20;
/// Who writes a budget's status here.
const MANAGER: &str = "kube-apiserver";

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
    if wish["metadata"]["name"].as_str().unwrap_or_default() != target.name {
        let text = "name in URL does not match name in Eviction object";
        return Err(Status::bad_request(text));
    }
    let eviction = Eviction {
        inner,
        context,
        target: Target::object(&target.kind, &target.namespace, &target.name),
        request: deletion(&wish, options),
    };
    eviction.run().await?;
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
        orphan_dependents: own["orphanDependents"].as_bool(),
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

/// What a budget says about a pod.
enum Verdict {
    /// The deletion may go on.
    Free,
    /// It may go on as long as the pod is what was judged.
    FreeAsItIs,
}

struct Eviction<'a> {
    inner: &'a Inner,
    context: &'a RequestContext,
    /// The pod.
    target: Target,
    request: DeleteRequest,
}

impl Eviction<'_> {
    async fn run(&self) -> Result<(), Status> {
        let asks_for_version = self
            .request
            .options
            .preconditions
            .resource_version
            .is_some();
        for attempt in 1.. {
            let outcome = self.attempt().await;
            match outcome {
                Err(status) if status.is_conflict() && !asks_for_version => {
                    if attempt >= ATTEMPTS_MAX || self.pod_is_another().await {
                        return Err(status);
                    }
                }
                other => return other,
            }
        }
        unreachable!("the loop above returns")
    }

    /// Whether trying again is in vain: the caller means another pod.
    async fn pod_is_another(&self) -> bool {
        let wanted = self.request.options.preconditions.uid.as_deref();
        match self.inner.registry.get(&self.target, "").await {
            Ok(pod) => wanted.is_some_and(|uid| uid != pod.uid()),
            Err(_) => true,
        }
    }

    async fn attempt(&self) -> Result<(), Status> {
        let pod = self.inner.registry.get(&self.target, "").await?;
        let mut request = self.request.clone();
        if is_guarded(&pod)
            && let Verdict::FreeAsItIs = self.ask_budget(&pod).await?
        {
            let wanted = &mut request.options.preconditions.resource_version;
            wanted.get_or_insert_with(|| pod.resource_version().to_owned());
        }
        if !request.dry_run {
            let version = self.tell_pod(&request).await?;
            if let Some(wanted) = &mut request.options.preconditions.resource_version {
                *wanted = version;
            }
        }
        let registry = &self.inner.registry;
        registry
            .delete(self.context, &self.target, &request)
            .await
            .map(|_| ())
    }

    /// Notes on the pod why it goes; answers its new version.
    async fn tell_pod(&self, request: &DeleteRequest) -> Result<String, Status> {
        let wanted = request.options.preconditions.clone();
        let now = time::format(self.context.now);
        let mut edit = |pod: &mut Tree| {
            let object = Object::new(std::mem::take(pod));
            let checked = check(&wanted, &object);
            *pod = object.into_tree();
            checked?;
            mark(pod, &now);
            Ok(())
        };
        let options = WriteOptions::default();
        let registry = &self.inner.registry;
        let outcome = registry
            .edit(
                self.context,
                &self.target,
                &options,
                Check::Nothing,
                &mut edit,
            )
            .await?;
        Ok(outcome.object.resource_version().to_owned())
    }

    async fn ask_budget(&self, pod: &SharedObject) -> Result<Verdict, Status> {
        let registry = &self.inner.registry;
        let kind = registry
            .catalog()
            .find("policy", "v1", "poddisruptionbudgets");
        let Some(kind) = kind else {
            return Ok(Verdict::Free);
        };
        let selects = |budget: &SharedObject| {
            LabelSelector::from_field(budget.get(&["spec", "selector"]))
                .is_ok_and(|selector| selector.matches(pod))
        };
        let mut matching = registry.cached_list(&kind, pod.namespace());
        matching.retain(selects);
        let budget = match &matching[..] {
            [] => return Ok(Verdict::Free),
            [one] => one,
            _ => {
                let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(Status::failure(500, "", text));
            }
        };
        if !is_ready(pod) {
            let always = budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]);
            let number = |field: &str| {
                let number = budget.get(&["status", field]).and_then(Value::as_i64);
                number.unwrap_or_default()
            };
            let (current, desired) = (number("currentHealthy"), number("desiredHealthy"));
            if always == Some("AlwaysAllow") || (current >= desired && desired > 0) {
                return Ok(Verdict::FreeAsItIs);
            }
        }
        self.spend(&kind, budget, pod.name()).await?;
        Ok(Verdict::Free)
    }

    async fn spend(&self, kind: &Arc<Kind>, budget: &Object, pod: &str) -> Result<(), Status> {
        let mut target = Target::object(kind, budget.namespace(), budget.name());
        "status".clone_into(&mut target.subresource);
        let now = time::format(self.context.now);
        let options = WriteOptions {
            dry_run: self.request.dry_run,
            field_manager: MANAGER.to_owned(),
            ..WriteOptions::default()
        };
        let context = self.context;
        let mut edit = |tree: &mut Tree| {
            let live = tree.clone();
            take(tree, pod, &now)?;
            note_update(&target, context, &options, &live, tree);
            Ok(())
        };
        let registry = &self.inner.registry;
        registry
            .edit(context, &target, &options, Check::Status, &mut edit)
            .await
            .map(|_| ())
    }
}

fn check(wanted: &Preconditions, pod: &Object) -> Result<(), Status> {
    let refused = |why: String| Err(Status::conflict("", "Pod", pod.name(), &why));
    let (uid, version) = (pod.uid(), pod.resource_version());
    match wanted {
        Preconditions {
            uid: Some(asked), ..
        } if asked != uid => refused(format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        )),
        Preconditions {
            resource_version: Some(asked),
            ..
        } if asked != version => refused(format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        )),
        _ => Ok(()),
    }
}

/// Sets the pod's condition `DisruptionTarget` (KEP-3329).
fn mark(pod: &mut Tree, now: &str) {
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": now,
    });
    let status = pod.entry("status").or_insert_with(|| json!({}));
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let own = conditions
        .iter_mut()
        .find(|own| own["type"] == "DisruptionTarget");
    match own {
        Some(own) => {
            if own["status"] == "True" {
                condition["lastTransitionTime"] = own["lastTransitionTime"].clone();
            }
            *own = condition;
        }
        None => conditions.push(condition),
    }
}

/// Takes one disruption from a budget, or tells why there is none.
fn take(tree: &mut Tree, pod: &str, now: &str) -> Result<(), Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let name = text(&tree["metadata"]["name"]);
    let generation = number(&tree["metadata"]["generation"]);
    let status = tree.entry("status").or_insert_with(|| json!({}));
    if number(&status["observedGeneration"]) < generation {
        return Err(refuse(
            10,
            format!("The disruption budget {name} is still being processed by the server."),
        ));
    }
    let allowed = number(&status["disruptionsAllowed"]);
    let forbidden = |why: &str| Status::forbidden("policy", "poddisruptionbudget", &name, why);
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted = status["disruptedPods"].as_object();
    if disrupted.is_some_and(|pods| pods.len() > DISRUPTED_PODS_MAX) {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let failed = conditions.into_iter().find(|condition| {
            condition["type"] == "DisruptionAllowed"
                && condition["reason"] == "SyncFailed"
                && condition["status"] == "False"
        });
        let why = match failed {
            Some(condition) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                text(&condition["message"])
            ),
            None => format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number(&status["desiredHealthy"]),
                number(&status["currentHealthy"])
            ),
        };
        return Err(refuse(0, why));
    }
    status["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        exhaust(status, now);
    }
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = now.into();
    Ok(())
}

/// The budget's condition once nothing is left of it.
fn exhaust(status: &mut Value, now: &str) {
    let mut condition = json!({
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "InsufficientPods",
        "message": "",
        "lastTransitionTime": now,
        "observedGeneration": status["observedGeneration"],
    });
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let own = conditions
        .iter_mut()
        .find(|own| own["type"] == "DisruptionAllowed");
    match own {
        Some(own) => {
            if own["status"] == "False" {
                condition["lastTransitionTime"] = own["lastTransitionTime"].clone();
            }
            *own = condition;
        }
        None => conditions.push(condition),
    }
}

fn refuse(retry_after_seconds: u16, why: String) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(message, retry_after_seconds);
    if let Some(details) = &mut status.details {
        details.causes = vec![Cause {
            reason: "DisruptionBudget".to_owned(),
            message: why,
            ..Cause::default()
        }];
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Tree {
        let budget = json!({"metadata": {"name": "b", "generation": 2}, "status": status});
        budget.as_object().expect("a map").clone()
    }

    #[test]
    fn a_budget_that_allows_nothing_says_why() {
        let rows = [
            (
                json!({"observedGeneration": 1, "disruptionsAllowed": 1}),
                429,
                10,
            ),
            (
                json!({"observedGeneration": 2, "disruptionsAllowed": 0}),
                429,
                0,
            ),
            (
                json!({"observedGeneration": 2, "disruptionsAllowed": -1}),
                403,
                0,
            ),
        ];
        for (status, code, retry) in rows {
            let refused = take(&mut budget(status), "p", "now").expect_err("is refused");
            let wait = refused
                .details
                .map_or(0, |details| details.retry_after_seconds);
            assert_eq!((refused.code, wait), (code, retry), "{}", refused.message);
        }
    }

    #[test]
    fn the_last_disruption_sets_the_condition_and_every_one_names_its_pod() {
        let mut tree = budget(json!({"observedGeneration": 2, "disruptionsAllowed": 2}));
        take(&mut tree, "p", "t1").expect("is allowed");
        assert_eq!(tree["status"]["disruptionsAllowed"], 1);
        assert_eq!(tree["status"].get("conditions"), None);
        take(&mut tree, "q", "t2").expect("is allowed");
        let status = &tree["status"];
        assert_eq!(status["disruptedPods"], json!({"p": "t1", "q": "t2"}));
        assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
        assert_eq!(status["conditions"][0]["observedGeneration"], 2);
    }

    #[test]
    fn a_pod_that_is_evicted_again_keeps_the_time_of_its_condition() {
        let mut pod = Tree::new();
        mark(&mut pod, "t1");
        mark(&mut pod, "t2");
        let conditions = pod["status"]["conditions"].as_array().expect("a list");
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0]["lastTransitionTime"], "t1");
    }
}
