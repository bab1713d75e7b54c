//! `binding`: the scheduler's decision.

use crate::dispatch::Answer;
use crate::registry::{Check, RequestContext, Target, WriteOptions};
use crate::server::Inner;
use kontiki_kinds::Tree;
use kontiki_object::{Status, Value, time};
use serde_json::json;

/// Binds a pod to a node.
///
/// # Errors
/// 404, 409 if it is bound or going, or what an update answers.
pub async fn bind(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    binding: &Tree,
    options: &WriteOptions,
) -> Result<Answer, Status> {
    let wish = Value::Object(binding.clone());
    let name = wish["metadata"]["name"].as_str().unwrap_or_default();
    if name != target.name {
        let text = "name in URL does not match name in Binding object";
        return Err(Status::bad_request(text));
    }
    let node = wish["target"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let kind = wish["target"]["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") || node.is_empty() {
        let text = if node.is_empty() {
            "target.name: Required value".to_owned()
        } else {
            format!(
                "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
            )
        };
        return Err(Status::failure(500, "", text));
    }
    let now = time::format(context.now);
    let mut edit = |pod: &mut Tree| {
        let mut value = Value::Object(std::mem::take(pod));
        let outcome = assign(&mut value, target, &node, &now, &wish);
        if let Value::Object(tree) = value {
            *pod = tree;
        }
        outcome
    };
    inner
        .registry
        .edit(context, target, options, Check::Nothing, &mut edit)
        .await?;
    let mut status = Status::success(None);
    status.code = 201;
    Ok(Answer::Status(status))
}

fn assign(
    pod: &mut Value,
    target: &Target,
    node: &str,
    now: &str,
    binding: &Value,
) -> Result<(), Status> {
    let text = |value: &Value, field: &str| -> String {
        let text = value["metadata"][field].as_str();
        text.unwrap_or_default().to_owned()
    };
    let (uid, own) = (text(binding, "uid"), text(pod, "uid"));
    if !uid.is_empty() && uid != own {
        return Err(target.other_uid(&uid, &own));
    }
    let (version, own) = (
        text(binding, "resourceVersion"),
        text(pod, "resourceVersion"),
    );
    if !version.is_empty() && version != own {
        return Err(target.other_version(&version, &own));
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Err(conflict(
            target,
            &format!(
                "pod {} is being deleted, cannot be assigned to a host",
                target.name
            ),
        ));
    }
    if let Some(bound) = pod["spec"]["nodeName"]
        .as_str()
        .filter(|name| !name.is_empty())
    {
        return Err(conflict(
            target,
            &format!("pod {} is already assigned to node {bound:?}", target.name),
        ));
    }
    if pod["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(conflict(
            target,
            &format!("pod {} has non-empty .spec.schedulingGates", target.name),
        ));
    }
    pod["spec"]["nodeName"] = node.into();
    for field in ["labels", "annotations"] {
        for (name, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            pod["metadata"][field][name.as_str()] = value.clone();
        }
    }
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now});
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        match conditions
            .iter_mut()
            .find(|condition| condition["type"] == "PodScheduled")
        {
            Some(own) => *own = scheduled,
            None => conditions.push(scheduled),
        }
    }
    Ok(())
}

fn conflict(target: &Target, why: &str) -> Status {
    Status::conflict("", "pods/binding", &target.name, why)
}
