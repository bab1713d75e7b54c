//! `MutatingAdmissionPolicy`.

use super::super::dynamic::{Failure, PatchFailure, Request, Subject, apply_json_patch};
use super::super::{Attributes, Plugin};
use super::binding::Binding;
use super::policy::{Mutation, Policy};
use super::{Bound, Meant, apply_configuration, params};
use crate::registry::default_object;
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_cel::{Activation, to_json};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Cause, Object, SharedObject, Status, Value};
use std::sync::Arc;

pub(in crate::admission) struct MutatingAdmissionPolicy {
    bound: Bound,
    authorizer: Arc<dyn Authorizer>,
}

/// What is held against a request.
struct Refusal {
    message: String,
    reason: &'static str,
}

fn refused(policy: &Policy, binding: Option<&Binding>, why: &str) -> String {
    let by = binding.map_or(String::new(), |binding| {
        format!(" with binding '{}'", binding.name)
    });
    format!("policy '{}'{by} denied request: {why}", policy.name)
}

/// One policy with one binding and one parameter.
struct Invocation<'a> {
    meant: &'a Meant,
    binding: &'a Binding,
    param: Option<SharedObject>,
}

impl Invocation<'_> {
    /// Who is meant when it is asked again.
    fn key(&self) -> String {
        let param = self
            .param
            .as_ref()
            .map_or(String::new(), |param| param.key());
        format!("{}/{}/{param}", self.meant.policy.name, self.binding.name)
    }
}

impl MutatingAdmissionPolicy {
    pub(in crate::admission) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            bound: Bound::new(
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
            ),
            authorizer,
        }
    }

    /// Lets one invocation change the object; answers it if it did.
    async fn invoke(
        &self,
        request: &Request<'_>,
        invocation: &Invocation<'_>,
        namespace: Option<&Object>,
        refusals: &mut Vec<Refusal>,
    ) -> Result<Option<Tree>, Status> {
        let Meant { policy, kind, .. } = invocation.meant;
        let (object, old) = request.shown_as(kind).await?;
        let Some(before) = object.map(Value::Object) else {
            return Ok(None);
        };
        let old = old.map(Value::Object);
        let param = invocation.param.as_ref().map(|param| param.to_value());
        let mut refuse = |why: String| {
            refusals.push(Refusal {
                message: refused(policy, Some(invocation.binding), &why),
                reason: "Invalid",
            });
        };
        let mut now = before.clone();
        for (at, mutation) in policy.mutations.iter().enumerate() {
            // Each mutation sees what the one before has made.
            let subject = Subject {
                request,
                kind,
                object: Some(&now),
                old: old.as_ref(),
                namespace,
                authorizer: &self.authorizer,
            };
            let activation = subject.activation(param.as_ref(), &policy.variables);
            if at == 0 && !policy.conditions.is_empty() {
                match policy.conditions.hold(&activation) {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(why) => {
                        refuse(why);
                        return Ok(None);
                    }
                }
            }
            match mutate(mutation, kind, &activation, &now) {
                Ok(Value::Object(tree)) => {
                    now = Value::Object(if request.shows_whole_objects() {
                        default_object(kind, tree)?
                    } else {
                        tree
                    });
                }
                Ok(_) => refuse("the mutated object is no object".to_owned()),
                Err(why) => refuse(why),
            }
        }
        match now {
            Value::Object(tree) if Some(&tree) != before.as_object() => {
                let own = &request.target.kind;
                request.convert(kind, own, tree).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn mutate(
    mutation: &Mutation,
    kind: &Kind,
    activation: &Arc<Activation>,
    object: &Value,
) -> Result<Value, String> {
    match mutation {
        Mutation::ApplyConfiguration(expression) => {
            let applied = expression
                .evaluate(activation)
                .map_err(Failure::into_text)?;
            let applied = to_json(&applied)?;
            apply_configuration::merge(kind, object, applied)
                .map_err(|why| format!("error applying patch: {why}"))
        }
        Mutation::JsonPatch(expression) => {
            let patch = expression
                .evaluate(activation)
                .map_err(Failure::into_text)?;
            let patch = to_json(&patch)?;
            let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
            match apply_json_patch(object, operations) {
                Ok(patched) => Ok(patched),
                // A test that fails says that nothing is to be done.
                Err(PatchFailure::TestFailed(_)) => Ok(object.clone()),
                Err(failure) => Err(format!("JSON Patch: {}", failure.text())),
            }
        }
    }
}

/// 403 with the first complaint, and all of them as causes.
fn answer(attributes: &Attributes<'_>, refusals: Vec<Refusal>) -> Result<(), Status> {
    let Some(first) = refusals.first() else {
        return Ok(());
    };
    let mut status = attributes.forbidden("");
    status.message.clone_from(&first.message);
    if !first.reason.is_empty() {
        first.reason.clone_into(&mut status.reason);
    }
    if let Some(details) = &mut status.details {
        let causes = refusals.into_iter().map(|refusal| Cause {
            message: refusal.message,
            ..Cause::default()
        });
        details.causes.extend(causes);
    }
    Err(status)
}

#[async_trait]
impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let idle = self.bound.is_idle(attributes.registry, attributes.target);
        if idle || attributes.object.is_none() {
            return Ok(());
        }
        let mut request = Request::new(attributes);
        let all = self.bound.meant(&request).await?;
        let mut refusals = Vec::new();
        let mut invocations = Vec::new();
        for meant in &all {
            for binding in &meant.bindings {
                match params::collect(&request, &meant.policy, binding).await {
                    Ok(found) => invocations.extend(found.into_iter().map(|param| Invocation {
                        meant,
                        binding,
                        param,
                    })),
                    Err(why) if meant.policy.fails_closed => {
                        let binding = Some(&**binding)
                            .filter(|_| matches!(why, params::Misconfigured::Binding(_)));
                        refusals.push(Refusal {
                            message: refused(&meant.policy, binding, &why.text()),
                            reason: "",
                        });
                    }
                    Err(_) => {}
                }
            }
        }
        let is_second = attributes.reinvocation.is_second;
        attributes
            .reinvocation
            .policies
            .begin(is_second, request.object.as_ref());
        let namespace = request.namespace_object().await?;
        for invocation in &invocations {
            let key = invocation.key();
            let round = &mut attributes.reinvocation.policies;
            if is_second && !round.is_due(&key) {
                continue;
            }
            let mut own = Vec::new();
            let changed = self
                .invoke(&request, invocation, namespace.as_deref(), &mut own)
                .await?;
            if invocation.meant.policy.fails_closed {
                refusals.append(&mut own);
            }
            if let Some(tree) = changed {
                request.object = Some(tree);
                round.object_changed();
                attributes.reinvocation.is_wanted = true;
            }
            if invocation.meant.policy.is_reinvoked {
                attributes.reinvocation.policies.asked(&key);
            }
        }
        attributes
            .reinvocation
            .policies
            .end(request.object.as_ref());
        let object = request.object.take();
        answer(attributes, refusals)?;
        if let (Some(object), Some(changed)) = (attributes.object.as_deref_mut(), object) {
            *object = changed;
        }
        Ok(())
    }
}
