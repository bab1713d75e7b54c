//! What is made of the objects of one resource, always as the cache has them.

use crate::cache::{ResourceCache, Snapshot};
use crate::catalog::built_in;
use crate::registry::Registry;
use kontiki_kinds::Kind;
use kontiki_object::Object;
use kontiki_store::Revision;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Makes something of every object of a resource; again only of those that
/// have changed.
pub(in crate::admission) struct Live<T> {
    resource: &'static str,
    build: fn(&Object) -> T,
    source: OnceLock<(Arc<Kind>, Arc<ResourceCache>)>,
    state: Mutex<State<T>>,
}

struct State<T> {
    seen: Option<Snapshot>,
    built: BTreeMap<Arc<str>, (Revision, Arc<T>)>,
    all: Arc<Vec<Arc<T>>>,
}

impl<T> Live<T> {
    /// Of a resource of `admissionregistration.k8s.io/v1`.
    pub(in crate::admission) fn new(resource: &'static str, build: fn(&Object) -> T) -> Self {
        Self {
            resource,
            build,
            source: OnceLock::new(),
            state: Mutex::new(State {
                seen: None,
                built: BTreeMap::new(),
                all: Arc::default(),
            }),
        }
    }

    fn source(&self, registry: &Registry) -> &(Arc<Kind>, Arc<ResourceCache>) {
        self.source.get_or_init(|| {
            let is_own = |kind: &&Arc<Kind>| {
                kind.group == super::matching::GROUP && kind.plural == self.resource
            };
            let kind = built_in().iter().find(is_own);
            let kind = kind.expect("the kinds of this group are built in").clone();
            let storage = kind.storage.as_ref().expect("they are stored");
            let cache = registry.cache().resource(&storage.key_prefix);
            (kind, cache)
        })
    }

    /// What there is now, by name.
    pub(in crate::admission) fn get(&self, registry: &Registry) -> Arc<Vec<Arc<T>>> {
        let (kind, cache) = self.source(registry);
        let now = cache.snapshot();
        let mut state = self.state.lock();
        let is_same = |seen: &Snapshot| seen.objects.ptr_eq(&now.objects);
        if now.objects.is_empty() && state.all.is_empty()
            || state.seen.as_ref().is_some_and(is_same)
        {
            return state.all.clone();
        }
        let mut built = BTreeMap::new();
        for (key, entry) in &now.objects {
            let known = state
                .built
                .get(key)
                .filter(|(revision, _)| *revision == entry.mod_revision);
            let one = match known {
                Some((_, one)) => one.clone(),
                None => match entry.served(kind) {
                    Ok(object) => Arc::new((self.build)(&object)),
                    Err(error) => {
                        tracing::error!(resource = self.resource, %key, %error, "passed over");
                        continue;
                    }
                },
            };
            built.insert(key.clone(), (entry.mod_revision, one));
        }
        state.all = Arc::new(built.values().map(|(_, one)| one.clone()).collect());
        state.built = built;
        state.seen = Some(now);
        state.all.clone()
    }
}
