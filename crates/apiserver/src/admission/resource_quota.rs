//! `ResourceQuota`: nothing is made that a namespace has no room for.
//!
//! The room is counted in the quotas' statuses. A charge is a compare-and-swap
//! of such a status in the store, and the check is made again on what the store
//! holds: however many servers charge at once, none gives the same room twice.
//! What was charged for a write that failed afterwards is given back when the
//! quota controller counts anew.

use super::{Attributes, Operation, Plugin};
use crate::registry::{Check, Target, WriteOptions, note_update};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_kinds::quota::{Amounts, Evaluator, scopes_match};
use kontiki_object::{SharedObject, Status, Value};
use std::hash::{BuildHasher, RandomState};
use tokio::sync::Mutex;

/// Charges of one namespace wait for each other on a server, so that they do not
/// fight for the same status; namespaces that share a lock do, too.
const LOCKS: usize = 64;
/// Who the charges are by.
const MANAGER: &str = "kube-apiserver";

pub(super) struct ResourceQuota {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for ResourceQuota {
    fn default() -> Self {
        Self {
            locks: std::iter::repeat_with(Mutex::default).take(LOCKS).collect(),
            hasher: RandomState::new(),
        }
    }
}

/// One request as quotas see it.
struct Demand<'a> {
    attributes: &'a Attributes<'a>,
    evaluator: Evaluator,
    object: &'a Tree,
    usage: Amounts,
    /// What the object used so far.
    former: Option<(&'a Tree, Amounts)>,
}

fn amounts(quota: &Tree, field: &str) -> Amounts {
    let map = quota
        .get("status")
        .and_then(|status| status.get(field)?.as_object());
    map.into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), amount.as_str()?.parse().ok()?)))
        .collect()
}

fn name(quota: &Tree) -> &str {
    let metadata = quota.get("metadata");
    metadata
        .and_then(|metadata| metadata["name"].as_str())
        .unwrap_or_default()
}

fn listed(amounts: &Amounts, names: &[String]) -> String {
    let texts: Vec<String> = names
        .iter()
        .map(|name| format!("{name}={}", amounts.get(name).copied().unwrap_or_default()))
        .collect();
    texts.join(",")
}

impl Demand<'_> {
    /// Whether a quota has a say; and what the request costs it.
    fn cost(&self, quota: &Tree) -> Result<Option<Amounts>, Status> {
        let hard = amounts(quota, "hard");
        let restricted: Vec<String> = hard
            .keys()
            .filter(|name| self.evaluator.matches(name))
            .cloned()
            .collect();
        if restricted.is_empty() || !scopes_match(&self.evaluator, quota, self.object) {
            return Ok(None);
        }
        let refuse = |why: String| self.attributes.forbidden(&why);
        if self.former.is_none()
            && let Some(why) = self.evaluator.unmet_constraints(&restricted, self.object)
        {
            return Err(refuse(format!("failed quota: {}: {why}", name(quota))));
        }
        let used = amounts(quota, "used");
        if restricted.iter().any(|name| !used.contains_key(name)) {
            let names = restricted.join(",");
            return Err(refuse(format!(
                "status unknown for quota: {}, resources: {names}",
                name(quota)
            )));
        }
        let negative: Vec<&str> = self
            .usage
            .iter()
            .filter(|(_, amount)| amount.is_negative())
            .map(|(name, _)| name.as_str())
            .collect();
        if !negative.is_empty() {
            return Err(refuse(format!(
                "quota usage is negative for resource(s): {}",
                negative.join(",")
            )));
        }
        let counted_before = self
            .former
            .as_ref()
            .filter(|(old, _)| scopes_match(&self.evaluator, quota, old));
        let mut cost = Amounts::new();
        for (name, amount) in &self.usage {
            let before = counted_before.and_then(|(_, usage)| usage.get(name).copied());
            let more = *amount - before.unwrap_or_default();
            if hard.contains_key(name) && !more.is_zero() && !more.is_negative() {
                cost.insert(name.clone(), more);
            }
        }
        Ok((!cost.is_empty()).then_some(cost))
    }

    /// The quota's `used` with this request; 403 if there is no room.
    fn charged(&self, quota: &Tree) -> Result<Option<Amounts>, Status> {
        let Some(cost) = self.cost(quota)? else {
            return Ok(None);
        };
        let (hard, mut used) = (amounts(quota, "hard"), amounts(quota, "used"));
        let before = used.clone();
        for (name, amount) in &cost {
            *used.entry(name.clone()).or_default() += *amount;
        }
        let exceeded: Vec<String> = cost
            .keys()
            .filter(|name| used.get(*name) > hard.get(*name))
            .cloned()
            .collect();
        if exceeded.is_empty() {
            return Ok(Some(used));
        }
        Err(self.attributes.forbidden(&format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            name(quota),
            listed(&cost, &exceeded),
            listed(&before, &exceeded),
            listed(&hard, &exceeded),
        )))
    }

    async fn charge(&self, quota: &SharedObject) -> Result<(), Status> {
        let attributes = self.attributes;
        let catalog = attributes.registry.catalog();
        let Some(kind) = catalog.find("", "v1", "resourcequotas") else {
            return Ok(());
        };
        let target = Target::object(&kind, quota.namespace(), quota.name());
        let part = Target {
            subresource: "status".to_owned(),
            ..target.clone()
        };
        let options = WriteOptions {
            field_manager: MANAGER.to_owned(),
            ..WriteOptions::default()
        };
        let context = attributes.context;
        let mut edit = |tree: &mut Tree| {
            let Some(used) = self.charged(tree)? else {
                return Ok(());
            };
            let live = tree.clone();
            let used: Tree = used
                .into_iter()
                .map(|(name, amount)| (name, amount.to_string().into()))
                .collect();
            if let Some(status) = tree.get_mut("status").and_then(Value::as_object_mut) {
                status.insert("used".to_owned(), used.into());
            }
            note_update(&part, context, &options, &live, tree);
            Ok(())
        };
        let registry = attributes.registry;
        let edited = registry.edit(context, &target, &options, Check::Nothing, &mut edit);
        match edited.await {
            // Whoever deleted the quota has lifted it.
            Err(status) if status.is_not_found() => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let target = attributes.target;
        let Some(object) = attributes.object.as_deref() else {
            return Ok(());
        };
        if target.namespace.is_empty() || !target.subresource.is_empty() {
            return Ok(());
        }
        let evaluator = Evaluator::of(&target.kind.group_resource());
        let is_counted = match attributes.operation {
            Operation::Create => true,
            Operation::Update => evaluator.counts_updates(),
            Operation::Delete | Operation::Connect => false,
        };
        if !is_counted {
            return Ok(());
        }
        let quotas = attributes.list("", "v1", "resourcequotas", &target.namespace);
        if quotas.is_empty() {
            return Ok(());
        }
        let former = attributes.old.map(|old| (old, evaluator.usage(old)));
        let demand = Demand {
            usage: evaluator.usage(object),
            attributes,
            evaluator,
            object,
            former,
        };
        let at = self.hasher.hash_one(&target.namespace) % LOCKS as u64;
        let at = usize::try_from(at).unwrap_or_default();
        let _turn = self.locks[at].lock().await;
        // All are asked before any is charged.
        let mut concerned = Vec::new();
        for quota in quotas {
            if demand.charged(quota.tree())?.is_some() {
                concerned.push(quota);
            }
        }
        if attributes.dry_run {
            return Ok(());
        }
        for quota in &concerned {
            demand.charge(quota).await?;
        }
        Ok(())
    }
}
