//! Requests for resources.

use super::body::{self, Expected};
use super::encode::List;
use super::handler::{Call, not_acceptable};
use super::negotiate::{Agreed, Format, Shape, accepts_known, negotiate};
use super::{options, watch};
use crate::catalog::is_built_in_group;
use crate::dispatch::{self, Action, Answer};
use crate::registry::{ListPage, PatchBody, Target, returns_object};
use crate::subresource::{answered_kind, not_allowed};
use crate::{connect, error};
use axum::body::Body;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
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
        // Groups that are not built in answer unknown paths in plain text.
        Err(status) if status == Status::no_such_path() && !is_built_in_group(&call.info.group) => {
            let text = "404 page not found\n";
            Ok((super::health::plain(StatusCode::NOT_FOUND, text), warnings))
        }
        Err(status) => Err((status, warnings)),
    }
}

/// The kind that a path names. One that is not known may have come a moment
/// ago: then what was acknowledged is waited for.
async fn kind_of(call: &Call) -> Option<Arc<Kind>> {
    let info = &call.info;
    let catalog = call.inner.registry.catalog();
    let find = || catalog.find(&info.group, &info.version, &info.resource);
    if let Some(kind) = find() {
        return Some(kind);
    }
    if is_built_in_group(&info.group) {
        return None;
    }
    call.inner.custom.caught_up().await;
    find()
}

async fn target(call: &Call) -> Result<Target, Status> {
    let info = &call.info;
    let kind = kind_of(call).await.ok_or_else(Status::no_such_path)?;
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
    check_path_name(&info.name)?;
    Ok(Target {
        kind,
        namespace,
        name: info.name.clone(),
        subresource: info.subresource.clone(),
    })
}

/// Names are single steps of a path, in the store as well.
fn check_path_name(name: &str) -> Result<(), Status> {
    if name.contains('/') {
        return Err(Status::no_such_path());
    }
    if matches!(name, "." | "..") {
        return Err(Status::bad_request(format!(
            "Name parameter invalid: {name:?}: may not be '{name}'"
        )));
    }
    Ok(())
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
    let target = target(call).await?;
    if connect::is_connect(&target) {
        return connect::answer(call, &target, request_body).await;
    }
    check_verb(call, &target)?;
    if let Some(text) = deprecation(&target.kind) {
        call.context.warn(text);
    }
    let custom = target.kind.custom.clone();
    if let Some(text) = custom.as_ref().and_then(|custom| custom.deprecation()) {
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
    let agreed = agreed.map(|agreed| json_for_custom(agreed, &call.parts.headers, &target));
    call.encoder.agreed = agreed.flatten().ok_or_else(|| {
        if watches {
            error::not_acceptable(&super::negotiate::STREAM_TYPES)
        } else if reads_many && !accepts_known(&call.parts.headers) {
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

/// Custom objects have no protobuf form: the next best is taken.
fn json_for_custom(agreed: Agreed, headers: &HeaderMap, target: &Target) -> Option<Agreed> {
    let is_plain = matches!(agreed.shape, Shape::Plain);
    let is_own = target.subresource != "scale" && target.kind.custom.is_some();
    if !is_own || !is_plain || agreed.format != Format::Protobuf {
        return Some(agreed);
    }
    let accepted = headers.get_all(ACCEPT).iter();
    let others: Vec<&str> = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|text| !text.starts_with("application/vnd.kubernetes.protobuf"))
        .collect();
    if others.is_empty() {
        return None;
    }
    let mut left = HeaderMap::new();
    left.insert(ACCEPT, HeaderValue::from_str(&others.join(",")).ok()?);
    negotiate(&left, |_| true)
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
            if let Some(custom) = &target.kind.custom
                && custom.is_terminating()
            {
                return Err(terminating(target));
            }
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
            if kind == PatchKind::StrategicMerge && is_custom(target) {
                return Err(error::unsupported_media_type(&PATCHES[..3]));
            }
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
        group: "meta.k8s.io",
        custom: None,
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
            group: &kind.group,
            custom: kind.custom.as_deref(),
        },
        Some(sub) => Expected {
            api_version: match (&*sub.group, &*sub.version) {
                ("", "") => kind.api_version(),
                ("", version) => version.to_owned(),
                (group, version) => format!("{group}/{version}"),
            },
            kind: &sub.kind,
            schema: "",
            group: &sub.group,
            custom: None,
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

/// The formats of patches; the last is not for custom objects.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
];

/// Whether the target is written as a custom object.
fn is_custom(target: &Target) -> bool {
    target.kind.custom.is_some() && target.subresource != "scale"
}

fn patch_kind(call: &Call) -> Result<PatchKind, Status> {
    match body::content_type(&call.parts.headers) {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::StrategicMerge),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ => Err(error::unsupported_media_type(&PATCHES)),
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
            metadata: list_metadata(kind, &page),
        }),
    }
}

/// 405: nothing new comes while the definition goes.
fn terminating(target: &Target) -> Status {
    let kind = &target.kind;
    let why = "create not allowed while custom resource definition is terminating";
    let mut status = Status::failure(405, "MethodNotAllowed", why);
    status.details = Some(kontiki_object::Details {
        group: kind.group.to_string(),
        kind: kind.plural.to_string(),
        ..kontiki_object::Details::default()
    });
    status
}

fn list_metadata(kind: &Kind, page: &ListPage) -> Tree {
    let mut metadata = Tree::new();
    if page.revision > 0 {
        metadata.insert(
            "resourceVersion".to_owned(),
            page.revision.to_string().into(),
        );
    }
    // Lists of custom objects always show it.
    if !page.continue_token.is_empty() || kind.custom.is_some() {
        metadata.insert("continue".to_owned(), page.continue_token.clone().into());
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".to_owned(), remaining.into());
    }
    metadata
}
