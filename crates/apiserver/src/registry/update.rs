//! Replacing objects and their parts.

use super::context::{RequestContext, Target, WriteOptions};
use super::create::{
    answer, attributes_of, check_name, default, meta_text, metadata, place, settle, shape,
};
use super::mutation::{Mutation, Outcome, Plan, Stored};
use super::{Registry, fields, owners};
use crate::admission::{Attributes, Operation};
use crate::{codec, error};
use async_trait::async_trait;
use kontiki_kinds::{Kind, Tree, lifecycle};
use kontiki_object::{Object, SharedObject, Status, Value, same_trees};

/// What an update or patch led to.
pub struct UpdateOutcome {
    /// The object now.
    pub object: SharedObject,
    /// Whether it did not exist before.
    pub created: bool,
}

struct Update<'a> {
    registry: &'a Registry,
    context: &'a RequestContext,
    target: &'a Target,
    options: &'a WriteOptions,
    /// The wish, shaped and defaulted.
    wish: Tree,
}

#[async_trait]
impl Mutation for Update<'_> {
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status> {
        let Some(existing) = existing else {
            return self.create_on_update();
        };
        let target = self.target;
        let mut wish = self.wish.clone();
        check_version(target, &wish, existing)?;
        let uid = meta_text(&wish, "uid");
        if !uid.is_empty() && uid != existing.object.uid() {
            return Err(target.other_uid(&uid, existing.object.uid()));
        }
        let live = served(target, existing);
        // What only the server knows is not a wish.
        keep_absent(&mut wish, &live);
        fields::on_update(
            &target.kind,
            self.context,
            self.options,
            &live,
            &mut wish,
            &target.subresource,
        );
        self.registry
            .finish_update(self.context, target, existing, wish, self.options.dry_run)
            .await
    }
}

impl Update<'_> {
    fn create_on_update(&self) -> Result<Plan, Status> {
        let target = self.target;
        if !target.subresource.is_empty() || !target.kind.strategy.allows_create_on_update() {
            return Err(target.not_found());
        }
        Err(Status::failure(0, CREATE_INSTEAD, ""))
    }
}

/// Tells [`Registry::update`] that the object is to be created.
const CREATE_INSTEAD: &str = "CreateInstead";

/// The served form of what is stored.
pub(super) fn served(target: &Target, existing: &Stored) -> Tree {
    let mut tree = existing.object.tree().clone();
    codec::to_served(&target.kind, &mut tree);
    tree
}

/// Absent system metadata is that of the live object.
fn keep_absent(wish: &mut Tree, live: &Tree) {
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        let value = meta_text(live, field);
        let own = meta_text(wish, field);
        if own.is_empty() && !value.is_empty() {
            metadata(wish).insert(field.to_owned(), value.into());
        }
    }
}

pub(super) fn check_version(target: &Target, wish: &Tree, existing: &Stored) -> Result<(), Status> {
    let version = meta_text(wish, "resourceVersion");
    if version.is_empty() || version == "0" {
        if target.kind.strategy.allows_unconditional_update() {
            return Ok(());
        }
        let path = kontiki_kinds::Path::new("metadata").child("resourceVersion");
        let complaint = kontiki_kinds::FieldError::invalid(
            &path,
            Value::from(0),
            "must be specified for an update",
        );
        // Upstream names the resource here, not the kind.
        let kind = &target.kind;
        return Err(Status::invalid(
            &kind.group,
            &kind.plural,
            &target.name,
            vec![complaint.into()],
        ));
    }
    if version == existing.revision.to_string() {
        return Ok(());
    }
    if version.parse::<u64>().is_err() {
        let text = format!("strconv.ParseUint: parsing \"{version}\": invalid syntax");
        return Err(Status::failure(500, "", text));
    }
    Err(target.modified())
}

impl Registry {
    /// Replaces an object, or the part of it that the target's subresource names.
    ///
    /// # Errors
    /// 400, 403, 404, 409, 422, or what the store says.
    pub async fn update(
        &self,
        context: &RequestContext,
        target: &Target,
        object: Tree,
        options: &WriteOptions,
    ) -> Result<UpdateOutcome, Status> {
        let mut wish = default(&target.kind, object)?;
        place(target, &mut wish)?;
        check_name(target, &wish)?;
        owners::dedup(context, &mut wish);
        let mut update = Update {
            registry: self,
            context,
            target,
            options,
            wish,
        };
        let outcome = self
            .mutate(context, target, &mut update, options.dry_run)
            .await;
        match outcome {
            Err(status) if status.reason == CREATE_INSTEAD => {
                self.create_from_update(context, target, update.wish, options)
                    .await
            }
            Err(status) => Err(status),
            Ok(outcome) => Ok(finished(target, outcome)),
        }
    }

    async fn create_from_update(
        &self,
        context: &RequestContext,
        target: &Target,
        mut wish: Tree,
        options: &WriteOptions,
    ) -> Result<UpdateOutcome, Status> {
        let version = meta_text(&wish, "resourceVersion");
        if !version.is_empty() && version != "0" {
            return Err(target.not_found());
        }
        metadata(&mut wish).remove("resourceVersion");
        let object = self.create(context, target, wish, options).await?;
        Ok(UpdateOutcome {
            object,
            created: true,
        })
    }

    /// From a wish in its served form to a plan: admission, strategy, and the
    /// end of objects that only waited for their finalizers.
    pub(super) async fn finish_update(
        &self,
        context: &RequestContext,
        target: &Target,
        existing: &Stored,
        mut wish: Tree,
        dry_run: bool,
    ) -> Result<Plan, Status> {
        let kind = &target.kind;
        let live = served(target, existing);
        let mut attributes = Attributes {
            object: Some(&mut wish),
            old: Some(&live),
            ..attributes_of(self, context, target, Operation::Update, dry_run)
        };
        self.admission.mutate(&mut attributes).await?;
        let mut new = shape(kind, wish)?;
        codec::to_stored(kind, &mut new);
        let old = existing.object.tree();
        self.allocator.prepare(target, &mut new, Some(old))?;
        let warnings = lifecycle::before_update(
            kind,
            &context.strategy(),
            &target.subresource,
            &mut new,
            old,
        )
        .map_err(|errors| error::invalid(kind, &target.name, errors))?;
        for warning in warnings {
            context.warn(warning);
        }
        settle(&mut new);
        let mut seen = new.clone();
        let mut attributes = Attributes {
            object: Some(&mut seen),
            old: Some(old),
            ..attributes_of(self, context, target, Operation::Update, dry_run)
        };
        self.admission.validate(&mut attributes).await?;
        codec::stamp(&mut new, existing.revision);
        if ends_with(target, &new) {
            let guards = self.allocator.on_delete(self, target, &new).await?;
            return Ok(Plan::DeleteWith(new, guards));
        }
        let guards = self
            .allocator
            .on_update(self, target, &mut new, old)
            .await?;
        if is_unchanged(kind, &new, old) {
            return Ok(Plan::Keep);
        }
        Ok(Plan::PutWith(new, guards))
    }
}

pub(super) fn finished(target: &Target, outcome: Outcome) -> UpdateOutcome {
    let created = matches!(outcome, Outcome::Created(_));
    UpdateOutcome {
        object: answer(&target.kind, outcome.into_tree()),
        created,
    }
}

/// Whether the update took the last thing away that a terminating object waited for.
fn ends_with(target: &Target, new: &Tree) -> bool {
    let object = Object::new(new.clone());
    object.is_terminating()
        && object.finalizers().next().is_none()
        && object
            .get(&["metadata", "deletionGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or_default()
            == 0
        && !super::delete::is_held_by_spec(&target.kind, &object)
}

/// Whether what would be stored is what is stored, but for the times in
/// `managedFields`: then nothing is written, and controllers that say the same
/// again disturb nobody (as upstream, which compares the encoded bytes).
fn is_unchanged(kind: &Kind, new: &Tree, old: &Tree) -> bool {
    fn without_times(tree: &Tree) -> Tree {
        let mut tree = tree.clone();
        let entries = tree
            .get_mut("metadata")
            .and_then(|metadata| metadata.get_mut("managedFields"))
            .and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        tree
    }
    if new == old {
        return true;
    }
    let (new, old) = (without_times(new), without_times(old));
    // Only the encoding knows which empty fields say something.
    new == old || same_trees(&new, &old) && codec::encode(kind, new) == codec::encode(kind, old)
}
