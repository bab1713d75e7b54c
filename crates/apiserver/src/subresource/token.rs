//! `serviceaccounts/token`: tokens bound to an account and what uses it.

use crate::dispatch::Answer;
use crate::registry::{RequestContext, Target, WriteOptions, note_creation, shape};
use crate::server::Inner;
use kontiki_auth::token::{BoundObject, ObjectName, TokenRequest};
use kontiki_kinds::{FieldError, FieldErrors, Kind, Path, Tree};
use kontiki_object::{Cause, Object, SharedObject, Status, Value, time};
use serde_json::json;
use std::sync::{Arc, OnceLock};

const EXPIRATION_SECONDS_DEFAULT: i64 = 3600;

fn kind() -> &'static Arc<Kind> {
    static KIND: OnceLock<Arc<Kind>> = OnceLock::new();
    KIND.get_or_init(|| {
        let (group, kind) = ("authentication.k8s.io", "TokenRequest");
        let kind = Kind::virtual_kind(group, "v1", kind, "tokenrequests");
        Arc::new(kind)
    })
}

fn invalid(name: &str, errors: FieldErrors) -> Status {
    let causes: Vec<Cause> = errors.into_iter().map(Cause::from).collect();
    let kind = kind();
    Status::invalid(&kind.group, &kind.kind, name, causes)
}

/// A name or namespace that, if given, is that of the URL.
fn check_given(wish: &Value, field: &str, what: &str, target: &Target) -> Result<(), Status> {
    let given = wish["metadata"][field].as_str().unwrap_or_default();
    let own = match field {
        "name" => &target.name,
        _ => &target.namespace,
    };
    if given.is_empty() || given == own {
        return Ok(());
    }
    let path = Path::new("metadata").child(field);
    let why = format!("must match the service account {what} if specified");
    let complaint = FieldError::invalid(&path, given, why);
    Err(invalid(&target.name, vec![complaint]))
}

/// Issues a token.
///
/// # Errors
/// 404 for an account or bound object that is missing, 409 for one of another
/// UID, 422 for what cannot be asked for.
pub async fn request(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    wish: Tree,
    options: &WriteOptions,
) -> Result<Answer, Status> {
    let mut tree = shape(kind(), wish)?;
    if let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) {
        let seconds = spec.entry("expirationSeconds").or_insert(Value::Null);
        if seconds.is_null() {
            *seconds = EXPIRATION_SECONDS_DEFAULT.into();
        }
    }
    note_creation(kind(), context, options, &mut tree, &target.subresource);
    let mut wish = Value::Object(tree);
    check_given(&wish, "name", "name", target)?;
    check_given(&wish, "namespace", "namespace", target)?;
    let whole = Target::object(&target.kind, &target.namespace, &target.name);
    let account = inner.registry.get(&whole, "").await?;
    let spec = &wish["spec"];
    let audiences = spec["audiences"].as_array().into_iter().flatten();
    let audiences = audiences.filter_map(|audience| audience.as_str().map(str::to_owned));
    let mut request = TokenRequest {
        audiences: audiences.collect(),
        expiration_seconds: spec["expirationSeconds"].as_i64(),
        bound: None,
    };
    request.check().map_err(|error| {
        let path = Path::new("spec").child("expirationSeconds");
        let seconds = spec["expirationSeconds"].clone();
        invalid(
            "",
            vec![FieldError::invalid(&path, seconds, error.to_string())],
        )
    })?;
    if let Some(reference) = spec.get("boundObjectRef").filter(|bound| bound.is_object()) {
        request.bound = Some(bound_object(inner, target, reference).await?);
    }
    let config = &inner.config;
    let issuer = &config.token_issuer;
    let failed = |error| Status::internal(format!("failed to generate token: {error}"));
    let (claims, expires) = request
        .claims(
            &account,
            issuer.issuer(),
            &config.api_audiences,
            context.now,
        )
        .map_err(failed)?;
    let token = issuer.sign(&claims).map_err(failed)?;
    wish["metadata"]["name"] = target.name.clone().into();
    wish["metadata"]["namespace"] = target.namespace.clone().into();
    wish["metadata"]["uid"] = account.uid().into();
    wish["metadata"]["creationTimestamp"] = time::format(context.now).into();
    wish["spec"]["audiences"] = claims.aud.clone().into();
    if wish["spec"].get("boundObjectRef").is_none() {
        wish["spec"]["boundObjectRef"] = Value::Null;
    }
    wish["status"] = json!({"token": token, "expirationTimestamp": time::format(expires)});
    let object =
        Object::from_value(wish).ok_or_else(|| Status::internal("a token request is a map"))?;
    Ok(Answer::Object {
        object: Arc::new(object),
        created: true,
    })
}

async fn bound_object(
    inner: &Inner,
    target: &Target,
    reference: &Value,
) -> Result<BoundObject, Status> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (api_version, kind, name, uid) =
        (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let find = async |resource: &str, namespace: &str| -> Result<SharedObject, Status> {
        let kind = inner
            .registry
            .catalog()
            .find("", "v1", resource)
            .ok_or_else(Status::no_such_path)?;
        let bound = Target::object(&kind, namespace, name);
        inner.registry.get(&bound, "").await
    };
    let (object, bound) = match (api_version, kind) {
        ("v1", "Pod") => {
            let pod = find("pods", &target.namespace).await?;
            let account = pod
                .str_at(&["spec", "serviceAccountName"])
                .unwrap_or_default();
            if account != target.name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    target.name
                )));
            }
            let node = pod.str_at(&["spec", "nodeName"]).and_then(|node| {
                let kind = inner.registry.catalog().find("", "v1", "nodes")?;
                let node = inner.registry.cached(&kind, "", node)?;
                Some(ObjectName::of(&node))
            });
            let name = ObjectName::of(&pod);
            (pod, BoundObject::Pod { pod: name, node })
        }
        ("v1", "Node") => {
            let node = find("nodes", "").await?;
            let name = ObjectName::of(&node);
            (node, BoundObject::Node(name))
        }
        ("v1", "Secret") => {
            let secret = find("secrets", &target.namespace).await?;
            let name = ObjectName::of(&secret);
            (secret, BoundObject::Secret(name))
        }
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why));
    }
    Ok(bound)
}
