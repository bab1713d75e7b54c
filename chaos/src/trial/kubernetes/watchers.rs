//! Clients that list, watch from there, and go on where they were.

use super::clients::maps;
use super::notes::{Event, Notebook, Version, seen, version};
use crate::trial::crowd::{Crowd, Present};
use futures::StreamExt;
use kontiki_client::{Client, ListParams, ResourceClient, WatchEvent, WatchParams};
use kontiki_mvcc::conformance::Random;
use kontiki_object::{SharedObject, Status};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// A watch over which nothing comes for this long is opened anew.
const SILENCE_MAX: Duration = Duration::from_secs(4);
const WANDERERS: usize = 3;

/// One at each server, and some wherever they are served.
pub(crate) struct Watchers {
    crowd: Crowd,
    notebook: Notebook,
}

struct Watcher {
    notebook: Notebook,
    maps: Vec<ResourceClient>,
    home: Option<usize>,
    /// Where the next watch begins; `None`: where a list stands.
    from: Option<Version>,
    random: Random,
    present: Present,
}

/// One page of a list.
pub(crate) struct Page {
    pub items: Vec<SharedObject>,
    pub version: Version,
    pub continue_token: String,
}

/// Asks for one page.
pub(crate) async fn page(maps: &ResourceClient, params: ListParams) -> Result<Page, Status> {
    let listed = maps.list_page(params).await?;
    let (items, at, continue_token) = listed;
    Ok(Page {
        items,
        version: version(&at),
        continue_token,
    })
}

impl Watchers {
    /// Everything from `from` on has to come at each server.
    pub(crate) fn start(notebook: &Notebook, servers: &[Client], from: Version, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut crowd = Crowd::default();
        let homes = (0..servers.len()).map(Some);
        for home in homes.chain([None; WANDERERS]) {
            let random = Random::new(random.number());
            crowd.join(|present, stop| {
                let watcher = Watcher {
                    notebook: notebook.clone(),
                    maps: servers.iter().map(maps).collect(),
                    home,
                    from: home.map(|_| from),
                    random,
                    present,
                };
                watcher.run(stop)
            });
        }
        Self {
            crowd,
            notebook: notebook.clone(),
        }
    }

    /// Waits until every watch has shown what is not newer than a version.
    pub(crate) async fn until(&self, version: Version, patience: Duration) -> bool {
        let shown = |number| self.notebook.reached(number) >= version;
        self.crowd.until(patience, shown).await
    }

    /// What is open now must have delivered everything.
    pub(crate) fn settle(&self) {
        let open = self.crowd.open();
        open.for_each(|number| self.notebook.settled(number));
    }

    pub(crate) async fn stop(self) {
        self.crowd.stop().await;
    }
}

impl Watcher {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let server = self
                .home
                .unwrap_or_else(|| self.random.below(self.maps.len()));
            let length = match self.home {
                Some(_) => Duration::from_secs(3_600),
                None => Duration::from_millis(1_500 + self.random.below(4_000) as u64),
            };
            let watched = tokio::time::timeout(length, self.watch(server));
            let expired = match stop.run_until_cancelled(watched).await {
                None => return,
                Some(Ok(expired)) => expired,
                Some(Err(_)) => false,
            };
            if let Some(number) = self.present.lock().take() {
                self.from = Some(self.notebook.reached(number));
            }
            if expired {
                self.from = None;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Watches one server until it fails; whether that was because what comes
    /// next is forgotten there.
    async fn watch(&self, server: usize) -> bool {
        let maps = &self.maps[server];
        let from = match self.from {
            Some(from) => from,
            None => match page(maps, ListParams::default()).await {
                Ok(page) => page.version,
                Err(_) => return false,
            },
        };
        let params = WatchParams {
            resource_version: from.to_string(),
            bookmarks: true,
            ..WatchParams::default()
        };
        let number = self.notebook.watching(server, from);
        *self.present.lock() = Some(number);
        let Ok(mut events) = maps.watch(params).await else {
            return false;
        };
        loop {
            let Ok(event) = tokio::time::timeout(SILENCE_MAX, events.next()).await else {
                return false;
            };
            match event {
                Some(Ok(event)) => {
                    if let Some(event) = noted(&event) {
                        self.notebook.delivered(number, event);
                    }
                }
                Some(Err(status)) => return status.code == 410,
                None => return false,
            }
        }
    }
}

/// An event as it is noted; `None` if it is not about one of the clients' objects.
fn noted(event: &WatchEvent) -> Option<Event> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            seen(object).map(Event::Changed)
        }
        WatchEvent::Deleted(object) => seen(object).map(Event::Deleted),
        WatchEvent::Bookmark {
            resource_version, ..
        } => Some(Event::Bookmark(version(resource_version))),
    }
}
