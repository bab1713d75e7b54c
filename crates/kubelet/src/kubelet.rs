//! The kubelet itself: a worker for each pod, and what goes on beside them.

use crate::config::{CgroupDriver, KubeletConfig};
use crate::context::Context;
use crate::cri::{Cri, CriError};
use crate::events::PodEvents;
use crate::heartbeat::Heartbeat;
use crate::http;
use crate::image::Images;
use crate::labels;
use crate::logs::{Rotation, rotate_all};
use crate::machine::Machine;
use crate::node::NodeReporter;
use crate::orphans;
use crate::relist::{self, Snapshot};
use crate::token::Tokens;
use crate::volumes::Volumes;
use crate::worker::Worker;
use k8s_cri::v1::{ContainerState, ReopenContainerLogRequest, RuntimeConfigRequest};
use k8s_openapi::api::core::v1::Pod;
use kontiki_client::{Client, Clock, Delta, EventRecorder};
use kontiki_nodelink::NodeView;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How often it is looked for logs that have grown.
const ROTATION_PERIOD: Duration = Duration::from_secs(10);
/// How often it is looked for pods that nobody wants.
const ORPHAN_PERIOD: Duration = Duration::from_secs(60);
/// A runtime that tells events by itself, and one without pods, is asked this much less often.
const QUIET_FACTOR: u32 = 10;

struct Running {
    key: String,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

/// The kubelet of one node.
pub struct Kubelet {
    context: Arc<Context>,
    heartbeat: Arc<dyn Heartbeat>,
    /// By UID.
    workers: Mutex<HashMap<String, Running>>,
}

impl Kubelet {
    /// A kubelet; nothing happens before [`Kubelet::run`].
    #[must_use]
    pub fn new(
        config: KubeletConfig,
        client: Client,
        view: NodeView,
        recorder: EventRecorder,
        heartbeat: Arc<dyn Heartbeat>,
    ) -> Self {
        let cri = Cri::new(&config.cri_socket);
        let context = Context {
            images: Images::new(cri.clone(), config.parallel_pulls_max),
            tokens: Tokens::new(client.clone()),
            volumes: Volumes::new(&config.root_dir),
            machine: Machine::read(&config.root_dir),
            events: PodEvents::new(recorder),
            clock: Clock::system(),
            client,
            view,
            cri,
            config,
        };
        Self {
            context: Arc::new(context),
            heartbeat,
            workers: Mutex::default(),
        }
    }

    /// The kubelet's HTTP API: logs, exec, attach, port-forward, stats.
    pub fn router(&self) -> axum::Router {
        http::router(self.context.clone())
    }

    /// Works until `cancel` is cancelled. Containers go on.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        self.check_cgroup_driver().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(NodeReporter::new(self.context.clone(), self.heartbeat.clone()).run());
        tasks.spawn(self.clone().follow_pods());
        tasks.spawn(self.clone().follow_sources());
        tasks.spawn(self.clone().follow_runtime());
        tasks.spawn(self.clone().remove_orphans());
        tasks.spawn(rotate_logs(self.context.clone()));
        tokio::select! {
            () = cancel.cancelled() => {}
            Some(ended) = tasks.join_next() => {
                tracing::error!(?ended, "a part of the kubelet ended, which none of them does");
            }
        }
        tasks.shutdown().await;
        for (_, worker) in self.workers.lock().drain() {
            worker.task.abort();
        }
    }

    /// Says so if the runtime, where it can tell, manages control groups otherwise.
    async fn check_cgroup_driver(&self) {
        let Ok(answer) = self
            .context
            .cri
            .runtime_config(RuntimeConfigRequest {})
            .await
        else {
            return;
        };
        let driver = answer.linux.map(|linux| linux.cgroup_driver);
        let is_systemd = driver == Some(k8s_cri::v1::CgroupDriver::Systemd as i32);
        let configured = self.context.config.cgroup_driver;
        if driver.is_some() && is_systemd != (configured == CgroupDriver::Systemd) {
            tracing::warn!(
                ?configured,
                is_systemd,
                "the runtime manages control groups otherwise than configured; set the same driver for both"
            );
        }
    }

    /// A worker for every pod of the view, told of every change.
    async fn follow_pods(self: Arc<Self>) {
        let mut deltas = self.context.view.pods.subscribe();
        while let Some(Delta { old, new }) = deltas.recv().await {
            for object in old.iter().chain(&new) {
                self.wake(object.uid());
            }
            let Some(object) = new else { continue };
            match object.typed::<Pod>() {
                Ok(pod) => self.ensure_worker(&object.key(), object.uid(), pod),
                Err(error) => {
                    tracing::error!(pod = object.key(), %error, "a pod does not have the shape of a pod")
                }
            }
        }
    }

    fn ensure_worker(&self, key: &str, uid: &str, pod: Arc<Pod>) {
        let mut workers = self.workers.lock();
        if workers
            .get(uid)
            .is_some_and(|worker| !worker.task.is_finished())
        {
            return;
        }
        let wake = Arc::new(Notify::new());
        let worker = Worker::new(self.context.clone(), pod, wake.clone());
        let task = tokio::spawn(worker.run());
        workers.insert(
            uid.to_owned(),
            Running {
                key: key.to_owned(),
                wake,
                task,
            },
        );
    }

    fn wake(&self, uid: &str) {
        if let Some(worker) = self.workers.lock().get(uid) {
            worker.wake.notify_one();
        }
    }

    /// Pods look again when what they refer to changes.
    async fn follow_sources(self: Arc<Self>) {
        let mut config_maps = self.context.view.config_maps.subscribe();
        let mut secrets = self.context.view.secrets.subscribe();
        while let Some(delta) = next_of(&mut config_maps, &mut secrets).await {
            let namespace = format!("{}/", delta.object().namespace());
            for worker in self
                .workers
                .lock()
                .values()
                .filter(|worker| worker.key.starts_with(&namespace))
            {
                worker.wake.notify_one();
            }
        }
    }

    /// Wakes the workers of pods of which something changed in the runtime.
    async fn follow_runtime(self: Arc<Self>) {
        let mut known = Snapshot::new();
        let mut is_away = false;
        let (told, mut events) = mpsc::channel(64);
        let mut listener = tokio::spawn(listen(self.context.cri.clone(), told.clone()));
        loop {
            match relist::list(&self.context.cri).await {
                Ok(found) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!("the container runtime is back");
                    }
                    relist::changed(&known, &found)
                        .iter()
                        .for_each(|uid| self.wake(uid));
                    known = found;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%error, socket = %self.context.config.cri_socket.display(), "the container runtime does not answer; containers go on, and it is asked again");
                    }
                }
            }
            let period = self.context.config.relist_period;
            let is_quiet = !is_away && (self.workers.lock().is_empty() || !listener.is_finished());
            let pause = if is_quiet {
                period * QUIET_FACTOR
            } else {
                period
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(uid) = events.recv() => self.wake(&uid),
            }
            self.workers
                .lock()
                .retain(|_, worker| !worker.task.is_finished());
            if is_away {
                listener.abort();
                listener = tokio::spawn(listen(self.context.cri.clone(), told.clone()));
            }
        }
    }

    /// Removes what runs here and stands nowhere, but only once it is known what stands somewhere.
    async fn remove_orphans(self: Arc<Self>) {
        self.context.view.synced().await;
        loop {
            if let Ok(found) = relist::list(&self.context.cri).await {
                let mut uids: Vec<String> = found
                    .into_keys()
                    .chain(self.context.volumes.pods())
                    .collect();
                uids.sort();
                uids.dedup();
                uids.retain(|uid| self.is_orphan(uid));
                for uid in uids {
                    tracing::info!(uid, "removing a pod that the API server does not know");
                    if let Err(error) = orphans::remove(&self.context, &uid).await {
                        tracing::warn!(uid, %error, "an orphaned pod could not be removed yet");
                    }
                }
            }
            tokio::time::sleep(ORPHAN_PERIOD).await;
        }
    }

    fn is_orphan(&self, uid: &str) -> bool {
        !self.workers.lock().contains_key(uid)
            && !self
                .context
                .view
                .pods
                .list()
                .iter()
                .any(|pod| pod.uid() == uid)
    }
}

async fn next_of(
    a: &mut mpsc::UnboundedReceiver<Delta>,
    b: &mut mpsc::UnboundedReceiver<Delta>,
) -> Option<Delta> {
    tokio::select! {
        delta = a.recv() => delta,
        delta = b.recv() => delta,
    }
}

/// Passes on of which pods the runtime tells something; ends with a runtime that tells nothing.
async fn listen(cri: Cri, told: mpsc::Sender<String>) -> Result<(), CriError> {
    let mut events = cri.container_events().await?;
    while let Ok(Some(event)) = events.message().await {
        let metadata = event.pod_sandbox_status.and_then(|status| status.metadata);
        if let Some(metadata) = metadata
            && told.send(metadata.uid).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

async fn rotate_logs(context: Arc<Context>) {
    let rotation = Rotation {
        bytes_max: context.config.container_log_bytes_max,
        files_max: context.config.container_log_files_max,
    };
    loop {
        tokio::time::sleep(ROTATION_PERIOD).await;
        let logs = match context.cri.list(HashMap::new()).await {
            Ok((_, containers)) => running_logs(&context, containers),
            Err(_) => continue,
        };
        let reopen = |id: String| {
            let cri = context.cri.clone();
            async move {
                cri.reopen_container_log(ReopenContainerLogRequest { container_id: id })
                    .await
                    .map(drop)
            }
        };
        rotate_all(logs, rotation, context.clock.now(), reopen).await;
    }
}

/// The log files of running containers, by the names that their labels give.
fn running_logs(
    context: &Context,
    containers: Vec<k8s_cri::v1::Container>,
) -> BTreeMap<String, PathBuf> {
    let running = containers
        .into_iter()
        .filter(|run| run.state == ContainerState::ContainerRunning as i32);
    let logs = running.filter_map(|run| {
        let label = |name: &str| run.labels.get(name).map(String::as_str);
        let (namespace, pod, uid) = (
            label(labels::POD_NAMESPACE)?,
            label(labels::POD_NAME)?,
            label(labels::POD_UID)?,
        );
        let directory = context
            .config
            .log_dir
            .join(format!("{namespace}_{pod}_{uid}"));
        let count = run.annotations.get(labels::RESTART_COUNT)?.parse().ok()?;
        let path = crate::logs::path(&directory, label(labels::CONTAINER_NAME)?, count);
        Some((run.id.clone(), path))
    });
    logs.collect()
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        for worker in self.workers.get_mut().values() {
            worker.task.abort();
        }
    }
}
