//! Clients that write ConfigMaps and remember exactly what was acknowledged.

use crate::ledger::Ledger;
use crate::observer::ms_since;
use crate::timeline::Ms;
use anyhow::{Context, Result, anyhow};
use kontiki_client::https::Timeouts;
use kontiki_client::resources::CONFIG_MAPS;
use kontiki_client::{Client, DeleteOptions, HttpsApi, HttpsConfig, ListParams, ResourceClient};
use kontiki_object::{Object, Status, Value};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xtask::topology::{API_PORT, Machine};

/// So many write at a time.
const WRITERS: usize = 8;
/// Every so many writes of a writer go to a new object, the others to its first.
const CREATE_EVERY: u64 = 8;
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const NAMESPACE: &str = "default";
const LABEL: &str = "kontiki-chaos-run";

/// Impatient: a client that waits long would measure its own patience.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(300),
    request: Duration::from_millis(1_500),
    probe_interval: Duration::from_millis(200),
    probe: Duration::from_millis(300),
};

/// A client that asks the servers in this order.
///
/// # Errors
/// If the credentials cannot be used.
pub fn client<'a>(
    base: &HttpsConfig,
    servers: impl IntoIterator<Item = &'a Machine>,
) -> Result<Client> {
    let mut config = base.clone();
    config.servers = servers
        .into_iter()
        .map(|server| format!("https://{}:{API_PORT}", server.address))
        .collect();
    config.timeouts = TIMEOUTS;
    config.user_agent = "kontiki-chaos".into();
    Ok(Client::new(
        Arc::new(HttpsApi::new(config)?),
        "kontiki-chaos",
    ))
}

#[derive(Default)]
struct Record {
    ledger: Ledger,
    acknowledged: Vec<Ms>,
    /// Reads that answered less than had been acknowledged.
    went_back: u64,
}

/// Writers at work.
pub struct Writers {
    run: String,
    record: Arc<Mutex<Record>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What the writers saw.
pub struct Written {
    /// What was acknowledged.
    pub ledger: Ledger,
    /// When.
    pub acknowledged: Vec<Ms>,
    /// Reads during the run that answered less than had been acknowledged.
    pub went_back: u64,
}

impl Writers {
    /// Starts them; each prefers another server.
    ///
    /// # Errors
    /// If the credentials cannot be used.
    pub fn start(
        run: &str,
        base: &HttpsConfig,
        servers: &[Machine],
        start: Instant,
    ) -> Result<Self> {
        let (record, stop) = (Arc::<Mutex<Record>>::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let offset = number % servers.len();
            let order = servers[offset..].iter().chain(&servers[..offset]);
            let writer = Writer {
                maps: client(base, order)?.namespaced(&CONFIG_MAPS, NAMESPACE),
                run: run.to_owned(),
                name: format!("chaos-{run}-{number}"),
                record: record.clone(),
                start,
            };
            tasks.spawn(writer.write_until(stop.clone()));
        }
        Ok(Self {
            run: run.to_owned(),
            record,
            stop,
            tasks,
        })
    }

    /// When writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<Ms> {
        self.record.lock().acknowledged.clone()
    }

    /// Lets every writer finish its write.
    pub async fn stop(mut self) -> Written {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let record = std::mem::take(&mut *self.record.lock());
        Written {
            ledger: record.ledger,
            acknowledged: record.acknowledged,
            went_back: record.went_back,
        }
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }
}

struct Writer {
    maps: ResourceClient,
    run: String,
    name: String,
    record: Arc<Mutex<Record>>,
    start: Instant,
}

impl Writer {
    async fn write_until(self, stop: CancellationToken) {
        let mut version = None;
        let mut counter: u64 = 0;
        let mut number: u64 = 0;
        while !stop.is_cancelled() {
            number += 1;
            if number.is_multiple_of(CREATE_EVERY) {
                let name = format!("{}-{number}", self.name);
                // Not acknowledged: nothing was promised, and the name is not used again.
                if self.maps.create(self.map(&name, 1, None)).await.is_ok() {
                    self.acknowledge(&name, 1);
                }
                continue;
            }
            let wanted = self.map(&self.name, counter + 1, version.as_deref());
            let answered = match version {
                None => self.maps.create(wanted).await,
                Some(_) => self.maps.update(&self.name, wanted).await,
            };
            match answered {
                Ok(object) => {
                    counter += 1;
                    version = Some(object.resource_version().to_owned());
                    self.acknowledge(&self.name, counter);
                }
                // It may or may not have been done: what is there tells.
                Err(_) => (counter, version) = self.recover(&stop, counter, version).await,
            }
        }
    }

    /// Reads where the object stands, until a server answers.
    async fn recover(
        &self,
        stop: &CancellationToken,
        counter: u64,
        version: Option<String>,
    ) -> (u64, Option<String>) {
        while !stop.is_cancelled() {
            let found = self.maps.get_opt(&self.name).await;
            if let Ok(found) = found {
                let (now, version) = found.map_or((0, None), |object| {
                    (count(&object), Some(object.resource_version().to_owned()))
                });
                let mut record = self.record.lock();
                if now < record.ledger.counter(&self.name) {
                    record.went_back += 1;
                }
                return (now, version);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        (counter, version)
    }

    fn acknowledge(&self, name: &str, counter: u64) {
        let at = ms_since(self.start);
        let mut record = self.record.lock();
        record.ledger.acknowledge(name, counter);
        record.acknowledged.push(at);
    }

    fn map(&self, name: &str, counter: u64, version: Option<&str>) -> Value {
        let mut map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL: self.run}},
            "data": {"counter": counter.to_string()},
        });
        if let Some(version) = version {
            map["metadata"]["resourceVersion"] = version.into();
        }
        map
    }
}

fn count(object: &Object) -> u64 {
    object
        .str_at(&["data", "counter"])
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Reads a run's objects from one server, with all that was acknowledged anywhere.
///
/// # Errors
/// If the server does not answer within `patience`.
pub async fn read_back(
    base: &HttpsConfig,
    server: &Machine,
    run: &str,
    patience: Duration,
) -> Result<BTreeMap<String, u64>> {
    let maps = client(base, [server])?.namespaced(&CONFIG_MAPS, NAMESPACE);
    let deadline = Instant::now() + patience;
    loop {
        // Without a resource version a list is linearizable.
        match maps.list(selected(run)).await {
            Ok((items, _)) => {
                return Ok(items
                    .iter()
                    .map(|item| (item.name().to_owned(), count(item)))
                    .collect());
            }
            Err(_) if Instant::now() < deadline => tokio::time::sleep(RETRY_INTERVAL * 10).await,
            Err(status) => {
                return Err(say(&status))
                    .with_context(|| format!("cannot read back from {}", server.name));
            }
        }
    }
}

/// Removes a run's objects.
///
/// # Errors
/// If no server does it.
pub async fn remove(client: &Client, run: &str) -> Result<()> {
    let maps = client.namespaced(&CONFIG_MAPS, NAMESPACE);
    let mut last = Status::unavailable("not tried");
    for _ in 0..20 {
        match maps
            .delete_collection(selected(run), DeleteOptions::default())
            .await
        {
            Ok(()) => return Ok(()),
            Err(status) => last = status,
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(say(&last)).context("the written objects could not be removed")
}

fn selected(run: &str) -> ListParams {
    ListParams {
        label_selector: format!("{LABEL}={run}"),
        ..ListParams::default()
    }
}

fn say(status: &Status) -> anyhow::Error {
    anyhow!("{status}")
}
