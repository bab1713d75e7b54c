//! `serviceaccounts/token`: tokens bound to an account and what uses it.

use crate::dispatch::Answer;
use crate::registry::{RequestContext, Target, WriteOptions};
use crate::server::Inner;
use kontiki_auth::token::{BoundObject, ObjectName, TokenRequest};
use kontiki_kinds::{FieldError, Path, Tree};
use kontiki_object::{Object, SharedObject, Status, Value, time};
use serde_json::json;
use std::sync::Arc;

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
    _options: &WriteOptions,
) -> Result<Answer, Status> {
    let whole = Target::object(&target.kind, &target.namespace, &target.name);
    let account = inner.registry.get(&whole, "").await?;
    let mut wish = Value::Object(wish);
    let spec = &wish["spec"];
    let audiences: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    let bound = match spec.get("boundObjectRef").filter(|bound| bound.is_object()) {
        Some(reference) => Some(bound_object(inner, target, reference).await?),
        None => None,
    };
    let request = TokenRequest {
        audiences,
        expiration_seconds: spec["expirationSeconds"].as_i64(),
        bound,
    };
    let config = &inner.config;
    let issuer = &config.token_issuer;
    let (claims, expires) = request
        .claims(
            &account,
            issuer.issuer(),
            &config.api_audiences,
            context.now,
        )
        .map_err(|error| {
            let path = Path::new("spec").child("expirationSeconds");
            let seconds = spec["expirationSeconds"].clone();
            let complaint = FieldError::invalid(&path, seconds, error.to_string());
            Status::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                &target.name,
                vec![complaint.into()],
            )
        })?;
    let token = issuer
        .sign(&claims)
        .map_err(|error| Status::internal(format!("failed to generate token: {error}")))?;
    wish["apiVersion"] = "authentication.k8s.io/v1".into();
    wish["kind"] = "TokenRequest".into();
    wish["metadata"] = json!({
        "name": target.name, "namespace": target.namespace,
        "creationTimestamp": time::format(context.now),
    });
    wish["spec"]["audiences"] = claims.aud.clone().into();
    if !wish["spec"]["expirationSeconds"].is_i64() {
        wish["spec"]["expirationSeconds"] = 3600.into();
    }
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
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let find = async |resource: &str, namespace: &str| -> Result<SharedObject, Status> {
        let kind = inner
            .registry
            .catalog()
            .find("", "v1", resource)
            .ok_or_else(Status::no_such_path)?;
        let bound = Target::object(&kind, namespace, name);
        let object = inner.registry.get(&bound, "").await?;
        if !uid.is_empty() && uid != object.uid() {
            return Err(bound.conflict(&format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            )));
        }
        Ok(object)
    };
    match (text("apiVersion"), kind) {
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
            let node = match pod.str_at(&["spec", "nodeName"]) {
                Some(node) => {
                    let kind = inner.registry.catalog().find("", "v1", "nodes");
                    kind.and_then(|kind| inner.registry.cached(&kind, "", node))
                        .map(|node| ObjectName::of(&node))
                }
                None => None,
            };
            Ok(BoundObject::Pod {
                pod: ObjectName::of(&pod),
                node,
            })
        }
        ("v1", "Node") => Ok(BoundObject::Node(ObjectName::of(
            &*find("nodes", "").await?,
        ))),
        ("v1", "Secret") => {
            let secret = find("secrets", &target.namespace).await?;
            Ok(BoundObject::Secret(ObjectName::of(&secret)))
        }
        (api_version, kind) => Err(Status::bad_request(format!(
            "cannot bind token to object of type {api_version}, Kind={kind}"
        ))),
    }
}
