//! Plans of writes, and the one loop that carries them out.

use super::Registry;
use super::context::{RequestContext, Target};
use crate::cache::CachedObject;
use crate::{codec, error};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{Object, SharedObject, Status};
use kontiki_store::{
    Compare, DeleteRangeRequest, KeyRange, Op, OpResponse, PutRequest, RangeRequest, Revision,
    TxnRequest,
};
use std::sync::Arc;

/// How often a plan is made anew because the object changed meanwhile.
const ATTEMPTS_MAX: usize = 32;

/// An object as it is stored now.
#[derive(Clone)]
pub struct Stored {
    /// In its stored form.
    pub object: SharedObject,
    /// Its revision.
    pub revision: Revision,
}

/// A further key that the same transaction writes.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The key.
    pub key: String,
    /// The revision that it must have; 0: it must not exist; `None`: whatever it has.
    pub revision: Option<Revision>,
    /// What becomes of it.
    pub op: Op,
}

/// What is to become of an object, in its stored form.
pub enum Plan {
    /// Store this.
    Put(Tree),
    /// Store this along with other keys.
    PutWith(Tree, Vec<Guard>),
    /// Remove it; the tree is the last state that is told to the caller.
    Delete(Tree),
    /// Remove it along with other keys.
    DeleteWith(Tree, Vec<Guard>),
    /// Leave it as it is.
    Keep,
}

/// Makes a plan from what is stored; may be asked several times.
#[async_trait]
pub trait Mutation: Send {
    /// The plan. `existing` is absent if the object does not exist.
    async fn plan(&mut self, existing: Option<&Stored>) -> Result<Plan, Status>;
}

/// What became of an object, in its stored form.
pub enum Outcome {
    /// It was created.
    Created(Tree),
    /// It was changed, or left as it is.
    Updated(Tree),
    /// It is gone; its last state, which tells the version that it was planned
    /// from, and the revision of the deletion.
    Deleted(Tree, Revision),
}

impl Outcome {
    /// The object.
    #[must_use]
    pub fn into_tree(self) -> Tree {
        match self {
            Self::Created(tree) | Self::Updated(tree) | Self::Deleted(tree, _) => tree,
        }
    }
}

struct Write {
    txn: TxnRequest,
    tree: Tree,
    is_delete: bool,
}

impl Registry {
    /// Carries a mutation out: plan, write if nothing changed meanwhile, else again.
    pub(crate) async fn mutate(
        &self,
        context: &RequestContext,
        target: &Target,
        mutation: &mut dyn Mutation,
        dry_run: bool,
    ) -> Result<Outcome, Status> {
        let _ = context;
        let key = target.store_key();
        // The first plan is made from the cache, which may lag; only a plan
        // from the store's own answer may fail for what it saw.
        let mut existing = self.cached_stored(target).await?;
        let mut is_fresh = false;
        for _ in 0..ATTEMPTS_MAX {
            let plan = match mutation.plan(existing.as_ref()).await {
                Ok(plan) => plan,
                Err(status) if is_fresh => return Err(status),
                Err(_) => {
                    existing = self.read_stored(target, &key).await?;
                    is_fresh = true;
                    continue;
                }
            };
            if matches!(plan, Plan::Keep) {
                if !is_fresh {
                    existing = self.read_stored(target, &key).await?;
                    is_fresh = true;
                    continue;
                }
                let tree = existing.map(|stored| stored.object.tree().clone());
                return Ok(Outcome::Updated(tree.unwrap_or_default()));
            }
            let revision = existing.as_ref().map_or(0, |stored| stored.revision);
            if dry_run {
                return Ok(dry_outcome(plan, revision));
            }
            let mut write = self.prepare(target, &key, plan, revision).await?;
            let answer = self
                .store
                .txn(write.txn)
                .await
                .map_err(|error| error::from_store(&error))?;
            if answer.succeeded {
                if write.is_delete {
                    return Ok(Outcome::Deleted(write.tree, answer.header.revision));
                }
                codec::stamp(&mut write.tree, answer.header.revision);
                return Ok(match revision {
                    0 => Outcome::Created(write.tree),
                    _ => Outcome::Updated(write.tree),
                });
            }
            let found = found(answer.responses.into_iter().next(), &key)?;
            existing = self.in_form(target, found).await?;
            is_fresh = true;
        }
        Err(target.modified())
    }

    async fn cached_stored(&self, target: &Target) -> Result<Option<Stored>, Status> {
        let entry = self.cached_entry(&target.kind, &target.namespace, &target.name);
        let found = entry
            .map(|entry| stored(&entry, &target.store_key()))
            .transpose()?;
        self.in_form(target, found).await
    }

    /// Custom objects are planned in the form that was asked for.
    async fn in_form(
        &self,
        target: &Target,
        found: Option<Stored>,
    ) -> Result<Option<Stored>, Status> {
        match found {
            Some(stored) if target.kind.custom.is_some() => {
                let object = self.serve_custom(&target.kind, &stored.object).await?;
                Ok(Some(Stored { object, ..stored }))
            }
            found => Ok(found),
        }
    }

    async fn read_stored(&self, target: &Target, key: &str) -> Result<Option<Stored>, Status> {
        let request = RangeRequest {
            range: KeyRange::one(key.to_owned()),
            ..RangeRequest::default()
        };
        let answer = self.store.range(request).await;
        let answer = answer.map_err(|error| error::from_store(&error))?;
        let found = found(Some(OpResponse::Range(answer)), key)?;
        self.in_form(target, found).await
    }

    async fn prepare(
        &self,
        target: &Target,
        key: &str,
        plan: Plan,
        revision: Revision,
    ) -> Result<Write, Status> {
        let (tree, guards, is_delete) = match plan {
            Plan::Put(tree) => (tree, Vec::new(), false),
            Plan::PutWith(tree, guards) => (tree, guards, false),
            Plan::Delete(tree) => (tree, Vec::new(), true),
            Plan::DeleteWith(tree, guards) => (tree, guards, true),
            Plan::Keep => return Err(Status::internal("nothing to write")),
        };
        let lease = match target.kind.ttl_seconds {
            Some(seconds) if !is_delete => self.leases.get(seconds).await?,
            _ => 0,
        };
        let op = if is_delete {
            Op::DeleteRange(DeleteRangeRequest {
                range: KeyRange::one(key.to_owned()),
                prev_kv: false,
            })
        } else {
            let stored = self.store_custom(&target.kind, tree.clone()).await?;
            Op::Put(PutRequest {
                key: key.to_owned().into(),
                value: codec::encode(&target.kind, stored),
                lease,
                ..PutRequest::default()
            })
        };
        let mut txn = TxnRequest {
            compare: vec![Compare::mod_revision(key.to_owned(), revision)],
            success: vec![op],
            failure: vec![Op::Range(RangeRequest {
                range: KeyRange::one(key.to_owned()),
                ..RangeRequest::default()
            })],
        };
        for guard in guards {
            if let Some(revision) = guard.revision {
                txn.compare.push(Compare::mod_revision(guard.key, revision));
            }
            txn.success.push(guard.op);
        }
        Ok(Write {
            txn,
            tree,
            is_delete,
        })
    }
}

fn dry_outcome(plan: Plan, revision: Revision) -> Outcome {
    match plan {
        Plan::Put(mut tree) | Plan::PutWith(mut tree, _) if revision == 0 => {
            if let Some(metadata) = tree.get_mut("metadata").and_then(|m| m.as_object_mut()) {
                metadata.remove("resourceVersion");
            }
            Outcome::Created(tree)
        }
        Plan::Put(mut tree) | Plan::PutWith(mut tree, _) => {
            codec::stamp(&mut tree, revision);
            Outcome::Updated(tree)
        }
        Plan::Delete(tree) | Plan::DeleteWith(tree, _) => Outcome::Deleted(tree, revision),
        Plan::Keep => Outcome::Updated(Tree::new()),
    }
}

fn stored(entry: &Arc<CachedObject>, key: &str) -> Result<Stored, Status> {
    let object = entry
        .stored()
        .map_err(|error| error::from_codec(&error, key))?;
    Ok(Stored {
        object,
        revision: entry.mod_revision,
    })
}

fn found(response: Option<OpResponse>, key: &str) -> Result<Option<Stored>, Status> {
    let Some(OpResponse::Range(range)) = response else {
        return Err(Status::internal("the store did not answer what it holds"));
    };
    let Some(kv) = range.kvs.into_iter().next() else {
        return Ok(None);
    };
    let object = codec::decode(&kv.value, kv.mod_revision);
    let object: Object = object.map_err(|error| error::from_codec(&error, key))?;
    Ok(Some(Stored {
        object: Arc::new(object),
        revision: kv.mod_revision,
    }))
}
