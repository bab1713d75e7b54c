//! Clients that fight about ConfigMaps.

use super::notes::{Call, Notebook, Said, Seen, VALUE, seen, version};
use crate::trial::clients::Load;
use kontiki_client::resources::CONFIG_MAPS;
use kontiki_client::{Client, DeleteOptions, ListParams, Preconditions, ResourceClient};
use kontiki_mvcc::conformance::Random;
use kontiki_object::{Status, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where the objects are.
pub(crate) const NAMESPACE: &str = "default";
const PATIENCE: Duration = Duration::from_millis(2_500);
const MAPS: usize = 24;
const PAGE: u32 = 7;
const PAGES_MAX: usize = 12;

/// Clients at work.
pub(crate) struct Clients {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Worker {
    number: usize,
    notebook: Notebook,
    /// One for each server.
    maps: Vec<ResourceClient>,
    server: usize,
    random: Random,
    written: u64,
    known: BTreeMap<String, Seen>,
}

/// The ConfigMaps as a server shows them.
pub(crate) fn maps(client: &Client) -> ResourceClient {
    client.namespaced(&CONFIG_MAPS, NAMESPACE)
}

impl Clients {
    pub(crate) fn start(notebook: &Notebook, servers: &[Client], load: Load, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for number in 0..load.clients {
            let worker = Worker {
                number,
                notebook: notebook.clone(),
                maps: servers.iter().map(maps).collect(),
                server: number % servers.len(),
                random: Random::new(random.number()),
                written: 0,
                known: BTreeMap::new(),
            };
            tasks.spawn(worker.run(stop.clone(), load.rate));
        }
        Self { stop, tasks }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Whether a refusal says that nothing was done.
fn is_definite(status: &Status) -> bool {
    matches!(status.code, 400..=403 | 404 | 409 | 410 | 422)
}

/// Makes a call and notes it.
pub(crate) async fn call(
    notebook: &Notebook,
    (server, maps): (usize, &ResourceClient),
    call: Call,
) -> Option<Said> {
    let number = notebook.called(server, call.clone());
    let carried = carry_out(maps, &call);
    let said = match tokio::time::timeout(PATIENCE, carried).await {
        Ok(Ok(said)) => said?,
        Ok(Err(status)) if is_definite(&status) => Said::Refused,
        _ => return None,
    };
    notebook.answered(number, said.clone());
    Some(said)
}

/// `None`: it was answered with what cannot be made sense of.
async fn carry_out(maps: &ResourceClient, call: &Call) -> Result<Option<Said>, Status> {
    Ok(match call {
        Call::Create { name, value } => {
            let object = maps.create(map(name, value, None)).await?;
            seen(&object).map(Said::Stored)
        }
        Call::Update { name, value, base } => {
            let object = maps.update(name, map(name, value, Some(*base))).await?;
            seen(&object).map(Said::Stored)
        }
        Call::Delete { name, uid, base } => {
            let options = DeleteOptions {
                preconditions: Preconditions {
                    uid: Some(uid.clone()),
                    resource_version: Some(base.to_string()),
                },
                ..DeleteOptions::default()
            };
            maps.delete(name, options).await?;
            Some(Said::Deleted)
        }
        Call::List { name } => list(maps, name.as_deref()).await?,
    })
}

/// Every page; all of them hold at the version of the first.
async fn list(maps: &ResourceClient, name: Option<&str>) -> Result<Option<Said>, Status> {
    if let Some(name) = name {
        let params = ListParams {
            field_selector: format!("metadata.name={name}"),
            ..ListParams::default()
        };
        let (items, at) = maps.list(params).await?;
        let items = items.iter().filter_map(|object| seen(object)).collect();
        let version = version(&at);
        return Ok(Some(Said::Items { version, items }));
    }
    let mut found = Vec::new();
    let mut params = ListParams {
        limit: PAGE,
        ..ListParams::default()
    };
    for _ in 0..PAGES_MAX {
        let page = super::watchers::page(maps, params.clone()).await?;
        found.extend(page.items.iter().filter_map(|object| seen(object)));
        if page.continue_token.is_empty() {
            let version = page.version;
            return Ok(Some(Said::Items {
                version,
                items: found,
            }));
        }
        params.continue_token = page.continue_token;
    }
    Ok(None)
}

fn map(name: &str, value: &str, base: Option<i64>) -> Value {
    let mut map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {VALUE: value},
    });
    if let Some(base) = base {
        map["metadata"]["resourceVersion"] = base.to_string().into();
    }
    map
}

impl Worker {
    async fn run(mut self, stop: CancellationToken, rate: u32) {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            pace.tick().await;
            let wanted = self.call();
            let maps = self.maps[self.server].clone();
            match call(&self.notebook, (self.server, &maps), wanted.clone()).await {
                Some(said) => self.learn(&wanted, said),
                None => self.server = self.random.below(self.maps.len()),
            }
        }
    }

    fn call(&mut self) -> Call {
        let name = format!("chaos-{}", self.random.below(MAPS));
        self.written += 1;
        let value = format!("{}-{}", self.number, self.written);
        match (self.random.below(100), self.known.get(&name)) {
            (0..6, _) => Call::List { name: None },
            (6..30, _) => Call::List { name: Some(name) },
            (30..75, Some(known)) => Call::Update {
                name,
                value,
                base: known.version,
            },
            (75..88, Some(known)) => Call::Delete {
                name,
                uid: known.uid.clone(),
                base: known.version,
            },
            _ => Call::Create { name, value },
        }
    }

    fn learn(&mut self, call: &Call, said: Said) {
        match (said, call) {
            (Said::Stored(seen), _) => drop(self.known.insert(seen.name.clone(), seen)),
            (Said::Items { items, .. }, _) => {
                for seen in items {
                    self.known.insert(seen.name.clone(), seen);
                }
            }
            (_, Call::Update { name, .. } | Call::Delete { name, .. }) => {
                // Gone, or another was quicker: the next list tells.
                self.known.remove(name);
            }
            _ => {}
        }
    }
}
