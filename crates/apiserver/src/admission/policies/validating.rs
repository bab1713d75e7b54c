//! `ValidatingAdmissionPolicy`.

use super::super::dynamic::{Failure, Request, Subject};
use super::super::{Attributes, Plugin};
use super::binding::Binding;
use super::policy::{Policy, Validation};
use super::{Bound, Meant, params};
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_cel::{Activation, Value as Cel};
use kontiki_object::{Cause, Object, Status, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotations are cut to this length.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
/// Longer texts than this are not told.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

pub(in crate::admission) struct ValidatingAdmissionPolicy {
    bound: Bound,
    authorizer: Arc<dyn Authorizer>,
}

/// What is held against a request.
struct Denial {
    message: String,
    reason: String,
}

/// What an evaluation leads to.
#[derive(Default)]
struct Outcome {
    denials: Vec<(usize, Denial)>,
    /// What is noted for the audit log.
    annotations: Vec<(String, String)>,
    /// Annotations that failed: refusals whatever the binding's actions are.
    failed_annotations: Vec<Denial>,
}

/// The first refusal, in words.
struct Refusal {
    message: String,
    reason: String,
}

impl ValidatingAdmissionPolicy {
    pub(in crate::admission) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            bound: Bound::new(
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
            ),
            authorizer,
        }
    }

    /// Evaluates a policy for all its bindings.
    async fn ask(
        &self,
        request: &Request<'_>,
        meant: &Meant,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Status> {
        let policy = &meant.policy;
        let (object, old) = match request.shown_as(&meant.kind).await {
            Ok((object, old)) => (object.map(Value::Object), old.map(Value::Object)),
            Err(status) => {
                let why = format!("failed to convert object version: {}", status.message);
                let why = params::Misconfigured::Policy(why);
                refusals.extend(misconfigured(policy, None, &why));
                return Ok(());
            }
        };
        let namespace = request.namespace_object().await?;
        let subject = Subject {
            request,
            kind: &meant.kind,
            object: object.as_ref(),
            old: old.as_ref(),
            namespace: namespace.as_deref(),
            authorizer: &self.authorizer,
        };
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in &meant.bindings {
            let found = match params::collect(request, policy, binding).await {
                Ok(found) => found,
                Err(why) => {
                    refusals.extend(misconfigured(policy, Some(binding), &why));
                    continue;
                }
            };
            for param in found {
                let outcome = evaluate(policy, &subject, param.as_deref());
                for (key, value) in outcome.annotations.iter().cloned() {
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                act(request, policy, binding, outcome, refusals);
            }
        }
        for (key, values) in annotations {
            let key = format!("{}/{key}", policy.name);
            request.context.annotate(&key, values.join(", "));
        }
        Ok(())
    }
}

fn named(policy: &Policy, binding: Option<&Binding>, why: &str) -> String {
    let by = binding.map_or(String::new(), |binding| {
        format!(" with binding '{}'", binding.name)
    });
    let name = &policy.name;
    format!("ValidatingAdmissionPolicy '{name}'{by} denied request: {why}")
}

fn misconfigured(
    policy: &Policy,
    binding: Option<&Binding>,
    why: &params::Misconfigured,
) -> Option<Refusal> {
    let binding = binding.filter(|_| matches!(why, params::Misconfigured::Binding(_)));
    policy.fails_closed.then(|| Refusal {
        message: named(policy, binding, &why.text()),
        reason: "Invalid".to_owned(),
    })
}

/// Does what a binding says is to be done about denials.
fn act(
    request: &Request<'_>,
    policy: &Policy,
    binding: &Binding,
    outcome: Outcome,
    refusals: &mut Vec<Refusal>,
) {
    for (at, denial) in outcome.denials {
        for action in &binding.actions {
            match &**action {
                "Deny" => refusals.push(Refusal {
                    message: named(policy, Some(binding), &denial.message),
                    reason: denial.reason.clone(),
                }),
                "Warn" => request.context.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name, binding.name, denial.message
                )),
                _ => {
                    let noted = json!([{
                        "message": denial.message,
                        "policy": policy.name,
                        "binding": binding.name,
                        "expressionIndex": at,
                        "validationActions": binding.actions,
                    }]);
                    request
                        .context
                        .annotate(FAILURE_ANNOTATION, noted.to_string());
                }
            }
        }
    }
    let failed = outcome.failed_annotations.into_iter();
    refusals.extend(failed.map(|denial| Refusal {
        message: named(policy, Some(binding), &denial.message),
        reason: denial.reason,
    }));
}

fn failed(message: String) -> Denial {
    Denial {
        message,
        reason: "Invalid".to_owned(),
    }
}

/// Evaluates a policy with one parameter.
fn evaluate(policy: &Policy, subject: &Subject<'_>, param: Option<&Object>) -> Outcome {
    let param = param.map(Object::to_value);
    let activation = subject.activation(param.as_ref(), &policy.variables);
    let mut outcome = Outcome::default();
    if !policy.conditions.is_empty() {
        match policy.conditions.hold(&activation) {
            Ok(true) => {}
            Ok(false) => return outcome,
            Err(why) => {
                if policy.fails_closed {
                    outcome.denials.push((0, failed(why)));
                }
                return outcome;
            }
        }
    }
    for (at, validation) in policy.validations.iter().enumerate() {
        match validation.expression.evaluate(&activation) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                let message = message(validation, &activation);
                let reason = validation.reason.clone();
                outcome.denials.push((at, Denial { message, reason }));
            }
            Err(failure) => {
                let is_last = matches!(failure, Failure::OverBudget);
                if policy.fails_closed {
                    outcome.denials.push((at, failed(failure.into_text())));
                }
                if is_last {
                    return outcome;
                }
            }
        }
    }
    annotate(policy, &activation, &mut outcome);
    outcome
}

fn message(validation: &Validation, activation: &Arc<Activation>) -> String {
    let told = validation
        .message_expression
        .as_ref()
        .and_then(|expression| expression.evaluate(activation).ok());
    if let Some(Cel::String(text)) = told {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n') {
            return text.to_owned();
        }
    }
    if validation.message.is_empty() {
        format!("failed expression: {}", validation.expression.text.trim())
    } else {
        validation.message.clone()
    }
}

/// Cuts a text to a length, but no letter in two.
fn cut(text: &mut String, bytes_max: usize) {
    let fits = text
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8());
    let end = fits.take_while(|end| *end <= bytes_max).last();
    text.truncate(end.unwrap_or_default());
}

fn annotate(policy: &Policy, activation: &Arc<Activation>, outcome: &mut Outcome) {
    for (key, expression) in &policy.annotations {
        let why = match expression.evaluate(activation) {
            Ok(Cel::Null) => continue,
            Ok(Cel::String(text)) => {
                let mut text = text.trim().to_owned();
                if !text.is_empty() {
                    cut(&mut text, ANNOTATION_BYTES_MAX);
                    outcome.annotations.push((key.clone(), text));
                }
                continue;
            }
            Ok(_) => format!(
                "valueExpression '{}' resulted in unsupported return type. Return type must be either string or null.",
                expression.text
            ),
            Err(failure) => failure.into_text(),
        };
        if policy.fails_closed {
            outcome.failed_annotations.push(failed(why));
        }
    }
}

/// The codes of the reasons that validations may give.
fn code(reason: &str) -> u16 {
    match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    }
}

#[async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if self.bound.is_idle(attributes.registry, attributes.target) {
            return Ok(());
        }
        let request = Request::new(attributes);
        let mut refusals = Vec::new();
        for meant in self.bound.meant(&request).await? {
            self.ask(&request, &meant, &mut refusals).await?;
        }
        let Some(first) = refusals.into_iter().next() else {
            return Ok(());
        };
        let mut status = attributes.forbidden(&first.message);
        status.code = code(&first.reason);
        status.reason = first.reason;
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                message: first.message,
                ..Cause::default()
            });
        }
        Err(status)
    }
}
