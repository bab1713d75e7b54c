//! Deleting objects: preconditions, grace, finalizers, and what becomes of dependents.

use super::context::{RequestContext, Target};
use super::create::{answer, attributes_of, metadata};
use super::mutation::{Mutation, Outcome, Plan, Stored};
use super::{ListPage, ListRequest, Registry};
use crate::admission::{Attributes, Operation};
use crate::codec;
use async_trait::async_trait;
use kontiki_client::{DeleteOptions, PropagationPolicy};
use kontiki_kinds::lifecycle::{self, Deletion};
use kontiki_kinds::{GarbageCollection, Kind, Tree};
use kontiki_object::{Details, Object, SharedObject, Status, Value};
use std::sync::Arc;

/// The finalizer of objects whose dependents shall stay.
const ORPHAN: &str = "orphan";
/// The finalizer of objects that wait for their dependents.
const FOREGROUND: &str = "foregroundDeletion";

const JOB_WARNING: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// A deletion.
#[derive(Clone, Debug, Default)]
pub struct DeleteRequest {
    /// How.
    pub options: DeleteOptions,
    /// The deprecated `orphanDependents`.
    pub orphan_dependents: Option<bool>,
    /// Do everything but delete.
    pub dry_run: bool,
}

/// What a deletion led to.
pub enum DeleteOutcome {
    /// It is gone; its last state.
    Gone(SharedObject),
    /// It waits for somebody.
    Waiting(SharedObject),
}

impl DeleteOutcome {
    /// The object.
    #[must_use]
    pub fn object(&self) -> &SharedObject {
        match self {
            Self::Gone(object) | Self::Waiting(object) => object,
        }
    }

    /// The `Status` that answers a deletion of a kind that does not answer the object.
    #[must_use]
    pub fn status(&self, kind: &Kind) -> Status {
        let object = self.object();
        Status::success(Some(Details {
            name: object.name().to_owned(),
            group: kind.group.to_string(),
            kind: kind.plural.to_string(),
            uid: object.uid().to_owned(),
            ..Details::default()
        }))
    }
}

/// Whether the object's own spec holds it (namespaces).
pub(super) fn is_held_by_spec(kind: &Kind, object: &Object) -> bool {
    kind.has_finalize()
        && object
            .get(&["spec", "finalizers"])
            .and_then(Value::as_array)
            .is_some_and(|finalizers| !finalizers.is_empty())
}

/// Kinds whose objects carry finalizers in their spec, which `finalize` removes.
trait Finalize {
    fn has_finalize(&self) -> bool;
}

impl Finalize for Kind {
    fn has_finalize(&self) -> bool {
        self.subresource("finalize").is_some()
    }
}

struct Delete<'a> {
    registry: &'a Registry,
    context: &'a RequestContext,
    target: &'a Target,
    request: DeleteRequest,
    /// Whether the last plan only stores what the deletion does to the object
    /// (a grace of zero, a finalizer less), for watchers to see before it goes.
    announces: bool,
}

#[async_trait]
impl Mutation for Delete<'_> {
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status> {
        let existing = existing.ok_or_else(|| self.target.not_found())?;
        self.check_preconditions(existing)?;
        let live = super::update::served(self.target, existing);
        let mut attributes = Attributes {
            old: Some(&live),
            ..attributes_of(
                self.registry,
                self.context,
                self.target,
                Operation::Delete,
                self.request.dry_run,
            )
        };
        self.registry.admission.mutate(&mut attributes).await?;
        self.registry.admission.validate(&mut attributes).await?;
        let mut tree = existing.object.tree().clone();
        let changed = self.mark(existing, &mut tree);
        let has_news = tree != *existing.object.tree();
        let is_gone = matches!(changed, Marked::Gone);
        self.announces = is_gone && has_news && !self.request.dry_run;
        match changed {
            Marked::Gone if self.announces => Ok(Plan::Put(tree)),
            Marked::Gone => {
                let allocator = &self.registry.allocator;
                let guards = allocator
                    .on_delete(self.registry, self.target, &tree)
                    .await?;
                Ok(Plan::DeleteWith(tree, guards))
            }
            Marked::Waiting if has_news => Ok(Plan::Put(tree)),
            Marked::Waiting => Ok(Plan::Keep),
        }
    }
}

enum Marked {
    Gone,
    Waiting,
}

impl Delete<'_> {
    fn check_preconditions(&self, existing: &Stored) -> Result<(), Status> {
        let wanted = &self.request.options.preconditions;
        let object = &existing.object;
        if let Some(uid) = &wanted.uid
            && uid != object.uid()
        {
            return Err(self.other_object(&format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object.uid()
            )));
        }
        if let Some(version) = &wanted.resource_version
            && *version != existing.revision.to_string()
        {
            return Err(self.other_object(&format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                existing.revision
            )));
        }
        Ok(())
    }

    /// 409; upstream names the kind here, not the resource.
    fn other_object(&self, why: &str) -> Status {
        let kind = &self.target.kind;
        Status::conflict(&kind.group, &kind.kind, &self.target.name, why)
    }

    fn mark(&self, existing: &Stored, tree: &mut Tree) -> Marked {
        let kind = &self.target.kind;
        let context = self.context.strategy();
        let options = kontiki_kinds::DeleteOptions {
            grace_period_seconds: self.request.options.grace_period_seconds,
        };
        if kind.strategy.mark_deleted(&context, tree) {
            let is_held = Object::new(tree.clone()).finalizers().next().is_some();
            return if is_held {
                Marked::Waiting
            } else {
                Marked::Gone
            };
        }
        let deletion = lifecycle::before_delete(kind, &context, tree, options);
        let finalizers = self.finalizers(existing);
        let own: Vec<String> = existing.object.finalizers().map(str::to_owned).collect();
        if finalizers != own {
            let metadata = metadata(tree);
            if finalizers.is_empty() {
                metadata.remove("finalizers");
            } else {
                metadata.insert("finalizers".to_owned(), finalizers.clone().into());
            }
        }
        let is_held = !finalizers.is_empty() || is_held_by_spec(kind, &Object::new(tree.clone()));
        match deletion {
            Deletion::Immediate if !is_held => Marked::Gone,
            Deletion::Immediate => {
                let object = Object::new(tree.clone());
                if !object.is_terminating() {
                    lifecycle::mark_terminating(&context, tree, 0);
                } else {
                    metadata(tree).insert("deletionGracePeriodSeconds".to_owned(), Value::from(0));
                }
                if kind.has_finalize() {
                    // Namespaces know no grace: they go when they are empty.
                    metadata(tree).remove("deletionGracePeriodSeconds");
                    set_phase(tree, "Terminating");
                }
                Marked::Waiting
            }
            Deletion::Graceful | Deletion::Pending => Marked::Waiting,
        }
    }

    /// The finalizers that the wish for dependents leads to.
    fn finalizers(&self, existing: &Stored) -> Vec<String> {
        let policy = self.request.options.propagation_policy;
        let own: Vec<String> = existing.object.finalizers().map(str::to_owned).collect();
        let has = |name: &str| own.iter().any(|finalizer| finalizer == name);
        let default = self.target.kind.strategy.garbage_collection();
        if default == GarbageCollection::Unsupported {
            return own;
        }
        let orphan = match (self.request.orphan_dependents, policy) {
            (Some(orphan), _) => orphan,
            (None, Some(policy)) => policy == PropagationPolicy::Orphan,
            (None, None) if has(ORPHAN) => true,
            (None, None) if has(FOREGROUND) => false,
            (None, None) => default == GarbageCollection::Orphan,
        };
        let foreground = match (self.request.orphan_dependents, policy) {
            (Some(_), _) => false,
            (None, Some(policy)) => policy == PropagationPolicy::Foreground,
            (None, None) => has(FOREGROUND) && !has(ORPHAN),
        };
        let mut wanted: Vec<String> = own
            .iter()
            .filter(|name| *name != ORPHAN && *name != FOREGROUND)
            .cloned()
            .collect();
        if orphan {
            wanted.push(ORPHAN.to_owned());
        }
        if foreground {
            wanted.push(FOREGROUND.to_owned());
        }
        let mut sorted = (own.clone(), wanted.clone());
        sorted.0.sort();
        sorted.1.sort();
        if sorted.0 == sorted.1 { own } else { wanted }
    }
}

fn set_phase(tree: &mut Tree, phase: &str) {
    let status = tree
        .entry("status")
        .or_insert_with(|| Value::Object(Tree::new()));
    if let Some(status) = status.as_object_mut() {
        status.insert("phase".to_owned(), phase.into());
    }
}

impl Registry {
    /// Deletes an object, or marks it as terminating.
    ///
    /// # Errors
    /// 403, 404, 409, or what the store says.
    pub async fn delete(
        &self,
        context: &RequestContext,
        target: &Target,
        request: &DeleteRequest,
    ) -> Result<DeleteOutcome, Status> {
        let kind = &target.kind;
        let is_silent =
            request.options.propagation_policy.is_none() && request.orphan_dependents.is_none();
        if is_silent && kind.group == "batch" && kind.plural == "jobs" {
            context.warn(JOB_WARNING);
        }
        let mut delete = Delete {
            registry: self,
            context,
            target,
            request: request.clone(),
            announces: false,
        };
        let mut outcome = self
            .mutate(context, target, &mut delete, request.dry_run)
            .await?;
        while delete.announces {
            let Outcome::Updated(tree) = outcome else {
                break;
            };
            outcome = self.finish_announced(&mut delete, tree).await?;
        }
        Ok(match outcome {
            Outcome::Deleted(mut tree, revision) => {
                codec::stamp(&mut tree, revision);
                DeleteOutcome::Gone(answer(&target.kind, tree))
            }
            Outcome::Created(tree) | Outcome::Updated(tree) => {
                DeleteOutcome::Waiting(answer(&target.kind, tree))
            }
        })
    }

    /// Deletes an object that has been stored as going.
    async fn finish_announced(
        &self,
        delete: &mut Delete<'_>,
        tree: Tree,
    ) -> Result<Outcome, Status> {
        let version = super::create::meta_text(&tree, "resourceVersion");
        if let Some(wanted) = &mut delete.request.options.preconditions.resource_version {
            wanted.clone_from(&version);
        }
        let (context, target) = (delete.context, delete.target);
        match self.mutate(context, target, delete, false).await {
            // Somebody else was faster.
            Err(status) if status.is_not_found() => {
                delete.announces = false;
                Ok(Outcome::Deleted(tree, version.parse().unwrap_or_default()))
            }
            other => other,
        }
    }

    /// Deletes what a list selects; answers the objects.
    ///
    /// # Errors
    /// What a list or one of the deletions answers; objects that are gone meanwhile are no error.
    pub async fn delete_collection(
        self: &Arc<Self>,
        context: &RequestContext,
        target: &Target,
        list: &ListRequest,
        request: &DeleteRequest,
    ) -> Result<ListPage, Status> {
        let mut page = self.list(target, list).await?;
        let mut deleted = Vec::with_capacity(page.items.len());
        for item in std::mem::take(&mut page.items) {
            let one = Target::object(&target.kind, item.namespace(), item.name());
            match self.delete(context, &one, request).await {
                Ok(_) => deleted.push(item),
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        page.items = deleted;
        Ok(page)
    }
}

/// Kinds whose deletion answers the object instead of a `Status`, as upstream's
/// registries are configured.
const RETURNS_OBJECT: [&str; 14] = [
    "csidrivers",
    "csinodes",
    "deviceclasses",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourcequotas",
    "resourceslices",
    "serviceaccounts",
    "services",
    "storageclasses",
];

/// Whether a deletion of such an object answers the object.
#[must_use]
pub fn returns_object(kind: &Kind) -> bool {
    kind.plural == "volumeattachments" || RETURNS_OBJECT.contains(&&*kind.plural)
}
