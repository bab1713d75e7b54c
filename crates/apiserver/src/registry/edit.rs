//! Changes that the server itself makes to an object on behalf of a
//! subresource: a binding, a scale.

use super::Registry;
use super::context::{RequestContext, Target, WriteOptions};
use super::create::settle;
use super::mutation::{Mutation, Plan, Stored};
use super::update::{UpdateOutcome, finished, served};
use crate::codec;
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::Status;

/// Changes the served form of an object; told the object as it is. Who owns
/// what afterwards is the edit's own business.
pub type Edit<'a> = &'a mut (dyn FnMut(&mut Tree) -> Result<(), Status> + Send);

/// Whose rules a change follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nobody's: it is one that only the server may make.
    Nothing,
    /// Those for the object itself.
    Object,
    /// Those for its status.
    Status,
}

struct Editing<'a, 'b> {
    registry: &'a Registry,
    context: &'a RequestContext,
    target: &'a Target,
    options: &'a WriteOptions,
    edit: Edit<'b>,
    check: Check,
}

#[async_trait]
impl Mutation for Editing<'_, '_> {
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status> {
        let existing = existing.ok_or_else(|| self.target.not_found())?;
        let live = served(self.target, existing);
        let mut wish = live.clone();
        (self.edit)(&mut wish)?;
        let kind = &self.target.kind;
        let part = match self.check {
            Check::Nothing => None,
            Check::Object => Some(""),
            Check::Status => Some("status"),
        };
        if let Some(part) = part {
            let mut target = self.target.clone();
            part.clone_into(&mut target.subresource);
            return self
                .registry
                .finish_update(self.context, &target, existing, wish, self.options.dry_run)
                .await;
        }
        codec::to_stored(kind, &mut wish);
        settle(&mut wish);
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
        check: Check,
        edit: Edit<'_>,
    ) -> Result<UpdateOutcome, Status> {
        let mut editing = Editing {
            registry: self,
            context,
            target,
            options,
            edit,
            check,
        };
        let outcome = self
            .mutate(context, target, &mut editing, options.dry_run)
            .await?;
        Ok(finished(target, outcome))
    }
}
