//! The API for components in the same process: the same authorization,
//! admission and registry as HTTP, without serialization.

use crate::dispatch::{self, Action, Answer};
use crate::registry::{
    DeleteRequest, EventForm, FieldValidation, ListRequest, PatchBody, RequestContext, Target,
    WatchRequest, WriteOptions,
};
use crate::server::Inner;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use kontiki_auth::{Attributes, UserInfo};
use kontiki_client::{Api, ApiRequest, ApiResponse, Verb, WatchEvent, WatchParams, WatchStream};
use kontiki_kinds::Tree;
use kontiki_object::{FieldSelector, LabelSelector, Object, Status, Value};
use std::sync::Arc;

/// The transport.
pub struct InProcess {
    inner: Arc<Inner>,
    user: Arc<UserInfo>,
}

impl InProcess {
    /// For one identity.
    #[must_use]
    pub fn new(inner: Arc<Inner>, user: UserInfo) -> Self {
        Self {
            inner,
            user: Arc::new(user.with_authenticated_group()),
        }
    }

    fn target(&self, request: &ApiRequest) -> Result<Target, Status> {
        let kind = self
            .inner
            .registry
            .catalog()
            .resource(&request.resource)
            .ok_or_else(Status::no_such_path)?;
        Ok(Target {
            kind,
            namespace: request.namespace.clone().unwrap_or_default(),
            name: request.name.clone().unwrap_or_default(),
            subresource: request.subresource.clone().unwrap_or_default().into_owned(),
        })
    }
}

fn tree(body: Option<Value>) -> Result<Tree, Status> {
    match body {
        Some(Value::Object(tree)) => Ok(tree),
        _ => Err(Status::bad_request("an object is needed")),
    }
}

fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::List => "list",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch(_) => "patch",
        Verb::Delete => "delete",
        Verb::DeleteCollection => "deletecollection",
    }
}

fn action(request: ApiRequest) -> Result<Action, Status> {
    let options = WriteOptions {
        dry_run: request.write.dry_run,
        field_manager: request.write.field_manager.clone(),
        force: request.write.force,
        field_validation: FieldValidation::Ignore,
    };
    let list = ListRequest {
        label_selector: request.list.label_selector,
        field_selector: request.list.field_selector,
        limit: request.list.limit as usize,
        continue_token: request.list.continue_token,
        resource_version: request.list.resource_version,
        resource_version_match: request.list.resource_version_match,
    };
    let deletion = DeleteRequest {
        options: request.delete,
        orphan_dependents: None,
        dry_run: request.write.dry_run,
    };
    Ok(match request.verb {
        Verb::Get => Action::Get {
            resource_version: list.resource_version,
        },
        Verb::List => Action::List(list),
        Verb::Create => Action::Create(tree(request.body)?, options),
        Verb::Update => Action::Update(tree(request.body)?, options),
        Verb::Patch(kind) => {
            let json = serde_json::to_vec(&request.body.unwrap_or_default());
            let json = json.map_err(Status::internal)?.into();
            Action::Patch(PatchBody { kind, json }, options)
        }
        Verb::Delete => Action::Delete(deletion),
        Verb::DeleteCollection => Action::DeleteCollection(list, deletion),
    })
}

#[async_trait]
impl Api for InProcess {
    async fn call(&self, request: ApiRequest) -> Result<ApiResponse, Status> {
        let target = self.target(&request)?;
        let mut attributes =
            dispatch::attributes(&self.user, verb_word(request.verb), &target.kind, &target);
        attributes.label_selector = LabelSelector::parse(&request.list.label_selector).ok();
        select_by_field(&mut attributes, &request.list.field_selector);
        dispatch::authorize(&self.inner, &attributes).await?;
        let context = RequestContext::new(self.user.clone(), Timestamp::now());
        let action = action(request)?;
        let answer = dispatch::perform(&self.inner, &context, &target, action).await?;
        Ok(match answer {
            Answer::Object { object, .. } => ApiResponse::Object(object),
            Answer::Deleted(outcome) => ApiResponse::Object(outcome.object().clone()),
            Answer::Status(status) => {
                let value = serde_json::to_value(&status).map_err(Status::internal)?;
                let object = Object::from_value(value);
                let object = object.ok_or_else(|| Status::internal("a status is a map"))?;
                ApiResponse::Object(Arc::new(object))
            }
            Answer::List(page) => ApiResponse::List {
                items: page.items,
                resource_version: page.revision.to_string(),
                continue_token: page.continue_token,
            },
        })
    }

    async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status> {
        let kind = self
            .inner
            .registry
            .catalog()
            .resource(&params.resource)
            .ok_or_else(Status::no_such_path)?;
        let target = Target {
            kind,
            namespace: params.namespace.unwrap_or_default(),
            name: String::new(),
            subresource: String::new(),
        };
        let mut attributes = dispatch::attributes(&self.user, "watch", &target.kind, &target);
        attributes.label_selector = LabelSelector::parse(&params.label_selector).ok();
        select_by_field(&mut attributes, &params.field_selector);
        dispatch::authorize(&self.inner, &attributes).await?;
        let request = WatchRequest {
            label_selector: params.label_selector,
            field_selector: params.field_selector,
            resource_version: params.resource_version,
            send_initial_events: params.send_initial_events,
            bookmarks: params.bookmarks,
            timeout_seconds: params.timeout_seconds.into(),
        };
        let watching = self.inner.registry.watch(&target, &request).await?;
        let events = stream::unfold(watching, |mut watching| async move {
            let event = watching.next().await?;
            let event = event.map(|event| match event.form {
                EventForm::Added => WatchEvent::Added(event.object),
                EventForm::Modified => WatchEvent::Modified(event.object),
                EventForm::Deleted => WatchEvent::Deleted(event.object),
                EventForm::Bookmark => WatchEvent::Bookmark {
                    resource_version: event.object.resource_version().to_owned(),
                    initial_events_end: event
                        .object
                        .annotation(crate::registry::INITIAL_EVENTS_END)
                        .is_some(),
                },
            });
            Some((event, watching))
        });
        Ok(events.boxed())
    }
}

/// A list or watch that selects one name is a wish for that object, as
/// upstream's request info sees it.
fn select_by_field(attributes: &mut Attributes, text: &str) {
    attributes.field_selector = FieldSelector::parse(text).ok();
    let name = attributes
        .field_selector
        .as_ref()
        .and_then(|selector| selector.requires("metadata.name"));
    if let Some(name) = name.map(str::to_owned)
        && attributes.name.is_empty()
    {
        attributes.name = name;
    }
}
