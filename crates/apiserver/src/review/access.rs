//! May somebody do something?

use crate::registry::{RequestContext, Target};
use crate::server::Inner;
use kontiki_auth::authz::Attributes;
use kontiki_auth::{Decision, UserInfo};
use kontiki_kinds::{FieldError, FieldErrors, Path};
use kontiki_object::{Cause, FieldSelector, LabelSelector, Status, Value};
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

/// Terms that name one value; others narrow nothing, which is safe.
fn field_selector(selector: &Value) -> Option<FieldSelector> {
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return FieldSelector::parse(&raw).ok();
    }
    let requirements = selector["requirements"].as_array()?.iter();
    let terms = requirements.filter_map(|requirement| {
        let equal = match &*text(requirement, "operator") {
            "In" => true,
            "NotIn" => false,
            _ => return None,
        };
        match &texts(&requirement["values"])[..] {
            [one] => Some((text(requirement, "key"), equal, one.clone())),
            _ => None,
        }
    });
    Some(FieldSelector {
        terms: terms.collect(),
    })
}

fn label_selector(selector: &Value) -> Option<LabelSelector> {
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return LabelSelector::parse(&raw).ok();
    }
    selector["requirements"].as_array()?;
    let field = json!({"matchExpressions": selector["requirements"]});
    LabelSelector::from_field(Some(&field)).ok()
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
            field_selector: field_selector(&resource["fieldSelector"]),
            label_selector: label_selector(&resource["labelSelector"]),
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

const TOGETHER: &str = "cannot be specified in combination with resourceAttributes";
const NEITHER: &str =
    "exactly one of nonResourceAttributes or resourceAttributes must be specified";

/// What is wrong with a question.
fn check(kind: &str, review: &Value) -> FieldErrors {
    let spec = &review["spec"];
    let path = Path::new("spec");
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = FieldErrors::new();
    if resource.is_object() && other.is_object() {
        let path = path.child("nonResourceAttributes");
        errors.push(FieldError::invalid(&path, other.clone(), TOGETHER));
    }
    if !resource.is_object() && !other.is_object() {
        let path = path.child("resourceAttributes");
        errors.push(FieldError::invalid(&path, Value::Null, NEITHER));
    }
    let nobody = text(spec, "user").is_empty() && texts(&spec["groups"]).is_empty();
    if kind != "SelfSubjectAccessReview" && nobody {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid(&path.child("user"), "", why));
    }
    for field in ["fieldSelector", "labelSelector"] {
        let selector = &resource[field];
        let path = path.child("resourceAttributes").child(field);
        let raw = text(selector, "rawSelector");
        let has_terms = selector["requirements"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if !raw.is_empty() && has_terms {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(&path.child("rawSelector"), raw, why));
        } else if selector.is_object() && raw.is_empty() && !has_terms {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&path.child("requirements"), why));
        }
    }
    if kind == "LocalSubjectAccessReview" {
        let namespace = text(resource, "namespace");
        if resource.is_object() && namespace != text(&review["metadata"], "namespace") {
            let path = path.child("resourceAttributes").child("namespace");
            let why = "must match metadata.namespace";
            errors.push(FieldError::invalid(&path, namespace, why));
        }
        if other.is_object() {
            let path = path.child("nonResourceAttributes");
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid(&path, other.clone(), why));
        }
    }
    errors
}

/// The three access reviews.
///
/// # Errors
/// 422 for a question that is none.
pub async fn review(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    mut review: Value,
) -> Result<Value, Status> {
    let kind = &target.kind;
    let errors = check(&kind.kind, &review);
    if !errors.is_empty() {
        let causes = errors.into_iter().map(Cause::from).collect();
        // Upstream does not name the kind here.
        return Err(Status::invalid(&kind.group, "", "", causes));
    }
    let spec = &review["spec"];
    let user = if kind.kind == "SelfSubjectAccessReview" {
        context.user.clone()
    } else {
        Arc::new(subject(spec))
    };
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
    Ok(review)
}

/// `SelfSubjectRulesReview`.
///
/// # Errors
/// 400 without a namespace.
pub fn rules(inner: &Inner, context: &RequestContext, review: &Value) -> Result<Value, Status> {
    let namespace = text(&review["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
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
    Ok(json!({"spec": {}, "status": status}))
}
