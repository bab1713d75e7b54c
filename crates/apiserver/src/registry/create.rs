//! Creating objects.

use super::context::{RequestContext, Target, WriteOptions};
use super::mutation::{Mutation, Plan, Stored};
use super::{Registry, fields, names, owners};
use crate::admission::{Attributes, Operation};
use crate::{codec, error};
use async_trait::async_trait;
use kontiki_kinds::{CustomForm, Kind, Tree, lifecycle};
use kontiki_object::{Object, SharedObject, Status, Value, time};
use kontiki_schema::{Schema, normal, strict};
use std::sync::Arc;

/// How often another generated name is tried if one is taken.
const GENERATED_NAMES_MAX: usize = 8;

/// Brings an object that came in into the form that `kind` serves: types
/// checked, canonical values, `apiVersion` and `kind` filled in.
pub(crate) fn shape(kind: &Kind, object: Tree) -> Result<Tree, Status> {
    if let Some(custom) = &kind.custom {
        return shape_custom(kind, &**custom, object);
    }
    let mut value = Value::Object(object);
    if let Some(ty) = Schema::get().type_by_name(&kind.schema) {
        if let Some(problem) = strict::check_types(ty, &value) {
            return Err(Status::bad_request(format!(
                "{name} in version \"{version}\" cannot be handled as a {name}: {problem}",
                name = kind.kind,
                version = kind.version,
            )));
        }
        normal::normalise(ty, &mut value);
    }
    let Value::Object(mut tree) = value else {
        return Err(Status::bad_request("an object is needed"));
    };
    tree.insert("apiVersion".to_owned(), kind.api_version().into());
    tree.insert("kind".to_owned(), kind.kind.clone().into());
    tree.entry("metadata")
        .or_insert_with(|| Value::Object(Tree::new()));
    Ok(tree)
}

fn shape_custom(kind: &Kind, custom: &dyn CustomForm, mut tree: Tree) -> Result<Tree, Status> {
    custom.shape(&mut tree).map_err(|problem| {
        Status::bad_request(format!(
            "{name} in version \"{version}\" cannot be handled as a {name}: {problem}",
            name = kind.kind,
            version = kind.version,
        ))
    })?;
    tree.insert("apiVersion".to_owned(), kind.api_version().into());
    tree.insert("kind".to_owned(), kind.kind.clone().into());
    Ok(tree)
}

/// [`shape`], then the kind's defaults.
pub(crate) fn default(kind: &Kind, object: Tree) -> Result<Tree, Status> {
    let mut tree = shape(kind, object)?;
    (kind.defaults)(&mut tree);
    Ok(tree)
}

/// The canonical form of an object as it is stored: what strategies took away
/// or added looks as if it had come in so.
pub(super) fn settle(tree: &mut Tree) {
    let text = |field: &str| tree.get(field).and_then(Value::as_str).unwrap_or_default();
    let ty = Schema::get().type_for_api_version(text("apiVersion"), text("kind"));
    let Some(ty) = ty else {
        return;
    };
    let mut value = Value::Object(std::mem::take(tree));
    normal::normalise(ty, &mut value);
    if let Value::Object(settled) = value {
        *tree = settled;
    }
}

pub(super) fn metadata(tree: &mut Tree) -> &mut Tree {
    let value = tree
        .entry("metadata")
        .or_insert_with(|| Value::Object(Tree::new()));
    if !value.is_object() {
        *value = Value::Object(Tree::new());
    }
    value.as_object_mut().expect("was made a map just now")
}

pub(super) fn meta_text(tree: &Tree, field: &str) -> String {
    tree.get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Fills in or checks the namespace of an object that came in.
pub(crate) fn place(target: &Target, tree: &mut Tree) -> Result<(), Status> {
    let own = meta_text(tree, "namespace");
    if own == target.namespace {
        return Ok(());
    }
    if !own.is_empty() && target.kind.namespaced {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if target.namespace.is_empty() {
        return Ok(());
    }
    metadata(tree).insert("namespace".to_owned(), target.namespace.clone().into());
    Ok(())
}

/// Takes away what callers cannot say about a new object.
pub(super) fn wipe_system_fields(tree: &mut Tree) {
    let metadata = metadata(tree);
    for field in [
        "selfLink",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        metadata.remove(field);
    }
}

/// Sets what only the server sets.
pub(super) fn fill_system_fields(context: &RequestContext, tree: &mut Tree) {
    wipe_system_fields(tree);
    let metadata = metadata(tree);
    metadata.remove("resourceVersion");
    let uid = uuid::Uuid::new_v4().to_string();
    metadata.insert("uid".to_owned(), uid.into());
    let now = time::format(context.now);
    metadata.insert("creationTimestamp".to_owned(), now.into());
}

/// Whether an object that came in has the name of its URL.
///
/// # Errors
/// 400 if it has none, or another one.
pub(crate) fn check_name(target: &Target, tree: &Tree) -> Result<(), Status> {
    let own = meta_text(tree, "name");
    let name = &target.name;
    if own.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if own != *name {
        return Err(Status::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// The answer to a write: the served form.
pub(super) fn answer(kind: &Kind, mut tree: Tree) -> SharedObject {
    codec::to_served(kind, &mut tree);
    Arc::new(Object::new(tree))
}

struct Create<'a> {
    registry: &'a Registry,
    target: &'a Target,
    tree: Tree,
}

#[async_trait]
impl Mutation for Create<'_> {
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status> {
        if existing.is_some() {
            let kind = &self.target.kind;
            return Err(Status::already_exists(
                &kind.group,
                &kind.plural,
                &self.target.name,
            ));
        }
        let mut tree = self.tree.clone();
        let guards = self
            .registry
            .allocator
            .on_create(self.registry, self.target, &mut tree)
            .await?;
        Ok(Plan::PutWith(tree, guards))
    }
}

impl Registry {
    /// Creates an object from the form that the kind serves.
    ///
    /// # Errors
    /// 400, 403, 409, 422, or what the store says.
    pub async fn create(
        &self,
        context: &RequestContext,
        target: &Target,
        object: Tree,
        options: &WriteOptions,
    ) -> Result<SharedObject, Status> {
        let mut tree = default(&target.kind, object)?;
        place(target, &mut tree)?;
        if !meta_text(&tree, "resourceVersion").is_empty() {
            let text = "resourceVersion should not be set on objects to be created";
            let mut status = Status::failure(500, "", text);
            status.details = None;
            return Err(status);
        }
        wipe_system_fields(&mut tree);
        owners::dedup(context, &mut tree);
        fields::on_create(&target.kind, context, options, &mut tree, "");
        self.create_shaped(context, target, tree, options).await
    }

    /// Creates an object that has its defaults and field managers.
    pub(super) async fn create_shaped(
        &self,
        context: &RequestContext,
        target: &Target,
        mut tree: Tree,
        options: &WriteOptions,
    ) -> Result<SharedObject, Status> {
        let mut target = target.clone();
        // Plugins see a generated name only once they judge.
        target.name = meta_text(&tree, "name");
        let mut attributes = Attributes {
            object: Some(&mut tree),
            ..attributes_of(self, context, &target, Operation::Create, options.dry_run)
        };
        self.admission.mutate(&mut attributes).await?;
        let tree = shape(&target.kind, tree)?;
        let prefix = meta_text(&tree, "generateName");
        let is_generated = meta_text(&tree, "name").is_empty() && !prefix.is_empty();
        for attempt in 1.. {
            let mut tree = tree.clone();
            if is_generated {
                let name = names::generate(&prefix);
                metadata(&mut tree).insert("name".to_owned(), name.into());
            }
            let outcome = self.create_named(context, &target, tree, options).await;
            match outcome {
                Err(status) if is_generated && status.is_already_exists() => {
                    if attempt >= GENERATED_NAMES_MAX {
                        return Err(generated_name_taken(&target, &prefix));
                    }
                }
                other => return other,
            }
        }
        unreachable!("the loop above returns")
    }

    async fn create_named(
        &self,
        context: &RequestContext,
        target: &Target,
        mut tree: Tree,
        options: &WriteOptions,
    ) -> Result<SharedObject, Status> {
        let kind = &target.kind;
        let mut target = target.clone();
        target.name = meta_text(&tree, "name");
        fill_system_fields(context, &mut tree);
        codec::to_stored(kind, &mut tree);
        self.allocator.prepare(&target, &mut tree, None)?;
        let warnings = lifecycle::before_create(kind, &context.strategy(), &mut tree)
            .map_err(|errors| error::invalid(kind, &target.name, errors))?;
        for warning in warnings {
            context.warn(warning);
        }
        settle(&mut tree);
        let mut seen = tree.clone();
        let mut attributes = Attributes {
            object: Some(&mut seen),
            ..attributes_of(self, context, &target, Operation::Create, options.dry_run)
        };
        self.admission.validate(&mut attributes).await?;
        if kind.storage.is_none() {
            return Ok(answer(kind, tree));
        }
        let mut create = Create {
            registry: self,
            target: &target,
            tree,
        };
        let outcome = self
            .mutate(context, &target, &mut create, options.dry_run)
            .await?;
        Ok(answer(kind, outcome.into_tree()))
    }
}

/// Attributes without objects.
pub(super) fn attributes_of<'a>(
    registry: &'a Registry,
    context: &'a RequestContext,
    target: &'a Target,
    operation: Operation,
    dry_run: bool,
) -> Attributes<'a> {
    Attributes {
        context,
        target,
        operation,
        object: None,
        old: None,
        dry_run,
        registry,
        reinvocation: crate::admission::Reinvocation::default(),
    }
}

fn generated_name_taken(target: &Target, prefix: &str) -> Status {
    let kind = &target.kind;
    let mut status = Status::already_exists(&kind.group, &kind.plural, prefix);
    status.message = format!(
        "{} \"{prefix}\" already exists, the server was not able to generate a unique name for the object",
        kind.group_resource()
    );
    if let Some(details) = &mut status.details {
        details.retry_after_seconds = 1;
    }
    status
}
