//! Applies plans: the only place in this crate that writes.

use crate::expectations::Expectation;
use crate::{Action, Plan};
use futures::future::join_all;
use kontiki_client::{
    Client, DeleteOptions, EventRecorder, EventType, ListParams, PatchKind, resources,
};
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status, Value};

/// Creations start with one and double, so that a refusal that holds for all of
/// them (a quota, a webhook) costs few requests.
const SLOW_START: usize = 1;
const TOGETHER_MAX: usize = 64;

/// Applies plans.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    events: EventRecorder,
}

/// What became of a plan.
pub(crate) struct Outcome {
    /// What the caches have to show before the key is looked at again.
    pub expectations: Vec<Expectation>,
    /// The first failure; what came after it was not tried.
    pub error: Option<Status>,
}

impl Executor {
    /// An executor that writes through `client` and tells through `events`.
    #[must_use]
    pub fn new(client: Client, events: EventRecorder) -> Self {
        Self { client, events }
    }

    pub(crate) async fn apply(&self, plan: &Plan) -> Outcome {
        let mut expectations = Vec::new();
        let mut rest = &plan.actions[..];
        let mut batch_max = SLOW_START;
        while let Some(first) = rest.first() {
            let alike = rest
                .iter()
                .take_while(|action| goes_with(first, action))
                .count();
            let size = match first {
                Action::Create { .. } => alike.min(batch_max),
                _ => alike.min(TOGETHER_MAX),
            };
            let (batch, later) = rest.split_at(size);
            let results = join_all(batch.iter().map(|action| self.act(action))).await;
            let mut failure = None;
            for (action, result) in batch.iter().zip(results) {
                self.tell(plan.report.as_ref(), action, &result);
                match result {
                    Ok(expectation) => expectations.extend(expectation.map(|(_, e)| e)),
                    Err(status) => failure = failure.or(Some(status)),
                }
            }
            if failure.is_some() {
                return Outcome {
                    expectations,
                    error: failure.filter(|status| !is_namespace_ending(status)),
                };
            }
            batch_max = (batch_max * 2).min(TOGETHER_MAX);
            rest = later;
        }
        for event in &plan.events {
            self.events.event(
                &event.about,
                event.kind,
                event.reason,
                event.message.clone(),
            );
        }
        Outcome {
            expectations,
            error: None,
        }
    }

    async fn act(&self, action: &Action) -> Result<Option<(String, Expectation)>, Status> {
        let (resource, written) = match action {
            Action::Create {
                resource,
                namespace,
                body,
            } => {
                let target = self.client.scoped(resource, namespace);
                (resource, target.create(body.clone()).await?)
            }
            Action::Update {
                resource,
                subresource,
                body,
            } => (resource, self.update(resource, *subresource, body).await?),
            Action::Patch {
                resource,
                namespace,
                name,
                status,
                patch,
            } => {
                let target = self.client.scoped(resource, namespace);
                let patched = if *status {
                    target
                        .patch_status(name, PatchKind::Merge, patch.clone())
                        .await
                } else {
                    target.patch(name, PatchKind::Merge, patch.clone()).await
                };
                match patched {
                    Err(status) if status.is_not_found() => return Ok(None),
                    patched => (resource, patched?),
                }
            }
            Action::Adopt {
                owner_resource,
                owner,
                resource,
                name,
                patch,
            } => {
                self.must_live(owner_resource, owner).await?;
                let target = self.client.scoped(resource, owner.namespace());
                (
                    resource,
                    target.patch(name, PatchKind::Merge, patch.clone()).await?,
                )
            }
            Action::Delete {
                resource,
                namespace,
                name,
                options,
            } => return self.delete(resource, namespace, name, options).await,
            Action::DeleteCollection {
                resource,
                namespace,
            } => {
                let target = self.client.scoped(resource, namespace);
                let options = DeleteOptions {
                    propagation_policy: Some(kontiki_client::PropagationPolicy::Background),
                    ..DeleteOptions::default()
                };
                target
                    .delete_collection(ListParams::default(), options)
                    .await?;
                return Ok(None);
            }
        };
        let expectation = Expectation::written(resource, &written);
        Ok(expectation.map(|expectation| (written.name().to_owned(), expectation)))
    }

    async fn update(
        &self,
        resource: &GroupVersionResource,
        subresource: Option<&'static str>,
        body: &Value,
    ) -> Result<SharedObject, Status> {
        let field = |name: &str| body["metadata"][name].as_str().unwrap_or_default();
        let target = self.client.scoped(resource, field("namespace"));
        match subresource {
            None => target.update(field("name"), body.clone()).await,
            Some("status") => target.update_status(field("name"), body.clone()).await,
            Some(other) => target.update_sub(field("name"), other, body.clone()).await,
        }
    }

    async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Option<(String, Expectation)>, Status> {
        let target = self.client.scoped(resource, namespace);
        match target.delete(name, options.clone()).await {
            // Gone already, or another object has the name by now; but a version
            // that moved on has to be looked at again.
            Err(status) if status.is_not_found() => return Ok(None),
            Err(status)
                if status.is_conflict() && options.preconditions.resource_version.is_none() =>
            {
                return Ok(None);
            }
            other => other?,
        }
        let uid = options.preconditions.uid.as_deref();
        Ok(uid.map(|uid| {
            let expectation = Expectation::deleted(resource, namespace, name, uid);
            (name.to_owned(), expectation)
        }))
    }

    /// A cache may still show an owner that is being deleted; adopting for it
    /// would fight with the garbage collector.
    async fn must_live(
        &self,
        resource: &GroupVersionResource,
        owner: &Object,
    ) -> Result<(), Status> {
        let target = self.client.scoped(resource, owner.namespace());
        let live = target.get(owner.name()).await?;
        if live.uid() != owner.uid() || live.is_terminating() {
            let why = "the owner was deleted or replaced, nothing is adopted for it";
            let status = Status::conflict(&resource.group, &resource.resource, owner.name(), why);
            return Err(status);
        }
        Ok(())
    }

    /// Tells about the pods that came and went.
    fn tell(
        &self,
        about: Option<&SharedObject>,
        action: &Action,
        result: &Result<Option<(String, Expectation)>, Status>,
    ) {
        let Some(about) = about else { return };
        let (resource, created) = match action {
            Action::Create { resource, .. } => (resource, true),
            Action::Delete { resource, .. } => (resource, false),
            _ => return,
        };
        if *resource != resources::PODS {
            return;
        }
        let (kind, reason, message) = match (created, result) {
            (true, Ok(Some((name, _)))) => (
                EventType::Normal,
                "SuccessfulCreate",
                format!("Created pod: {name}"),
            ),
            (false, Ok(Some((name, _)))) => (
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted pod: {name}"),
            ),
            (true, Err(status)) if !is_namespace_ending(status) => (
                EventType::Warning,
                "FailedCreate",
                format!("Error creating: {status}"),
            ),
            (false, Err(status)) => (
                EventType::Warning,
                "FailedDelete",
                format!("Error deleting: {status}"),
            ),
            _ => return,
        };
        self.events.event(about, kind, reason, message);
    }
}

/// Whether two neighbouring actions may be done together.
fn goes_with(first: &Action, other: &Action) -> bool {
    matches!(
        (first, other),
        (Action::Create { .. }, Action::Create { .. })
            | (Action::Delete { .. }, Action::Delete { .. })
            | (
                Action::DeleteCollection { .. },
                Action::DeleteCollection { .. }
            )
    ) || std::ptr::eq(first, other)
}

/// Nothing can be created any more, and nothing needs to be.
fn is_namespace_ending(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}
