//! The `authorizer` variable: questions about what the requester may do, put
//! together step by step and answered by `check`.

use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::Opaque;
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};
use std::fmt;
use std::sync::Arc;

/// What the requester, or a service account, may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Question {
    /// Namespace and name of the service account that is asked about instead
    /// of the requester.
    pub service_account: Option<(String, String)>,
    /// The path; empty for resources.
    pub path: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
    pub verb: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Answer {
    pub allowed: bool,
    pub reason: String,
    /// Why there is no answer; empty if there is one.
    pub error: String,
}

/// Answers questions.
pub trait Authorizer: Send + Sync {
    /// Answers one.
    fn check(&self, question: &Question) -> Answer;
}

/// Questions on their way; the types are those that the steps lead through.
#[derive(Clone)]
struct Asking {
    authorizer: Arc<dyn Authorizer>,
    question: Question,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.question, f)
    }
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.question == other.question && self.stage == other.stage
    }
}

impl Eq for Asking {}

impl Opaque for Asking {
    fn runtime_type_name(&self) -> &str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }
}

impl Opaque for Answer {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.authorization.Decision"
    }
}

/// The `authorizer` variable.
#[must_use]
pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Value {
    asking(authorizer, Question::default(), Stage::Authorizer)
}

/// The `authorizer.requestResource` variable.
#[must_use]
pub fn request_resource(authorizer: Arc<dyn Authorizer>, question: Question) -> Value {
    asking(authorizer, question, Stage::Resource)
}

fn asking(authorizer: Arc<dyn Authorizer>, question: Question, stage: Stage) -> Value {
    Value::Opaque(Arc::new(Asking {
        authorizer,
        question,
        stage,
    }))
}

fn no_overload<T>() -> Result<T, ExecutionError> {
    Err(ExecutionError::NoSuchOverload)
}

fn opaque<T: Clone + 'static>(value: &Value) -> Result<T, ExecutionError> {
    match value {
        Value::Opaque(opaque) => opaque
            .downcast_ref::<T>()
            .cloned()
            .ok_or(ExecutionError::NoSuchOverload),
        _ => no_overload(),
    }
}

/// A step from one stage to another that fills something in.
fn step(
    context: &mut Context<'_>,
    name: &str,
    from: Stage,
    to: Stage,
    fill: fn(&mut Question, String),
) {
    context.add_function(
        name,
        move |This(this): This<Value>, text: Arc<String>| -> ResolveResult {
            let mut asking: Asking = opaque(&this)?;
            if asking.stage != from {
                return no_overload();
            }
            asking.stage = to;
            fill(&mut asking.question, text.as_ref().clone());
            Ok(Value::Opaque(Arc::new(asking)))
        },
    );
}

fn check(This(this): This<Value>, verb: Arc<String>) -> ResolveResult {
    let mut asking: Asking = opaque(&this)?;
    if !matches!(asking.stage, Stage::Path | Stage::Resource) {
        return no_overload();
    }
    asking.question.verb = verb.as_ref().clone();
    let answer = asking.authorizer.check(&asking.question);
    Ok(Value::Opaque(Arc::new(answer)))
}

fn service_account(
    This(this): This<Value>,
    namespace: Arc<String>,
    name: Arc<String>,
) -> ResolveResult {
    let mut asking: Asking = opaque(&this)?;
    if asking.stage != Stage::Authorizer {
        return no_overload();
    }
    asking.question.service_account = Some((namespace.as_ref().clone(), name.as_ref().clone()));
    Ok(Value::Opaque(Arc::new(asking)))
}

fn read(context: &mut Context<'_>, name: &str, what: fn(&Answer) -> Value) {
    context.add_function(name, move |This(this): This<Value>| -> ResolveResult {
        Ok(what(&opaque::<Answer>(&this)?))
    });
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

/// Makes the functions known.
pub(crate) fn install(context: &mut Context<'_>) {
    use Stage::{Authorizer, Group, Path, Resource};
    step(context, "path", Authorizer, Path, |q, text| q.path = text);
    step(context, "group", Authorizer, Group, |q, text| {
        q.group = text
    });
    step(context, "resource", Group, Resource, |q, text| {
        q.resource = text
    });
    step(context, "subresource", Resource, Resource, |q, text| {
        q.subresource = text;
    });
    step(context, "namespace", Resource, Resource, |q, text| {
        q.namespace = text;
    });
    step(context, "name", Resource, Resource, |q, text| q.name = text);
    step(context, "fieldSelector", Resource, Resource, |q, text| {
        q.field_selector = text;
    });
    step(context, "labelSelector", Resource, Resource, |q, text| {
        q.label_selector = text;
    });
    context.add_function("serviceAccount", service_account);
    context.add_function("check", check);
    read(context, "allowed", |answer| Value::Bool(answer.allowed));
    read(context, "errored", |answer| {
        Value::Bool(!answer.error.is_empty())
    });
    read(context, "error", |answer| text(&answer.error));
    read(context, "reason", |answer| text(&answer.reason));
}
