//! Who works while a cluster is troubled: clients and watchers of the store's
//! API or of the Kubernetes API, and how both come to rest.

use crate::trial::clients::{Clients, Load, call};
use crate::trial::fleet::Fleet;
use crate::trial::kubernetes::clients as api;
use crate::trial::kubernetes::notes::{Call, Notebook, Said};
use crate::trial::kubernetes::{translation, watchers as api_watchers};
use crate::trial::recorder::Recorder;
use crate::trial::watchers::Watchers;
use crate::trial::wire::Wire;
use crate::writers;
use anyhow::{Context, Result, bail};
use kontiki_checker::{HashSample, History, Request, Response};
use kontiki_client::{Client, HttpsConfig};
use kontiki_mvcc::conformance::Random;
use kontiki_store::{KeyRange, Op, PutRequest, RangeRequest, TxnRequest};
use std::time::{Duration, Instant};

const LOAD: Load = Load {
    clients: 12,
    rate: 40,
};
/// A call of the Kubernetes API costs more, and lists are in pages.
const API_LOAD: Load = Load {
    clients: 9,
    rate: 25,
};
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
const START_PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Clients and watchers at work.
pub(crate) struct Workload {
    recorder: Recorder,
    work: Work,
}

enum Work {
    Store {
        clients: Option<Clients>,
        watchers: Watchers,
    },
    Api(Box<Api>),
}

/// Through the Kubernetes API.
struct Api {
    notebook: Notebook,
    servers: Vec<Client>,
    clients: Option<api::Clients>,
    watchers: api_watchers::Watchers,
}

impl Workload {
    pub(crate) async fn start(
        fleet: &Fleet,
        wires: &[Wire],
        random: &mut Random,
        started: Instant,
    ) -> Result<Self> {
        let recorder = Recorder::new(started);
        let work = match fleet.servers() {
            Some(cluster) => {
                let base = HttpsConfig::from_kubeconfig_file(&cluster.kubeconfig())?;
                let servers: Vec<Client> = (0..fleet.founders())
                    .map(|member| writers::client(&base, [fleet.machine(member)]))
                    .collect::<Result<_>>()?;
                Work::Api(Box::new(Api::start(servers, random, started).await?))
            }
            None => Work::Store {
                watchers: Watchers::start(&recorder, wires, wires.len(), random.number()),
                clients: Some(Clients::start(&recorder, wires, LOAD, random.number())),
            },
        };
        Ok(Self { recorder, work })
    }

    /// What is noted of the store itself.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(crate) fn acknowledged(&self) -> usize {
        match &self.work {
            Work::Store { .. } => self.recorder.acknowledged(),
            Work::Api(api) => api.notebook.acknowledged(),
        }
    }

    /// Lets every client finish what it is at.
    pub(crate) async fn rest(&mut self) {
        match &mut self.work {
            Work::Store { clients, .. } => {
                if let Some(clients) = clients.take() {
                    clients.stop().await;
                }
            }
            Work::Api(api) => {
                if let Some(clients) = api.clients.take() {
                    clients.stop().await;
                }
            }
        }
    }

    /// Everybody writes and reads once more, and all that was written must show.
    pub(crate) async fn settle(&self, wires: &[Wire]) -> Result<()> {
        match &self.work {
            Work::Store { watchers, .. } => self.settle_store(wires, watchers).await?,
            Work::Api(api) => api.settle().await?,
        }
        compare(&self.recorder, wires).await
    }

    /// Ends everything; what was noted.
    pub(crate) async fn finish(mut self) -> History {
        self.rest().await;
        match self.work {
            Work::Store { watchers, .. } => {
                watchers.stop().await;
                self.recorder.take()
            }
            Work::Api(api) => {
                api.watchers.stop().await;
                History {
                    samples: self.recorder.take().samples,
                    ..translation::history(&api.notebook.take())
                }
            }
        }
    }

    async fn settle_store(&self, wires: &[Wire], watchers: &Watchers) -> Result<()> {
        // The end of a lease is a write as well: the last one has to be over.
        until_no_leases(&wires[0]).await?;
        let mut newest = 0;
        for (member, wire) in wires.iter().enumerate() {
            let put = PutRequest {
                key: "/registry/last".into(),
                value: format!("last {member}").into(),
                ..PutRequest::default()
            };
            let request = Request::Txn(TxnRequest {
                success: vec![Op::Put(put)],
                ..TxnRequest::default()
            });
            ask(&self.recorder, wire, member, request).await?;
        }
        for (member, wire) in wires.iter().enumerate() {
            let request = Request::Range(RangeRequest {
                range: KeyRange::prefix("/registry/"),
                ..RangeRequest::default()
            });
            if let Response::Range(range) = ask(&self.recorder, wire, member, request).await? {
                newest = range.header.revision.max(newest);
            }
        }
        if !watchers.until(newest + 1, SETTLE_PATIENCE).await {
            // The checkers tell which, and what is missing.
            watchers.settle();
            bail!("a watch does not show what had happened at revision {newest}");
        }
        watchers.settle();
        Ok(())
    }
}

/// Waits until every lease that nobody keeps alive any more has ended.
async fn until_no_leases(wire: &Wire) -> Result<()> {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    loop {
        let left = tokio::time::timeout(ANSWER_PATIENCE, wire.leases()).await;
        match left {
            Ok(Ok(0)) => return Ok(()),
            _ if Instant::now() > deadline => {
                bail!("leases do not end though nobody keeps them alive: {left:?} are left")
            }
            _ => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
}

/// Asks until it is answered.
async fn ask(
    recorder: &Recorder,
    wire: &Wire,
    member: usize,
    request: Request,
) -> Result<Response> {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    loop {
        let answer = call(recorder, wire, member, request.clone()).await;
        match answer {
            Some(Ok(response)) => return Ok(response),
            _ if Instant::now() > deadline => {
                bail!("member {} does not answer: {answer:?}", member + 1)
            }
            _ => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
}

/// Hashes of every member, once they stand at the same entry.
async fn compare(recorder: &Recorder, wires: &[Wire]) -> Result<()> {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    loop {
        let mut samples = Vec::new();
        for (member, wire) in wires.iter().enumerate() {
            let keys = wire.keys_hash(0).await?;
            let Ok((applied_index, state)) = wire.state_hash().await else {
                break;
            };
            samples.push(HashSample {
                member,
                applied_index,
                revision: keys.revision,
                compact_revision: keys.compact_revision,
                keys: keys.hash,
                state,
            });
        }
        let even = samples.len() == wires.len()
            && samples
                .windows(2)
                .all(|pair| pair[0].applied_index == pair[1].applied_index);
        let late = Instant::now() > deadline;
        if even || late {
            samples.into_iter().for_each(|one| recorder.sampled(one));
            return even
                .then_some(())
                .context("the members never stand at the same entry");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

impl Api {
    async fn start(servers: Vec<Client>, random: &mut Random, started: Instant) -> Result<Self> {
        let notebook = Notebook::new(started);
        let mut from = 0;
        for server in &servers {
            let deadline = Instant::now() + START_PATIENCE;
            from = loop {
                match api::maps(server)
                    .list(kontiki_client::ListParams::default())
                    .await
                {
                    Ok((_, version)) => break version.parse().unwrap_or(0),
                    Err(status) if Instant::now() > deadline => {
                        bail!("the Kubernetes API does not serve: {status}")
                    }
                    Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
                }
            };
        }
        let seed = random.number();
        Ok(Self {
            watchers: api_watchers::Watchers::start(&notebook, &servers, from, seed),
            clients: Some(api::Clients::start(
                &notebook,
                &servers,
                API_LOAD,
                random.number(),
            )),
            notebook,
            servers,
        })
    }

    async fn ask(&self, server: usize, wanted: Call) -> Result<Said> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let maps = api::maps(&self.servers[server]);
        loop {
            match api::call(&self.notebook, (server, &maps), wanted.clone()).await {
                Some(said) if said != Said::Refused => return Ok(said),
                _ if Instant::now() > deadline => {
                    bail!("server {} does not answer: {wanted:?}", server + 1)
                }
                _ => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
    }

    async fn settle(&self) -> Result<()> {
        let mut newest = 0;
        for server in 0..self.servers.len() {
            let create = Call::Create {
                name: format!("last-{server}"),
                value: format!("last-{server}"),
            };
            // An answer that got lost makes every later one a refusal.
            let maps = api::maps(&self.servers[server]);
            let said = api::call(&self.notebook, (server, &maps), create).await;
            if let Some(Said::Stored(seen)) = said {
                newest = seen.version.max(newest);
            }
        }
        for server in 0..self.servers.len() {
            self.ask(server, Call::List { name: None }).await?;
        }
        let shown = self.watchers.until(newest, SETTLE_PATIENCE).await;
        self.watchers.settle();
        if !shown {
            bail!("a watch does not show what had happened at version {newest}");
        }
        Ok(())
    }
}
