//! What a controller is.

use crate::{Caches, Config, Plan};
use async_trait::async_trait;
use jiff::Timestamp;
use kontiki_client::{Client, Clock, Delta};
use kontiki_object::{GroupVersionResource, LabelSelector, Object, Status};
use std::sync::Arc;

/// What controllers read from.
#[derive(Clone)]
pub struct Context {
    /// The shared caches.
    pub caches: Arc<Caches>,
    /// For live reads; writes go through plans.
    pub client: Client,
    /// What the controllers were told at start.
    pub config: Arc<Config>,
    /// The time of day.
    pub clock: Clock,
}

/// The circumstances of a plan, beside the observed state.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The time of day.
    pub now: Timestamp,
    /// Why the previous attempt at this key failed, if it did.
    pub last_error: Option<String>,
}

/// A controller's own part: what it looks at, and what it makes of it.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// What one reconciliation looks at.
    type State: Send + Sync;

    /// Upstream's name of the controller.
    fn name(&self) -> &'static str;

    /// The changes that call for a reconciliation.
    fn watches(&self) -> Vec<Watch>;

    /// Keys worked on at the same time; `None` for the configured number.
    fn workers(&self) -> Option<usize> {
        None
    }

    /// Keys that are reconciled at the start whatever exists.
    fn initial_keys(&self) -> Vec<String> {
        Vec::new()
    }

    /// Looks; `None` if there is nothing to do for the key (any more).
    async fn observe(&self, context: &Context, key: &str) -> Result<Option<Self::State>, Status>;

    /// Decides. Pure.
    fn plan(&self, state: &Self::State, at: &Moment) -> Plan;
}

/// A [`Reconciler`] of any state.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Upstream's name of the controller.
    fn name(&self) -> &'static str;
    /// The changes that call for a reconciliation.
    fn watches(&self) -> Vec<Watch>;
    /// Keys worked on at the same time; `None` for the configured number.
    fn workers(&self) -> Option<usize>;
    /// Keys that are reconciled at the start whatever exists.
    fn initial_keys(&self) -> Vec<String>;
    /// Looks and decides.
    async fn decide(
        &self,
        context: &Context,
        key: &str,
        at: &Moment,
    ) -> Result<Option<Plan>, Status>;
}

#[async_trait]
impl<R: Reconciler> Controller for R {
    fn name(&self) -> &'static str {
        Reconciler::name(self)
    }

    fn watches(&self) -> Vec<Watch> {
        Reconciler::watches(self)
    }

    fn workers(&self) -> Option<usize> {
        Reconciler::workers(self)
    }

    fn initial_keys(&self) -> Vec<String> {
        Reconciler::initial_keys(self)
    }

    async fn decide(
        &self,
        context: &Context,
        key: &str,
        at: &Moment,
    ) -> Result<Option<Plan>, Status> {
        let state = self.observe(context, key).await?;
        Ok(state.map(|state| self.plan(&state, at)))
    }
}

/// Which changes call for a reconciliation of which keys.
#[derive(Clone)]
pub struct Watch {
    /// Changes of what.
    pub target: Target,
    /// To which keys.
    pub keys: Keys,
}

/// Changes of what.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// One resource.
    One(GroupVersionResource),
    /// Every resource that can be watched and deleted, also those to come.
    All,
}

/// From a change to keys.
#[derive(Clone)]
pub enum Keys {
    /// None: the resource is only read.
    None,
    /// The key of the object itself.
    Own,
    /// The key of the object's controller if it is of a kind; for an object
    /// without one, the keys of all objects of the resource that select it.
    Controller {
        /// The kind of the controller.
        kind: &'static str,
        /// Its resource.
        resource: GroupVersionResource,
    },
    /// Whatever a function says.
    Map(fn(&Context, &GroupVersionResource, &Delta) -> Vec<String>),
}

impl Watch {
    /// A resource's own keys.
    #[must_use]
    pub fn own(resource: GroupVersionResource) -> Self {
        Self {
            target: Target::One(resource),
            keys: Keys::Own,
        }
    }

    /// A resource that is only read.
    #[must_use]
    pub fn read(resource: GroupVersionResource) -> Self {
        Self {
            target: Target::One(resource),
            keys: Keys::None,
        }
    }

    /// The dependents of a kind.
    #[must_use]
    pub fn owned(
        resource: GroupVersionResource,
        kind: &'static str,
        owner: GroupVersionResource,
    ) -> Self {
        Self {
            target: Target::One(resource),
            keys: Keys::Controller {
                kind,
                resource: owner,
            },
        }
    }

    /// A resource whose changes a function maps.
    #[must_use]
    pub fn map(
        resource: GroupVersionResource,
        map: fn(&Context, &GroupVersionResource, &Delta) -> Vec<String>,
    ) -> Self {
        Self {
            target: Target::One(resource),
            keys: Keys::Map(map),
        }
    }
}

impl Keys {
    /// The keys that a change calls for.
    #[must_use]
    pub fn of(
        &self,
        context: &Context,
        resource: &GroupVersionResource,
        delta: &Delta,
    ) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Own => vec![delta.object().key()],
            Self::Controller { kind, resource } => {
                let sides = delta.old.iter().chain(delta.new.iter());
                let mut keys: Vec<String> = sides
                    .flat_map(|side| controller_keys(context, side, kind, resource))
                    .collect();
                keys.dedup();
                keys
            }
            Self::Map(map) => map(context, resource, delta),
        }
    }
}

fn controller_keys(
    context: &Context,
    object: &Object,
    kind: &str,
    resource: &GroupVersionResource,
) -> Vec<String> {
    if let Some(owner) = object.controller_of() {
        let ours = owner.kind == kind && owner.api_version == resource.api_version();
        return match (ours, object.namespace()) {
            (false, _) => Vec::new(),
            (true, "") => vec![owner.name],
            (true, namespace) => vec![format!("{namespace}/{}", owner.name)],
        };
    }
    let candidates = context
        .caches
        .of(resource)
        .list_namespace(object.namespace());
    let selecting = candidates.into_iter().filter(|candidate| {
        let selector = selector_of(candidate);
        !selector.is_everything() && selector.matches(object)
    });
    selecting.map(|candidate| candidate.key()).collect()
}

/// The `spec.selector` of a workload: a `LabelSelector`, or for a
/// ReplicationController a plain map. A malformed one selects nothing.
pub(crate) fn selector_of(workload: &Object) -> LabelSelector {
    let field = workload.get(&["spec", "selector"]);
    if workload.kind() == "ReplicationController" {
        let pairs = field.and_then(kontiki_object::Value::as_object);
        return pairs.map_or_else(LabelSelector::nothing, |pairs| {
            let texts = pairs.iter();
            LabelSelector::from_pairs(
                texts.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default())),
            )
        });
    }
    LabelSelector::from_field(field).unwrap_or_else(|_| LabelSelector::nothing())
}
