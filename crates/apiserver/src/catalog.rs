//! What is served: the kinds by their names. Custom resources join at run time.

use arc_swap::ArcSwap;
use kontiki_kinds::Kind;
use kontiki_object::GroupVersionResource;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use tokio::sync::watch;

/// All kinds at one point in time.
pub struct Served {
    kinds: Vec<Arc<Kind>>,
    by_name: HashMap<(String, String, String), usize>,
}

impl Served {
    fn new(kinds: Vec<Arc<Kind>>) -> Self {
        let name = |kind: &Kind| {
            (
                kind.group.to_string(),
                kind.version.to_string(),
                kind.plural.to_string(),
            )
        };
        let by_name = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| (name(kind), at))
            .collect();
        Self { kinds, by_name }
    }

    /// In the order of discovery.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }
}

/// The kinds that are served now.
pub struct Catalog {
    served: ArcSwap<Served>,
    /// Counts the replacements.
    state: watch::Sender<u64>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new(built_in().to_vec())
    }
}

/// The built-in kinds. What validates definitions of custom ones builds on the
/// kinds' crate, and so joins them here.
pub fn built_in() -> &'static [Arc<Kind>] {
    static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
        let kinds = kontiki_kinds::all().iter();
        kinds
            .map(|kind| {
                if kind.group != "apiextensions.k8s.io" || kind.subresource("status").is_none() {
                    return kind.clone();
                }
                let mut kind = Kind::clone(kind);
                kind.strategy = kontiki_structural::definition::strategy(kind.strategy);
                Arc::new(kind)
            })
            .collect()
    });
    &KINDS
}

/// Whether a group is one of the built-in ones.
#[must_use]
pub fn is_built_in_group(group: &str) -> bool {
    built_in().iter().any(|kind| kind.group == group)
}

impl Catalog {
    /// Of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<Arc<Kind>>) -> Self {
        Self {
            served: ArcSwap::from_pointee(Served::new(kinds)),
            state: watch::Sender::new(1),
        }
    }

    /// All kinds as they are now.
    #[must_use]
    pub fn kinds(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Serves other kinds from now on.
    pub fn replace(&self, kinds: Vec<Arc<Kind>>) {
        self.served.store(Arc::new(Served::new(kinds)));
        self.state.send_modify(|state| *state += 1);
    }

    /// A number that changes whenever other kinds are served.
    #[must_use]
    pub fn state(&self) -> u64 {
        *self.state.borrow()
    }

    /// Tells whenever other kinds are served.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.state.subscribe()
    }

    /// The kind of a resource.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Kind>> {
        let served = self.served.load();
        let name = (group.to_owned(), version.to_owned(), resource.to_owned());
        served
            .by_name
            .get(&name)
            .map(|at| served.kinds[*at].clone())
    }

    /// The kind of a resource.
    #[must_use]
    pub fn resource(&self, resource: &GroupVersionResource) -> Option<Arc<Kind>> {
        self.find(&resource.group, &resource.version, &resource.resource)
    }

    /// Whether a group is served, or one of its versions.
    #[must_use]
    pub fn has_group_version(&self, group: &str, version: &str) -> bool {
        self.kinds()
            .iter()
            .any(|kind| kind.group == group && kind.version == version)
    }
}
