//! What a controller has written and its caches have not shown yet.
//!
//! A reconciliation that looked at caches from before its own last writes would
//! create the same pods once more. Versions of one resource can be compared, so
//! no counting is needed: a cache has caught up with a write when it shows the
//! object at that version or a later one, or has itself got that far.

use crate::Caches;
use kontiki_object::{GroupVersionResource, SharedObject};
use std::time::Duration;
use tokio::time::Instant;

/// After this time a write counts as seen: it is better to look at an old cache
/// than to stand still because of a lost event.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug)]
enum Sight {
    /// The object at this version or later.
    Version(u64),
    /// The object gone or terminating.
    Ending,
}

/// One write whose effect a cache has to show.
#[derive(Debug)]
pub(crate) struct Expectation {
    resource: GroupVersionResource,
    key: String,
    uid: String,
    sight: Sight,
    since: Instant,
}

impl Expectation {
    pub(crate) fn written(resource: &GroupVersionResource, object: &SharedObject) -> Option<Self> {
        Some(Self {
            resource: resource.clone(),
            key: object.key(),
            uid: object.uid().to_owned(),
            sight: Sight::Version(object.resource_version().parse().ok()?),
            since: Instant::now(),
        })
    }

    pub(crate) fn deleted(
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Self {
        let key = match namespace {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        Self {
            resource: resource.clone(),
            key,
            uid: uid.to_owned(),
            sight: Sight::Ending,
            since: Instant::now(),
        }
    }

    pub(crate) fn is_met(&self, caches: &Caches) -> bool {
        if self.since.elapsed() >= PATIENCE {
            return true;
        }
        let cache = caches.of(&self.resource);
        let shown = cache
            .get(&self.key)
            .filter(|object| object.uid() == self.uid);
        match self.sight {
            Sight::Ending => shown.is_none_or(|object| object.is_terminating()),
            Sight::Version(version) => {
                let reached = |text: &str| text.parse::<u64>().is_ok_and(|seen| seen >= version);
                shown.is_some_and(|object| reached(object.resource_version()))
                    || reached(&cache.resource_version())
            }
        }
    }
}
