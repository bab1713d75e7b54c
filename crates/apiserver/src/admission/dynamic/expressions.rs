//! Expressions about requests, compiled once and evaluated for each.

use super::request::Request;
use futures::FutureExt as _;
use kontiki_auth::{Authorizer, UserInfo, authz};
use kontiki_cel::{
    Activation, Answer, CompileError, Composed, EvaluationError, Program, Question, Type,
    Value as Cel, from_json,
};
use kontiki_kinds::Kind;
use kontiki_kinds::expressions::{Environment, Expected};
use kontiki_object::{FieldSelector, LabelSelector, Object, Status, Value};
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression.
pub(in crate::admission) struct Expression {
    pub(in crate::admission) text: String,
    program: Result<Program, CompileError>,
}

/// Why an expression has no value.
#[derive(Debug)]
pub(in crate::admission) enum Failure {
    /// It failed.
    Failed(String),
    /// Nothing more can be evaluated for this request.
    OverBudget,
}

impl Failure {
    pub(in crate::admission) fn into_text(self) -> String {
        match self {
            Self::Failed(why) => why,
            Self::OverBudget => OUT_OF_BUDGET.to_owned(),
        }
    }
}

impl Expression {
    pub(in crate::admission) fn compile(
        environment: &Environment,
        text: &str,
        expected: Expected,
    ) -> Self {
        Self {
            text: text.to_owned(),
            program: environment.compile(text, expected),
        }
    }

    pub(in crate::admission) fn evaluate(
        &self,
        activation: &Arc<Activation>,
    ) -> Result<Cel, Failure> {
        let program = self
            .program
            .as_ref()
            .map_err(|error| Failure::Failed(format!("compilation error: {error}")))?;
        activation.evaluate(program).map_err(|error| match error {
            EvaluationError::OverBudget => Failure::OverBudget,
            EvaluationError::Failed(why) => Failure::Failed(format!(
                "expression '{}' resulted in error: {why}",
                self.text
            )),
        })
    }
}

/// `matchConditions`.
pub(in crate::admission) struct Conditions(Vec<Expression>);

impl Conditions {
    pub(in crate::admission) fn parse(json: &Value, environment: &Environment) -> Self {
        let list = json.as_array().into_iter().flatten();
        let texts = list.filter_map(|one| one["expression"].as_str());
        Self(
            texts
                .map(|text| Expression::compile(environment, text, Expected::Bool))
                .collect(),
        )
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not decides, whatever fails beside it.
    pub(in crate::admission) fn hold(&self, activation: &Arc<Activation>) -> Result<bool, String> {
        let mut failures = Vec::new();
        for condition in &self.0 {
            match condition.evaluate(activation) {
                Ok(Cel::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(failure) => failures.push(failure.into_text()),
            }
        }
        match &failures[..] {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

/// What expressions are about: a request in the form of a kind, and parameters.
pub(in crate::admission) struct Subject<'a> {
    pub(in crate::admission) request: &'a Request<'a>,
    pub(in crate::admission) kind: &'a Kind,
    pub(in crate::admission) object: Option<&'a Value>,
    pub(in crate::admission) old: Option<&'a Value>,
    pub(in crate::admission) namespace: Option<&'a Object>,
    pub(in crate::admission) authorizer: &'a Arc<dyn Authorizer>,
}

impl Subject<'_> {
    /// The variables, with these parameters.
    pub(in crate::admission) fn activation(
        &self,
        params: Option<&Value>,
        composed: &[Composed],
    ) -> Arc<Activation> {
        let value =
            |json: Option<&Value>| json.map_or(Cel::Null, |json| from_json(json, &Type::Dyn));
        let request = Value::Object(self.request.describe(self.kind));
        let asked: Arc<dyn kontiki_cel::Authorizer> = Arc::new(Asked {
            user: self.request.context.user.clone(),
            authorizer: self.authorizer.clone(),
        });
        let values = [
            ("object", value(self.object)),
            ("oldObject", value(self.old)),
            ("request", value(Some(&request))),
            ("params", value(params)),
            (
                "namespaceObject",
                value(self.namespace.map(shown_namespace).as_ref()),
            ),
            ("authorizer", kontiki_cel::authorizer(asked.clone())),
            (
                "authorizer.requestResource",
                kontiki_cel::request_resource(asked, self.own_question()),
            ),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        Activation::new(values.into(), composed.to_vec())
    }

    fn own_question(&self) -> Question {
        let target = self.request.target;
        Question {
            group: target.kind.group.to_string(),
            resource: target.kind.plural.to_string(),
            subresource: target.subresource.clone(),
            namespace: self.request.namespace.clone(),
            name: self.request.name.clone(),
            ..Question::default()
        }
    }
}

/// Metadata that expressions do not see.
const HIDDEN: [&str; 3] = ["managedFields", "ownerReferences", "selfLink"];

fn shown_namespace(namespace: &Object) -> Value {
    let mut shown = namespace.to_value();
    if let Some(metadata) = shown["metadata"].as_object_mut() {
        metadata.retain(|field, _| !HIDDEN.contains(&&**field));
    }
    shown
}

/// The authorizer as expressions ask it.
struct Asked {
    user: Arc<UserInfo>,
    authorizer: Arc<dyn Authorizer>,
}

impl kontiki_cel::Authorizer for Asked {
    fn check(&self, question: &Question) -> Answer {
        match self.attributes(question) {
            Err(error) => Answer {
                error,
                ..Answer::default()
            },
            Ok(attributes) => match now(self.authorizer.authorize(&attributes)) {
                Some(decision) => Answer {
                    allowed: decision.is_allowed(),
                    reason: decision.reason().to_owned(),
                    error: String::new(),
                },
                None => Answer {
                    error: "the authorizer has no answer now".to_owned(),
                    ..Answer::default()
                },
            },
        }
    }
}

/// Expressions do not wait; authorizers answer from memory, or are waited for
/// where other threads go on meanwhile.
fn now<T>(answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = Box::pin(answer);
    if let Some(answer) = answer.as_mut().now_or_never() {
        return Some(answer);
    }
    let handle = Handle::try_current().ok()?;
    (handle.runtime_flavor() == RuntimeFlavor::MultiThread)
        .then(|| tokio::task::block_in_place(|| handle.block_on(answer)))
}

impl Asked {
    fn attributes(&self, question: &Question) -> Result<authz::Attributes, String> {
        let user = match &question.service_account {
            Some((namespace, name)) => Arc::new(UserInfo::service_account(namespace, name, "")),
            None => self.user.clone(),
        };
        let is_resource = question.path.is_empty();
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let fields = given(&question.field_selector)
            .map(|text| FieldSelector::parse(&text))
            .transpose()
            .map_err(|error| error.to_string())?;
        let labels = given(&question.label_selector)
            .map(|text| LabelSelector::parse(&text))
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(authz::Attributes {
            user,
            verb: question.verb.clone(),
            group: question.group.clone(),
            version: if is_resource {
                "*".to_owned()
            } else {
                String::new()
            },
            resource: question.resource.clone(),
            subresource: question.subresource.clone(),
            namespace: question.namespace.clone(),
            name: question.name.clone(),
            is_resource,
            path: question.path.clone(),
            field_selector: fields,
            label_selector: labels,
        })
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Self::internal(failure.into_text())
    }
}
