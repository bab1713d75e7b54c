//! Deletes what has lost its owners, and carries out foreground deletion and
//! orphaning.
//!
//! The graph of owners is the caches' index of owner UIDs; nothing else is kept.
//! That an owner is *absent* is believed only after a live read.

use crate::caches::BY_OWNER;
use crate::controller::Context;
use crate::owners::{guarded, references_without};
use crate::{Action, Config, Keys, Moment, Plan, Reconciler, Target, Watch};
use async_trait::async_trait;
use kontiki_client::{DeleteOptions, Delta, Preconditions, PropagationPolicy};
use kontiki_object::{GroupVersionResource, Object, OwnerReference, SharedObject, Status};
use serde_json::{Value, json};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(crate) struct GarbageCollector;

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is there.
    Solid,
    /// It is not there, or another object has its name.
    Absent,
    /// It waits for its dependents to go.
    WaitsForDependents,
}

pub(crate) struct State {
    resource: GroupVersionResource,
    object: SharedObject,
    owners: Vec<(OwnerReference, Fate)>,
    dependents: Vec<(GroupVersionResource, SharedObject)>,
}

/// `group/version/resource|namespace/name`: keys of all resources share one queue.
fn key_of(resource: &GroupVersionResource, key: &str) -> String {
    let GroupVersionResource {
        group,
        version,
        resource,
    } = resource;
    format!("{group}/{version}/{resource}|{key}")
}

fn parse(key: &str) -> Option<(GroupVersionResource, &str)> {
    let (resource, object) = key.split_once('|')?;
    let mut parts = resource.splitn(3, '/').map(str::to_owned);
    let resource = GroupVersionResource {
        group: parts.next()?.into(),
        version: parts.next()?.into(),
        resource: parts.next()?.into(),
    };
    Some((resource, object))
}

fn waits(object: &Object, finalizer: &str) -> bool {
    object.is_terminating() && object.finalizers().any(|known| known == finalizer)
}

/// An object with owners or with work to do calls for itself; one that went
/// calls for its dependents; each calls for owners that wait for it.
fn keys(context: &Context, resource: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    let mut keys = Vec::new();
    match &delta.new {
        Some(object) => {
            let owners = |object: &SharedObject| object.owner_references();
            let owners_changed = delta.old.as_ref().map(owners) != Some(owners(object));
            let has_owners = !object.owner_references().is_empty();
            if waits(object, FOREGROUND) || waits(object, ORPHAN) || has_owners && owners_changed {
                keys.push(key_of(resource, &object.key()));
            }
            let began = delta
                .old
                .as_ref()
                .is_some_and(|old| !waits(old, FOREGROUND));
            if began && waits(object, FOREGROUND) {
                keys.extend(dependent_keys(context, object.uid()));
            }
        }
        None => keys.extend(dependent_keys(context, delta.object().uid())),
    }
    let referrer = delta.object();
    for owner in referrer.owner_references() {
        let Some((owner_resource, owner)) = cached_owner(context, referrer, &owner) else {
            continue;
        };
        if waits(&owner, FOREGROUND) {
            keys.push(key_of(&owner_resource, &owner.key()));
        }
    }
    keys
}

fn collected(config: &Config) -> Vec<GroupVersionResource> {
    let served = config.resources.borrow().clone();
    let collected = served.iter().filter(|served| served.is_followed());
    collected.map(|served| served.resource.clone()).collect()
}

fn dependents(context: &Context, uid: &str) -> Vec<(GroupVersionResource, SharedObject)> {
    let resources = collected(&context.config).into_iter();
    let found = resources.flat_map(|resource| {
        let objects = context.caches.of(&resource).by_index(BY_OWNER, uid);
        objects
            .into_iter()
            .map(move |object| (resource.clone(), object))
    });
    found.collect()
}

fn dependent_keys(context: &Context, uid: &str) -> Vec<String> {
    let found = dependents(context, uid).into_iter();
    found
        .map(|(resource, object)| key_of(&resource, &object.key()))
        .collect()
}

/// The resource of an owner's kind, and the namespace in which it is looked for:
/// the dependent's own, or none. `None` if the kind is not served, or if it is
/// namespaced and the dependent is not.
fn place_of(
    config: &Config,
    dependent: &Object,
    owner: &OwnerReference,
) -> Option<(GroupVersionResource, String)> {
    let served = config.resources.borrow().clone();
    let group = owner
        .api_version
        .rsplit_once('/')
        .map_or("", |(group, _)| group);
    let of_kind = |served: &&crate::ServedResource| {
        served.kind == owner.kind && served.resource.group == group
    };
    let exact = served
        .iter()
        .filter(of_kind)
        .find(|s| s.resource.api_version() == owner.api_version);
    let found = exact.or_else(|| served.iter().find(of_kind))?;
    let namespace = if found.namespaced {
        dependent.namespace()
    } else {
        ""
    };
    Some((found.resource.clone(), namespace.to_owned()))
}

fn cached_owner(
    context: &Context,
    dependent: &Object,
    owner: &OwnerReference,
) -> Option<(GroupVersionResource, SharedObject)> {
    let (resource, namespace) = place_of(&context.config, dependent, owner)?;
    let found = context.caches.get(&resource, &namespace, &owner.name)?;
    (found.uid() == owner.uid).then_some((resource, found))
}

async fn fate(
    context: &Context,
    dependent: &Object,
    owner: &OwnerReference,
) -> Result<Fate, Status> {
    let verdict = |found: &Object| {
        if waits(found, FOREGROUND) {
            Fate::WaitsForDependents
        } else {
            Fate::Solid
        }
    };
    if let Some((_, found)) = cached_owner(context, dependent, owner) {
        return Ok(verdict(&found));
    }
    let Some((resource, namespace)) = place_of(&context.config, dependent, owner) else {
        // A kind that is not served (yet): nothing can be said, nothing is deleted.
        return Ok(Fate::Solid);
    };
    let served = context.config.resources.borrow().clone();
    let namespaced = served
        .iter()
        .any(|s| s.resource == resource && s.namespaced);
    if namespaced && namespace.is_empty() {
        // A cluster-scoped object cannot have an owner in a namespace.
        return Ok(Fate::Solid);
    }
    let live = context
        .client
        .scoped(&resource, &namespace)
        .get_opt(&owner.name)
        .await?;
    Ok(match live {
        Some(live) if live.uid() == owner.uid => verdict(&live),
        _ => Fate::Absent,
    })
}

#[async_trait]
impl Reconciler for GarbageCollector {
    type State = State;

    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch {
            target: Target::All,
            keys: Keys::Map(keys),
        }]
    }

    fn workers(&self) -> Option<usize> {
        Some(20)
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let Some((resource, name)) = parse(key) else {
            return Ok(None);
        };
        let Some(object) = context.caches.of(&resource).get(name) else {
            return Ok(None);
        };
        let mut owners = Vec::new();
        if !object.is_terminating() {
            for owner in object.owner_references() {
                let fate = fate(context, &object, &owner).await?;
                owners.push((owner, fate));
            }
        }
        Ok(Some(State {
            dependents: dependents(context, object.uid()),
            resource,
            object,
            owners,
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        if waits(&state.object, ORPHAN) {
            return orphan(state);
        }
        if waits(&state.object, FOREGROUND) {
            return foreground(state);
        }
        if state.object.is_terminating() || state.owners.is_empty() {
            return Plan::nothing();
        }
        collect(state)
    }
}

/// Frees the dependents, then the object.
fn orphan(state: &State) -> Plan {
    let dependents = state.dependents.iter();
    let freed = dependents.map(|(resource, dependent)| {
        let references = references_without(dependent, state.object.uid());
        Action::patch(resource, dependent, guarded(dependent, references))
    });
    let mut plan = Plan::of(freed);
    plan.actions.push(without_finalizer(state, ORPHAN));
    plan
}

/// Deletes the dependents; the object goes when none is left that blocks it.
fn foreground(state: &State) -> Plan {
    let blocking: Vec<_> = state
        .dependents
        .iter()
        .filter(|(_, dependent)| {
            let mut owners = dependent.owner_references().into_iter();
            owners.any(|o| o.uid == state.object.uid() && o.block_owner_deletion == Some(true))
        })
        .collect();
    if blocking.is_empty() {
        return Plan::of([without_finalizer(state, FOREGROUND)]);
    }
    let alive = blocking
        .into_iter()
        .filter(|(_, dependent)| !dependent.is_terminating());
    Plan::of(
        alive
            .filter(|(_, dependent)| dependent.owner_references().len() == 1)
            .map(|(resource, dependent)| {
                let options = DeleteOptions {
                    propagation_policy: Some(PropagationPolicy::Foreground),
                    ..DeleteOptions::default()
                };
                Action::delete_with(resource, dependent, options)
            }),
    )
}

fn without_finalizer(state: &State, finalizer: &str) -> Action {
    let object = &state.object;
    let others: Vec<&str> = object
        .finalizers()
        .filter(|known| *known != finalizer)
        .collect();
    let others = if others.is_empty() {
        Value::Null
    } else {
        json!(others)
    };
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": others,
    }});
    Action::patch(&state.resource, object, patch)
}

/// Deletes an object that no owner keeps, or drops the references to owners
/// that are gone while another still keeps it.
fn collect(state: &State) -> Plan {
    let object = &state.object;
    let gone: Vec<&(OwnerReference, Fate)> = state
        .owners
        .iter()
        .filter(|(_, fate)| *fate != Fate::Solid)
        .collect();
    if gone.is_empty() {
        return Plan::nothing();
    }
    if gone.len() < state.owners.len() {
        let gone: Vec<&str> = gone.iter().map(|(owner, _)| owner.uid.as_str()).collect();
        let mut references = references_without(object, "");
        references.retain(|reference| !gone.iter().any(|uid| reference["uid"] == *uid));
        return Plan::of([Action::patch(
            &state.resource,
            object,
            guarded(object, references),
        )]);
    }
    let waited_for = gone
        .iter()
        .any(|(_, fate)| *fate == Fate::WaitsForDependents);
    let policy = if waited_for && !state.dependents.is_empty() {
        PropagationPolicy::Foreground
    } else if object.finalizers().any(|known| known == ORPHAN) {
        PropagationPolicy::Orphan
    } else if object.finalizers().any(|known| known == FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    let options = DeleteOptions {
        propagation_policy: Some(policy),
        // The owners may have changed since: then look again.
        preconditions: Preconditions {
            resource_version: Some(object.resource_version().to_owned()),
            ..Preconditions::default()
        },
        ..DeleteOptions::default()
    };
    Plan::of([Action::delete_with(&state.resource, object, options)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use kontiki_client::resources::{CONFIG_MAPS, PODS, REPLICA_SETS};

    fn owned(name: &str, owners: &[(&str, &str, bool)]) -> Value {
        let references: Vec<Value> = owners
            .iter()
            .map(|(name, uid, blocks)| {
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "blockOwnerDeletion": blocks})
            })
            .collect();
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "n", "ownerReferences": references}})
    }

    async fn owner(scenario: &Scenario, name: &str) -> String {
        let tree = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": "n"}, "spec": {"replicas": 0}});
        scenario.create(&REPLICA_SETS, tree).await.uid().to_owned()
    }

    fn policy(policy: PropagationPolicy) -> DeleteOptions {
        DeleteOptions {
            propagation_policy: Some(policy),
            ..DeleteOptions::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dependents_go_with_their_last_owner() {
        let scenario = Scenario::start(&["garbage-collector-controller"]).await;
        let a = owner(&scenario, "a").await;
        let b = owner(&scenario, "b").await;
        scenario
            .create(&CONFIG_MAPS, owned("of-a", &[("a", &a, false)]))
            .await;
        scenario
            .create(
                &CONFIG_MAPS,
                owned("of-both", &[("a", &a, false), ("b", &b, false)]),
            )
            .await;
        scenario
            .create(
                &CONFIG_MAPS,
                owned("of-nobody", &[("x", "never-was", false)]),
            )
            .await;
        scenario
            .until(|api| api.objects(&CONFIG_MAPS).len() == 2)
            .await;
        scenario
            .delete(&REPLICA_SETS, "n/a", policy(PropagationPolicy::Background))
            .await;
        scenario
            .until(|api| api.objects(&CONFIG_MAPS).len() == 1)
            .await;
        scenario
            .until(|api| api.objects(&CONFIG_MAPS)[0].owner_references().len() == 1)
            .await;
        assert_eq!(scenario.api.objects(&CONFIG_MAPS)[0].name(), "of-both");
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreground_deletion_waits_and_an_orphaning_one_frees() {
        let scenario = Scenario::start(&["garbage-collector-controller"]).await;
        let a = owner(&scenario, "a").await;
        let mut held = owned("held", &[("a", &a, true)]);
        held["metadata"]["finalizers"] = json!(["x/y"]);
        scenario.create(&CONFIG_MAPS, held).await;
        scenario
            .delete(&REPLICA_SETS, "n/a", policy(PropagationPolicy::Foreground))
            .await;
        scenario
            .until(|api| api.objects(&CONFIG_MAPS)[0].is_terminating())
            .await;
        scenario.settle().await;
        assert_eq!(scenario.api.objects(&REPLICA_SETS).len(), 1, "it waits");
        let mut free = scenario.get(&CONFIG_MAPS, "n/held").to_value();
        free["metadata"]["finalizers"] = json!(null);
        scenario.update(&CONFIG_MAPS, free).await;
        scenario
            .until(|api| {
                api.objects(&CONFIG_MAPS).is_empty() && api.objects(&REPLICA_SETS).is_empty()
            })
            .await;
        let b = owner(&scenario, "b").await;
        scenario
            .create(&CONFIG_MAPS, owned("kept", &[("b", &b, true)]))
            .await;
        scenario
            .delete(&REPLICA_SETS, "n/b", policy(PropagationPolicy::Orphan))
            .await;
        scenario
            .until(|api| api.objects(&REPLICA_SETS).is_empty())
            .await;
        scenario.settle().await;
        assert!(
            scenario
                .get(&CONFIG_MAPS, "n/kept")
                .owner_references()
                .is_empty()
        );
        assert!(scenario.api.objects(&PODS).is_empty());
    }
}
