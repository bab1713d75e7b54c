//! Patching objects.

use super::context::{FieldValidation, RequestContext, Target, WriteOptions};
use super::create::{check_name, default, meta_text, place};
use super::mutation::{Mutation, Plan, Stored};
use super::update::{UpdateOutcome, check_version, finished, served};
use super::{Registry, fields, owners};
use crate::error;
use async_trait::async_trait;
use bytes::Bytes;
use kontiki_client::PatchKind;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Object, Status, Value};
use kontiki_patch::{json_patch, merge_patch, strategic_merge_patch};
use kontiki_schema::strict::{self, Problem};
use kontiki_schema::{Node, Schema};

/// A patch as it came in.
#[derive(Clone, Debug)]
pub struct PatchBody {
    /// Its format.
    pub kind: PatchKind,
    /// Its text, in JSON.
    pub json: Bytes,
}

/// The schema of a kind's objects.
pub(crate) fn node(kind: &Kind) -> Node<'_> {
    if let Some(custom) = &kind.custom {
        return Node::custom(custom.schema());
    }
    Schema::get()
        .type_by_name(&kind.schema)
        .map_or_else(Node::untyped, Node::of)
}

/// Applies a patch that is not server-side apply to an object's tree.
pub(crate) fn patched(node: Node<'_>, object: &Tree, patch: &PatchBody) -> Result<Tree, Status> {
    let object = Value::Object(object.clone());
    let patched = match patch.kind {
        PatchKind::Json => json_patch(&object, &patch.json),
        PatchKind::Merge | PatchKind::Apply => merge_patch(&object, &patch.json),
        PatchKind::StrategicMerge => strategic_merge_patch(node, &object, &patch.json),
    };
    match patched.map_err(|error| error::from_patch(&error))? {
        Value::Object(tree) => Ok(tree),
        _ => Err(Status::bad_request("the patched object is not an object")),
    }
}

struct Patch<'a> {
    registry: &'a Registry,
    context: &'a RequestContext,
    target: &'a Target,
    options: &'a WriteOptions,
    patch: &'a PatchBody,
}

/// Tells [`Registry::patch`] that the object is to be created.
const CREATE_INSTEAD: &str = "CreateInstead";

#[async_trait]
impl Mutation for Patch<'_> {
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status> {
        let target = self.target;
        let Some(existing) = existing else {
            if self.patch.kind == PatchKind::Apply && target.subresource.is_empty() {
                return Err(Status::failure(0, CREATE_INSTEAD, ""));
            }
            return Err(target.not_found());
        };
        let live = served(target, existing);
        let wish = if self.patch.kind == PatchKind::Apply {
            fields::apply(target, self.context, self.options, Some(&live), self.patch)?
        } else {
            let wish = patched(node(&target.kind), &live, self.patch)?;
            self.check_fields(&wish)?;
            let mut wish = default(&target.kind, wish)?;
            check_name(target, &wish)?;
            place(target, &mut wish)?;
            fields::on_update(
                &target.kind,
                self.context,
                self.options,
                &live,
                &mut wish,
                &target.subresource,
            );
            wish
        };
        let mut wish = wish;
        owners::dedup(self.context, &mut wish);
        check_version(target, &wish, existing)?;
        self.registry
            .finish_update(self.context, target, existing, wish, self.options.dry_run)
            .await
    }
}

impl Patch<'_> {
    fn check_fields(&self, wish: &Tree) -> Result<(), Status> {
        let validation = self.options.field_validation;
        if validation == FieldValidation::Ignore {
            return Ok(());
        }
        let value = Value::Object(wish.clone());
        let problems: Vec<Problem> = strict::unknown_members(node(&self.target.kind), &value)
            .into_iter()
            .map(Problem::UnknownField)
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        if validation == FieldValidation::Strict {
            let text = String::from_utf8_lossy(&self.patch.json).into_owned();
            let path = kontiki_kinds::Path::new("patch");
            let complaint =
                kontiki_kinds::FieldError::invalid(&path, text, strict::message(&problems));
            return Err(error::invalid(&self.target.kind, "", vec![complaint]));
        }
        for problem in problems {
            self.context.warn(problem.to_string());
        }
        Ok(())
    }
}

impl Registry {
    /// Patches an object, or the part of it that the target's subresource names.
    ///
    /// # Errors
    /// 400, 403, 404, 409, 422, or what the store says.
    pub async fn patch(
        &self,
        context: &RequestContext,
        target: &Target,
        patch: &PatchBody,
        options: &WriteOptions,
    ) -> Result<UpdateOutcome, Status> {
        let mut mutation = Patch {
            registry: self,
            context,
            target,
            options,
            patch,
        };
        let outcome = self
            .mutate(context, target, &mut mutation, options.dry_run)
            .await;
        match outcome {
            Err(status) if status.reason == CREATE_INSTEAD => {
                let wish = fields::apply(target, context, options, None, patch)?;
                let mut wish = default(&target.kind, wish)?;
                place(target, &mut wish)?;
                if !Object::new(wish.clone()).uid().is_empty() {
                    return Err(target.conflict(&format!(
                        "uid mismatch: the provided object specified uid {}, and no existing object was found",
                        meta_text(&wish, "uid")
                    )));
                }
                let object = self.create_shaped(context, target, wish, options).await?;
                Ok(UpdateOutcome {
                    object,
                    created: true,
                })
            }
            Err(status) => Err(status),
            Ok(outcome) => Ok(finished(target, outcome)),
        }
    }
}
