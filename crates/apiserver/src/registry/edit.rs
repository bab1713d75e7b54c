//! Changes that the server itself makes to an object on behalf of a
//! subresource: a binding, a scale.

use super::context::{RequestContext, Target, WriteOptions};
use super::mutation::{Mutation, Plan, Stored};
use super::update::{UpdateOutcome, finished, served};
use super::{Registry, fields};
use crate::codec;
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::Status;

/// Changes the served form of an object; told the object as it is.
pub type Edit<'a> = &'a mut (dyn FnMut(&mut Tree) -> Result<(), Status> + Send);

struct Editing<'a, 'b> {
    registry: &'a Registry,
    context: &'a RequestContext,
    target: &'a Target,
    options: &'a WriteOptions,
    edit: Edit<'b>,
    /// Whether the kind's strategy looks at the change: not where the change
    /// is one that only the server may make.
    is_checked: bool,
}

#[async_trait]
impl Mutation for Editing<'_, '_> {
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status> {
        let existing = existing.ok_or_else(|| self.target.not_found())?;
        let live = served(self.target, existing);
        let mut wish = live.clone();
        (self.edit)(&mut wish)?;
        let kind = &self.target.kind;
        if self.is_checked {
            let part = &self.target.subresource;
            fields::on_update(kind, self.context, self.options, &live, &mut wish, part);
            let mut target = self.target.clone();
            target.subresource.clear();
            return self
                .registry
                .finish_update(self.context, &target, existing, wish, self.options.dry_run)
                .await;
        }
        codec::to_stored(kind, &mut wish);
        Ok(Plan::Put(wish))
    }
}

impl Registry {
    /// Changes an object by code of the server.
    ///
    /// # Errors
    /// What the edit says, 404, or what an update answers.
    pub async fn edit(
        &self,
        context: &RequestContext,
        target: &Target,
        options: &WriteOptions,
        is_checked: bool,
        edit: Edit<'_>,
    ) -> Result<UpdateOutcome, Status> {
        let mut editing = Editing {
            registry: self,
            context,
            target,
            options,
            edit,
            is_checked,
        };
        let outcome = self
            .mutate(context, target, &mut editing, options.dry_run)
            .await?;
        Ok(finished(target, outcome))
    }
}
