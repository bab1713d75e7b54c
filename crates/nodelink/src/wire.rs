//! Between the client crate's requests and their form on the wire.

use crate::proto::{Call, ListOptions, ObjectList, Reply, Verb as WireVerb, reply};
use bytes::Bytes;
use kontiki_client::{
    ApiRequest, ApiResponse, DeleteOptions, ListParams, PatchKind, Preconditions,
    PropagationPolicy, Verb, WriteOptions,
};
use kontiki_object::{GroupVersionResource, Object, Status};
use std::borrow::Cow;
use std::sync::Arc;

fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The call that carries a request.
pub fn call(id: u64, request: ApiRequest) -> Call {
    let verb = match request.verb {
        Verb::Get => WireVerb::Get,
        Verb::List => WireVerb::List,
        Verb::Create => WireVerb::Create,
        Verb::Update => WireVerb::Update,
        Verb::Patch(PatchKind::Json) => WireVerb::PatchJson,
        Verb::Patch(PatchKind::Merge) => WireVerb::PatchMerge,
        Verb::Patch(PatchKind::StrategicMerge) => WireVerb::PatchStrategic,
        Verb::Patch(PatchKind::Apply) => WireVerb::Apply,
        Verb::Delete => WireVerb::Delete,
        Verb::DeleteCollection => WireVerb::DeleteCollection,
    };
    let body = request
        .body
        .map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let policy = match request.delete.propagation_policy {
        None => "",
        Some(PropagationPolicy::Orphan) => "Orphan",
        Some(PropagationPolicy::Background) => "Background",
        Some(PropagationPolicy::Foreground) => "Foreground",
    };
    Call {
        id,
        verb: verb.into(),
        group: request.resource.group.into_owned(),
        version: request.resource.version.into_owned(),
        resource: request.resource.resource.into_owned(),
        namespace: request.namespace.unwrap_or_default(),
        name: request.name.unwrap_or_default(),
        subresource: request.subresource.unwrap_or_default().into_owned(),
        body: Bytes::from(body),
        list: Some(ListOptions {
            label_selector: request.list.label_selector,
            field_selector: request.list.field_selector,
            limit: request.list.limit,
            continue_token: request.list.continue_token,
            resource_version: request.list.resource_version,
            resource_version_match: request.list.resource_version_match,
        }),
        field_manager: request.write.field_manager,
        force: request.write.force,
        dry_run: request.write.dry_run,
        grace_period_seconds: request.delete.grace_period_seconds,
        precondition_uid: request.delete.preconditions.uid.unwrap_or_default(),
        precondition_resource_version: request
            .delete
            .preconditions
            .resource_version
            .unwrap_or_default(),
        propagation_policy: policy.to_owned(),
    }
}

/// The request that a call carries.
pub fn request(call: Call) -> Result<ApiRequest, Status> {
    let verb = match WireVerb::try_from(call.verb) {
        Ok(WireVerb::Get) => Verb::Get,
        Ok(WireVerb::List) => Verb::List,
        Ok(WireVerb::Create) => Verb::Create,
        Ok(WireVerb::Update) => Verb::Update,
        Ok(WireVerb::PatchJson) => Verb::Patch(PatchKind::Json),
        Ok(WireVerb::PatchMerge) => Verb::Patch(PatchKind::Merge),
        Ok(WireVerb::PatchStrategic) => Verb::Patch(PatchKind::StrategicMerge),
        Ok(WireVerb::Apply) => Verb::Patch(PatchKind::Apply),
        Ok(WireVerb::Delete) => Verb::Delete,
        Ok(WireVerb::DeleteCollection) => Verb::DeleteCollection,
        Err(_) => {
            return Err(Status::bad_request(format!(
                "NodeLink call with unknown verb {}",
                call.verb
            )));
        }
    };
    let body = if call.body.is_empty() {
        None
    } else {
        let parsed = serde_json::from_slice(&call.body);
        Some(parsed.map_err(|e| {
            Status::bad_request(format!("the body of a NodeLink call is not JSON: {e}"))
        })?)
    };
    let list = call.list.unwrap_or_default();
    Ok(ApiRequest {
        verb,
        resource: GroupVersionResource {
            group: Cow::Owned(call.group),
            version: Cow::Owned(call.version),
            resource: Cow::Owned(call.resource),
        },
        namespace: none_if_empty(call.namespace),
        name: none_if_empty(call.name),
        subresource: none_if_empty(call.subresource).map(Cow::Owned),
        body,
        list: ListParams {
            label_selector: list.label_selector,
            field_selector: list.field_selector,
            limit: list.limit,
            continue_token: list.continue_token,
            resource_version: list.resource_version,
            resource_version_match: list.resource_version_match,
        },
        write: WriteOptions {
            field_manager: call.field_manager,
            force: call.force,
            dry_run: call.dry_run,
        },
        delete: DeleteOptions {
            grace_period_seconds: call.grace_period_seconds,
            preconditions: Preconditions {
                uid: none_if_empty(call.precondition_uid),
                resource_version: none_if_empty(call.precondition_resource_version),
            },
            propagation_policy: match call.propagation_policy.as_str() {
                "Orphan" => Some(PropagationPolicy::Orphan),
                "Background" => Some(PropagationPolicy::Background),
                "Foreground" => Some(PropagationPolicy::Foreground),
                _ => None,
            },
        },
    })
}

/// The reply that carries an answer.
pub fn reply(id: u64, answer: Result<ApiResponse, Status>) -> Reply {
    let result = match answer {
        Ok(ApiResponse::Object(object)) => reply::Result::Object(object.json()),
        Ok(ApiResponse::List {
            items,
            resource_version,
            continue_token,
        }) => reply::Result::List(ObjectList {
            items: items.iter().map(|item| item.json()).collect(),
            resource_version,
            continue_token,
        }),
        Err(status) => reply::Result::Failure(Bytes::from(
            serde_json::to_vec(&status).expect("a Status always encodes"),
        )),
    };
    Reply {
        id,
        result: Some(result),
    }
}

fn object(json: &[u8]) -> Result<Arc<Object>, Status> {
    let tree = serde_json::from_slice(json);
    let tree = tree
        .map_err(|e| Status::internal(format!("a server sent an object that is not JSON: {e}")))?;
    Ok(Arc::new(Object::new(tree)))
}

/// An object out of an upsert.
pub fn received(json: &[u8]) -> Result<Arc<Object>, Status> {
    object(json)
}

/// The answer that a reply carries.
pub fn answer(reply: Reply) -> Result<ApiResponse, Status> {
    match reply.result {
        Some(reply::Result::Object(json)) => Ok(ApiResponse::Object(object(&json)?)),
        Some(reply::Result::List(list)) => Ok(ApiResponse::List {
            items: list
                .items
                .iter()
                .map(|item| object(item))
                .collect::<Result<_, _>>()?,
            resource_version: list.resource_version,
            continue_token: list.continue_token,
        }),
        Some(reply::Result::Failure(json)) => {
            Err(serde_json::from_slice(&json).unwrap_or_else(|e| {
                Status::internal(format!("a server sent a failure that is no Status: {e}"))
            }))
        }
        None => Err(Status::internal("a server sent an empty reply")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        let sent = ApiRequest {
            verb: Verb::Patch(PatchKind::StrategicMerge),
            resource: kontiki_client::resources::PODS,
            namespace: Some("n".into()),
            name: Some("p".into()),
            subresource: Some("status".into()),
            body: Some(serde_json::json!({"status": {}})),
            list: ListParams {
                limit: 3,
                ..ListParams::default()
            },
            write: WriteOptions {
                field_manager: "kubelet".into(),
                force: true,
                dry_run: false,
            },
            delete: DeleteOptions {
                grace_period_seconds: Some(0),
                preconditions: Preconditions {
                    uid: Some("u".into()),
                    resource_version: None,
                },
                propagation_policy: Some(PropagationPolicy::Foreground),
            },
        };
        let received = request(call(1, sent.clone())).expect("valid");
        assert_eq!(format!("{sent:?}"), format!("{received:?}"));
    }

    #[test]
    fn a_failure_survives_the_wire() {
        let sent = Status::not_found("", "pods", "p");
        let received = answer(reply(1, Err(sent.clone()))).expect_err("a failure");
        assert_eq!(sent, received);
    }
}
