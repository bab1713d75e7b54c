//! Requests for resources.

use super::body::{self, Expected};
use super::encode::List;
use super::handler::{Call, not_acceptable};
use super::negotiate::{Format, Shape, negotiate};
use super::{options, watch};
use crate::dispatch::{self, Action, Answer};
use crate::registry::{ListPage, PatchBody, Target, returns_object};
use crate::subresource::{answered_kind, not_allowed};
use crate::{connect, error};
use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use kontiki_client::PatchKind;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Status, Value};
use std::sync::Arc;

type Warned<T> = (T, Vec<String>);

/// Answers a request for a resource.
///
/// # Errors
/// The status that refuses it, with warnings.
pub async fn answer(mut call: Call, body: Body) -> Result<Warned<Response<Body>>, Warned<Status>> {
    let result = respond(&mut call, body).await;
    let warnings = call.context.warnings();
    match result {
        Ok(response) => Ok((response, warnings)),
        Err(status) => Err((status, warnings)),
    }
}

fn target(call: &Call) -> Result<Target, Status> {
    let info = &call.info;
    let kind = call
        .inner
        .registry
        .catalog()
        .find(&info.group, &info.version, &info.resource)
        .ok_or_else(Status::no_such_path)?;
    // A namespace's own path says the namespace twice.
    let namespace = if kind.namespaced {
        info.namespace.clone()
    } else {
        String::new()
    };
    if kind.namespaced && namespace.is_empty() && !info.name.is_empty() {
        return Err(Status::no_such_path());
    }
    if !kind.namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(Status::no_such_path());
    }
    Ok(Target {
        kind,
        namespace,
        name: info.name.clone(),
        subresource: info.subresource.clone(),
    })
}

fn check_verb(call: &Call, target: &Target) -> Result<(), Status> {
    let kind = &target.kind;
    let info = &call.info;
    let verb = &*info.verb;
    let is_served = if target.subresource.is_empty() {
        let needs_namespace = kind.namespaced && target.namespace.is_empty();
        kind.has_verb(verb)
            && !(needs_namespace && matches!(verb, "create" | "deletecollection"))
            && (verb != "create" || target.name.is_empty())
            && !(matches!(verb, "update" | "patch") && target.name.is_empty())
    } else {
        let sub = kind
            .subresource(&target.subresource)
            .ok_or_else(Status::no_such_path)?;
        sub.verbs.iter().any(|served| served == verb)
    };
    if is_served {
        Ok(())
    } else {
        Err(not_allowed())
    }
}

async fn respond(call: &mut Call, request_body: Body) -> Result<Response<Body>, Status> {
    let target = target(call)?;
    if connect::is_connect(&target) {
        return connect::answer(call, &target, request_body).await;
    }
    check_verb(call, &target)?;
    if let Some(text) = deprecation(&target.kind) {
        call.context.warn(text);
    }
    let reads_many = call.info.verb == "list";
    let watches = call.info.verb == "watch";
    let agreed = negotiate(&call.parts.headers, |shape| match shape {
        Shape::Table | Shape::Partial => true,
        Shape::Plain => true,
        Shape::Discovery(_) => false,
    });
    // A stream has no form in YAML.
    let agreed = agreed.filter(|agreed| !watches || agreed.format != Format::Yaml);
    call.encoder.agreed = agreed.ok_or_else(|| {
        if watches {
            error::not_acceptable(&super::negotiate::STREAM_TYPES)
        } else if reads_many {
            list_not_acceptable()
        } else {
            not_acceptable()
        }
    })?;
    if call.info.verb == "watch" {
        let request = options::watch(&call.query)?;
        let watching = call.inner.registry.watch(&target, &request).await?;
        return Ok(watch::respond(watching, call.encoder.clone(), Box::new(())));
    }
    let action = action(call, &target, request_body).await?;
    let answer = dispatch::perform(&call.inner, &call.context, &target, action).await?;
    Ok(encode(call, answered_kind(&target), answer))
}

/// What upstream warns about whoever uses a kind that is on its way out.
fn deprecation(kind: &Kind) -> Option<&'static str> {
    match (&*kind.group, &*kind.plural) {
        ("", "endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

fn list_not_acceptable() -> Status {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let mut status = Status::failure(406, "NotAcceptable", message);
    status.details = Some(kontiki_object::Details::default());
    status
}

async fn action(call: &Call, target: &Target, request_body: Body) -> Result<Action, Status> {
    let query = &call.query;
    let agent = call.user_agent();
    Ok(match &*call.info.verb {
        "get" => Action::Get {
            resource_version: query.get("resourceVersion").to_owned(),
        },
        "list" => Action::List(options::list(query)?),
        "create" => {
            let options = options::write(query, "CreateOptions", agent, false)?;
            let bytes = body::read(request_body).await?;
            let tree = decode(call, target, &bytes, options.field_validation)?;
            Action::Create(tree, options)
        }
        "update" => {
            let options = options::write(query, "UpdateOptions", agent, false)?;
            let bytes = body::read(request_body).await?;
            let tree = decode(call, target, &bytes, options.field_validation)?;
            Action::Update(tree, options)
        }
        "patch" => {
            let kind = patch_kind(call)?;
            let is_apply = kind == PatchKind::Apply;
            let options = options::write(query, "PatchOptions", agent, is_apply)?;
            let bytes = body::read(request_body).await?;
            let json = if is_apply { apply_json(&bytes)? } else { bytes };
            Action::Patch(PatchBody { kind, json }, options)
        }
        "delete" => Action::Delete(delete_request(call, request_body).await?),
        "deletecollection" => {
            let list = options::list(query)?;
            Action::DeleteCollection(list, delete_request(call, request_body).await?)
        }
        _ => return Err(not_allowed()),
    })
}

async fn delete_request(
    call: &Call,
    request_body: Body,
) -> Result<crate::registry::DeleteRequest, Status> {
    let bytes = body::read(request_body).await?;
    if bytes.is_empty() {
        return options::delete(&call.query, None);
    }
    let expected = Expected {
        api_version: "meta.k8s.io/v1".to_owned(),
        kind: "DeleteOptions",
        schema: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    };
    // Any group's version of `DeleteOptions` will do.
    let mut value = match body::content_type(&call.parts.headers) {
        "application/vnd.kubernetes.protobuf" => kontiki_schema::protobuf::decode_object(&bytes)
            .map_err(|error| Status::bad_request(error.to_string()))?,
        "application/json" | "application/yaml" => {
            body::yaml(&bytes).map_err(Status::bad_request)?
        }
        _ => {
            return Err(error::unsupported_media_type(
                &super::negotiate::MEDIA_TYPES,
            ));
        }
    };
    let kind = value["kind"].as_str().unwrap_or(expected.kind);
    if kind != expected.kind {
        return Err(Status::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: it is a {kind}"
        )));
    }
    if !value.is_object() {
        value = Value::Object(Tree::new());
    }
    options::delete(&call.query, Some(&value))
}

fn decode(
    call: &Call,
    target: &Target,
    bytes: &Bytes,
    validation: crate::registry::FieldValidation,
) -> Result<Tree, Status> {
    let kind = &target.kind;
    let sub = kind
        .subresource(&target.subresource)
        .filter(|sub| sub.kind != kind.kind);
    let expected = match sub {
        None => Expected {
            api_version: kind.api_version(),
            kind: &kind.kind,
            schema: &kind.schema,
        },
        Some(sub) => Expected {
            api_version: match (&*sub.group, &*sub.version) {
                ("", "") => kind.api_version(),
                ("", version) => version.to_owned(),
                (group, version) => format!("{group}/{version}"),
            },
            kind: &sub.kind,
            schema: "",
        },
    };
    body::decode(
        &call.parts.headers,
        bytes,
        &expected,
        validation,
        &call.context,
    )
}

fn patch_kind(call: &Call) -> Result<PatchKind, Status> {
    match body::content_type(&call.parts.headers) {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::StrategicMerge),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ => Err(error::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/strategic-merge-patch+json",
        ])),
    }
}

fn apply_json(bytes: &[u8]) -> Result<Bytes, Status> {
    let value = body::yaml(bytes)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    let json = serde_json::to_vec(&value).map_err(Status::internal)?;
    Ok(json.into())
}

fn encode(call: &Call, kind: &Arc<Kind>, answer: Answer) -> Response<Body> {
    let encoder = &call.encoder;
    match answer {
        Answer::Object { object, created } => {
            let code = if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            encoder.object(code, kind, &object)
        }
        Answer::Deleted(outcome) => match &outcome {
            crate::registry::DeleteOutcome::Gone(_) if !returns_object(kind) => {
                encoder.status(&outcome.status(kind))
            }
            _ => encoder.object(StatusCode::OK, kind, outcome.object()),
        },
        Answer::Status(status) => encoder.status(&status),
        Answer::List(page) => encoder.list(List {
            kind,
            items: &page.items,
            metadata: list_metadata(&page),
        }),
    }
}

fn list_metadata(page: &ListPage) -> Tree {
    let mut metadata = Tree::new();
    if page.revision > 0 {
        metadata.insert(
            "resourceVersion".to_owned(),
            page.revision.to_string().into(),
        );
    }
    if !page.continue_token.is_empty() {
        metadata.insert("continue".to_owned(), page.continue_token.clone().into());
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".to_owned(), remaining.into());
    }
    metadata
}
