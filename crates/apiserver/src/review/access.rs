//! May somebody do something?

use crate::registry::{RequestContext, Target};
use crate::server::Inner;
use kontiki_auth::authz::Attributes;
use kontiki_auth::{Decision, UserInfo};
use kontiki_object::{Status, Value};
use serde_json::json;
use std::sync::Arc;

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn subject(spec: &Value) -> UserInfo {
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: text(spec, "user"),
        uid: text(spec, "uid"),
        groups: texts(&spec["groups"]),
        extra: extra
            .map(|(key, values)| (key.clone(), texts(values)))
            .collect(),
    }
}

fn attributes(user: Arc<UserInfo>, spec: &Value) -> Attributes {
    let resource = &spec["resourceAttributes"];
    if resource.is_object() {
        return Attributes {
            user,
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
            is_resource: true,
            ..Attributes::default()
        };
    }
    let path = &spec["nonResourceAttributes"];
    Attributes {
        user,
        verb: text(path, "verb"),
        path: text(path, "path"),
        ..Attributes::default()
    }
}

/// The three access reviews.
pub async fn review(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    review: &mut Value,
) -> Result<(), Status> {
    let spec = &review["spec"];
    let kind = &target.kind;
    let is_self = kind.kind == "SelfSubjectAccessReview";
    let (resource, path) = (
        spec["resourceAttributes"].is_object(),
        spec["nonResourceAttributes"].is_object(),
    );
    if resource == path {
        let (field, reason, message) = if resource {
            (
                "spec.nonResourceAttributes",
                "FieldValueInvalid",
                "Invalid value: cannot be specified in combination with resourceAttributes",
            )
        } else {
            (
                "spec.resourceAttributes",
                "FieldValueRequired",
                "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        };
        let cause = kontiki_object::Cause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        };
        return Err(Status::invalid(&kind.group, &kind.kind, "", vec![cause]));
    }
    let user = if is_self {
        context.user.clone()
    } else {
        Arc::new(subject(spec))
    };
    if kind.namespaced && text(&spec["resourceAttributes"], "namespace") != target.namespace {
        return Err(Status::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {}",
            target.namespace
        )));
    }
    let decision = inner
        .config
        .authorizer
        .authorize(&attributes(user, spec))
        .await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny { .. }) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    review["status"] = status;
    Ok(())
}

/// `SelfSubjectRulesReview`.
pub fn rules(inner: &Inner, context: &RequestContext, review: &mut Value) {
    let namespace = text(&review["spec"], "namespace");
    let found = inner.config.authorizer.rules(&context.user, &namespace);
    let resource_rules: Vec<Value> = found
        .resource_rules
        .iter()
        .map(|rule| {
            let mut value = json!({"verbs": rule.verbs});
            for (field, texts) in [
                ("apiGroups", &rule.api_groups),
                ("resources", &rule.resources),
                ("resourceNames", &rule.resource_names),
            ] {
                if !texts.is_empty() {
                    value[field] = texts.clone().into();
                }
            }
            value
        })
        .collect();
    let non_resource_rules: Vec<Value> = found
        .non_resource_rules
        .iter()
        .map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}))
        .collect();
    let mut status = json!({
        "resourceRules": resource_rules,
        "nonResourceRules": non_resource_rules,
        "incomplete": found.incomplete,
    });
    if !found.evaluation_error.is_empty() {
        status["evaluationError"] = found.evaluation_error.into();
    }
    review["status"] = status;
}
