//! What is served: the kinds by their names. Custom resources join at run time.

use arc_swap::ArcSwap;
use kontiki_kinds::Kind;
use kontiki_object::GroupVersionResource;
use std::collections::HashMap;
use std::sync::Arc;

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
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new(kontiki_kinds::all().to_vec())
    }
}

impl Catalog {
    /// Of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<Arc<Kind>>) -> Self {
        Self {
            served: ArcSwap::from_pointee(Served::new(kinds)),
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
