//! Carrying out a plan.

use super::{Next, StepError, Worker};
use crate::container::{Prepared, container_config};
use crate::cri::{ContainerRecord, SandboxRecord};
use crate::env::environment;
use crate::fields;
use crate::plan::{Action, Goal, Plan, Waiting};
use crate::probe::{Handler, ProbeTarget, run_handler};
use crate::sandbox::sandbox_config;
use crate::spec::{PodExt, is_sidecar};
use crate::volumes::mounts;
use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1::{
    ContainerConfig, CreateContainerRequest, RemoveContainerRequest, RunPodSandboxRequest,
    StartContainerRequest, StopPodSandboxRequest,
};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use kontiki_client::EventType;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A container gets at least this long, however long its hook took.
const GRACE_MIN: Duration = Duration::from_secs(2);
/// A container that could not be started is tried again after this at the earliest.
const START_RETRY: SignedDuration = SignedDuration::from_secs(2);
/// The most that a hook after the start may take.
const HOOK: Duration = Duration::from_secs(3600);

impl Worker {
    /// Carries out the plan, unless meanwhile the pod is to end, or to end sooner.
    pub(super) async fn act(&mut self, plan: &Plan, goal: Goal) -> Result<Next, StepError> {
        let (context, key, uid) = (self.context.clone(), self.key.clone(), self.uid.clone());
        let (grace, wake) = (self.pod.grace(), self.wake.clone());
        let was_told = AtomicBool::new(false);
        let overtaken = async {
            loop {
                wake.notified().await;
                was_told.store(true, Ordering::Relaxed);
                let is_overtaken = match (context.pod(&key, &uid), goal) {
                    (None, Goal::Run) => true,
                    (None, Goal::Stop) => false,
                    (Some(pod), Goal::Run) => pod.is_terminating(),
                    (Some(pod), Goal::Stop) => pod.is_terminating() && pod.grace() < grace,
                };
                if is_overtaken {
                    return;
                }
            }
        };
        let outcome = tokio::select! {
            outcome = self.carry_out(plan) => outcome,
            () = overtaken => Ok(Next::Again),
        };
        // What was heard while acting has not been looked at yet.
        if was_told.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
        outcome
    }

    async fn carry_out(&mut self, plan: &Plan) -> Result<Next, StepError> {
        let mut retry_at = plan.wake_at;
        let mut is_settled = true;
        for action in &plan.actions {
            match action {
                Action::StopPod => {
                    self.stop_pod().await?;
                    is_settled = false;
                }
                Action::CreateSandbox { attempt } => {
                    self.create_sandbox(*attempt).await?;
                    is_settled = false;
                }
                Action::StopContainer { id, name, message } => {
                    let grace = self.pod.grace();
                    self.stop_container(id, name, message, grace).await?;
                    is_settled = false;
                }
                Action::StartContainer {
                    name,
                    restart_count,
                } => {
                    let held = self
                        .held
                        .get(name)
                        .copied()
                        .filter(|until| *until > self.now());
                    if held.is_none() && self.start_container(name, *restart_count).await? {
                        is_settled = false;
                        continue;
                    }
                    let next = held.unwrap_or_else(|| self.hold(name));
                    retry_at = Some(retry_at.map_or(next, |known| known.min(next)));
                }
            }
        }
        if !is_settled {
            return Ok(Next::Again);
        }
        // Nothing could be started: say why before waiting.
        self.report(Goal::Run).await;
        Ok(Next::Wait(retry_at))
    }

    /// Decides when a container that could not be started is tried again.
    fn hold(&mut self, name: &str) -> Timestamp {
        let soon = self.now() + START_RETRY;
        let reason = self
            .waiting
            .get(name)
            .map(|waiting| waiting.reason.as_str());
        let until = match reason {
            Some("ImagePullBackOff") => {
                let next = self.context.images.next_try(&self.pod, self.now());
                next.map_or(soon, |next| next.max(soon))
            }
            // An object may arrive any moment, and after a failed pull the wait is told next.
            Some("CreateContainerConfigError" | "ErrImagePull") => soon,
            _ => soon + START_RETRY * 4,
        };
        self.held.insert(name.to_owned(), until);
        until
    }

    async fn create_sandbox(&mut self, attempt: u32) -> Result<(), StepError> {
        self.prepare_volumes().await?;
        let context = self.context.clone();
        let config = sandbox_config(
            &self.pod,
            attempt,
            &context.config,
            &context.host_resolver(),
        );
        let directory = &config.log_directory;
        std::fs::create_dir_all(directory)
            .map_err(|error| StepError::Local(format!("making {directory}: {error}")))?;
        let request = RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        if let Err(error) = context.cri.run_pod_sandbox(request).await {
            let message = format!("Failed to create pod sandbox: {error}");
            context.events.pod(
                &self.pod,
                EventType::Warning,
                "FailedCreatePodSandBox",
                message,
            );
            return Err(error.into());
        }
        if attempt > 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            context
                .events
                .pod(&self.pod, EventType::Normal, "SandboxChanged", message);
        }
        Ok(())
    }

    /// Makes the pod's volumes ready, with fresh tokens.
    pub(super) async fn prepare_volumes(&mut self) -> Result<BTreeMap<String, PathBuf>, StepError> {
        let context = self.context.clone();
        let tell = |message: String| {
            context.events.pod(
                &self.pod,
                EventType::Warning,
                "FailedMount",
                message.clone(),
            );
            StepError::Local(message)
        };
        let tokens = context.tokens.of_pod(&self.pod, self.now()).await.map_err(|(volume, status)| {
            tell(format!("MountVolume.SetUp failed for volume \"{volume}\" : failed to fetch token: {status}"))
        })?;
        let (pod, ips) = (self.pod.clone(), self.pod_ips());
        let disk = context.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let directory = disk.volumes.pod_directory(pod.uid());
            std::fs::create_dir_all(&directory)
                .map_err(|error| format!("making {}: {error}", directory.display()))?;
            let placement = disk.placement(ips);
            disk.volumes
                .prepare(&pod, &*disk, &placement, &tokens)
                .map_err(|error| error.to_string())
        });
        prepared
            .await
            .expect("making volumes ready does not panic")
            .map_err(tell)
    }

    /// Starts a container; whether it worked. If not, the reason stands in `waiting`.
    async fn start_container(&mut self, name: &str, restart_count: u32) -> Result<bool, StepError> {
        let Some(container) = fields::container(&self.pod, name).cloned() else {
            return Ok(true);
        };
        let Some(sandbox) = self
            .observed
            .sandbox()
            .filter(|sandbox| sandbox.ready)
            .cloned()
        else {
            return Ok(true);
        };
        let volumes = self.prepare_volumes().await?;
        if let Some(last) = self.observed.latest(name) {
            let (failed_at, now) = (last.finished_at, self.now());
            self.backoff.tried(name, failed_at, now);
        }
        match self
            .try_start(&container, restart_count, &sandbox, &volumes)
            .await
        {
            Ok(()) => {
                self.waiting.remove(name);
                self.held.remove(name);
                Ok(true)
            }
            Err(waiting) => {
                tracing::debug!(
                    pod = self.key,
                    container = name,
                    reason = waiting.reason,
                    "a container was not started"
                );
                self.waiting.insert(name.to_owned(), waiting);
                Ok(false)
            }
        }
    }

    async fn try_start(
        &self,
        container: &Container,
        restart_count: u32,
        sandbox: &SandboxRecord,
        volumes: &BTreeMap<String, PathBuf>,
    ) -> Result<(), Waiting> {
        let context = &self.context;
        let tell = |kind: EventType, reason: &str, message: String| {
            context
                .events
                .container(&self.pod, &container.name, kind, reason, message);
        };
        let fail = |reason: &str, message: String| {
            tell(EventType::Warning, "Failed", format!("Error: {message}"));
            Waiting {
                reason: reason.to_owned(),
                message,
            }
        };
        let image = context
            .images
            .ensure(&self.pod, container, &**context, self.now(), &tell)
            .await;
        let image = image.inspect_err(|waiting| {
            tell(
                EventType::Warning,
                "Failed",
                format!("Error: {}", waiting.reason),
            );
        })?;
        let config = self.container_config(container, restart_count, image, volumes);
        let config = config.map_err(|message| fail("CreateContainerConfigError", message))?;
        let sandbox_config = sandbox_config(
            &self.pod,
            sandbox.attempt,
            &context.config,
            &context.host_resolver(),
        );
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let created = context.cri.create_container(request).await;
        let id = created
            .map_err(|error| fail("CreateContainerError", error.to_string()))?
            .container_id;
        tell(EventType::Normal, "Created", "Container created".to_owned());
        let started = context
            .cri
            .start_container(StartContainerRequest {
                container_id: id.clone(),
            })
            .await;
        started.map_err(|error| fail("RunContainerError", error.to_string()))?;
        tell(EventType::Normal, "Started", "Container started".to_owned());
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.as_ref());
        if let Some(hook) = hook
            && let Err(message) = self.hook(container, &id, hook, HOOK).await
        {
            tell(
                EventType::Warning,
                "FailedPostStartHook",
                format!("PostStartHook failed: {message}"),
            );
            let why = "FailedPostStartHook";
            let _ = self
                .stop_container(&id, &container.name, why, self.pod.grace())
                .await;
            return Err(Waiting {
                reason: "PostStartHookError".to_owned(),
                message,
            });
        }
        Ok(())
    }

    fn container_config(
        &self,
        container: &Container,
        restart_count: u32,
        image: crate::image::Present,
        volumes: &BTreeMap<String, PathBuf>,
    ) -> Result<ContainerConfig, String> {
        let context = &self.context;
        let ips = self.pod_ips();
        let env = environment(
            &self.pod,
            container,
            &**context,
            &context.placement(ips.clone()),
        );
        let env = env.map_err(|error| error.to_string())?;
        let directory = context.volumes.pod_directory(&self.uid);
        let made = mounts::mounts(&self.pod, container, volumes, &env).and_then(|mut mounts| {
            mounts.extend(mounts::hosts_file(
                &self.pod,
                container,
                &directory,
                &ips,
                &context.config,
            )?);
            mounts.push(mounts::termination_file(
                container,
                &directory,
                &restart_count.to_string(),
            )?);
            Ok(mounts)
        });
        let mounts = made.map_err(|error| error.to_string())?;
        let prepared = Prepared {
            env,
            mounts,
            image_ref: image.image_ref,
            image_user: image.user,
        };
        let memory = context.machine.memory_bytes;
        container_config(
            &self.pod,
            container,
            restart_count,
            prepared,
            &context.config,
            memory,
        )
        .map_err(|error| error.to_string())
    }

    /// Stops every container, then every sandbox. Sidecars outlive the others
    /// and end in reverse order.
    async fn stop_pod(&self) -> Result<(), StepError> {
        let deadline = Instant::now() + self.pod.grace();
        let left = || deadline.saturating_duration_since(Instant::now());
        let is_aside = |run: &&ContainerRecord| {
            self.pod
                .init_containers()
                .iter()
                .any(|init| init.name == run.name && is_sidecar(init))
        };
        let (aside, others): (Vec<_>, Vec<_>) = self.observed.alive().partition(is_aside);
        let message = |run: &ContainerRecord| format!("Stopping container {}", run.name);
        let stops = others.iter().map(|run| async {
            self.stop_container(&run.id, &run.name, &message(run), left())
                .await
        });
        for stopped in futures::future::join_all(stops).await {
            stopped?;
        }
        for init in self.pod.init_containers().iter().rev() {
            for run in aside.iter().filter(|run| run.name == init.name) {
                self.stop_container(&run.id, &run.name, &message(run), left())
                    .await?;
            }
        }
        for sandbox in self
            .observed
            .sandboxes
            .iter()
            .filter(|sandbox| sandbox.ready)
        {
            let request = StopPodSandboxRequest {
                pod_sandbox_id: sandbox.id.clone(),
            };
            if let Err(error) = self.context.cri.stop_pod_sandbox(request).await {
                let message = format!(
                    "error killing pod: failed to \"KillPodSandbox\" for {:?}: {error}",
                    self.uid
                );
                self.context
                    .events
                    .pod(&self.pod, EventType::Warning, "FailedKillPod", message);
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn stop_container(
        &self,
        id: &str,
        name: &str,
        message: &str,
        grace: Duration,
    ) -> Result<(), StepError> {
        self.context
            .events
            .container(&self.pod, name, EventType::Normal, "Killing", message);
        let started = Instant::now();
        let container = fields::container(&self.pod, name);
        let hook = container.and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
        if let (Some(container), Some(hook)) = (container, hook.filter(|_| !grace.is_zero()))
            && let Err(message) = self.hook(container, id, hook, grace).await
        {
            let message = format!("PreStopHook failed: {message}");
            self.context.events.container(
                &self.pod,
                name,
                EventType::Warning,
                "FailedPreStopHook",
                message,
            );
        }
        let left = grace.saturating_sub(started.elapsed());
        let left = if hook.is_some() && !grace.is_zero() {
            left.max(GRACE_MIN)
        } else {
            left
        };
        Ok(self.context.cri.stop_container(id, left).await?)
    }

    async fn hook(
        &self,
        container: &Container,
        id: &str,
        hook: &LifecycleHandler,
        timeout: Duration,
    ) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            let seconds = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default());
            tokio::time::sleep(seconds.min(timeout)).await;
            return Ok(());
        }
        let target = ProbeTarget {
            cri: self.context.cri.clone(),
            container_id: id.to_owned(),
            container: container.clone(),
            pod_ip: self.pod_ips().into_iter().next().unwrap_or_default(),
        };
        let handler = Handler {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc: None,
        };
        run_handler(&target, &handler, timeout).await
    }

    /// Keeps the last two runs of each container; older ones and their logs go.
    pub(super) async fn remove_old_runs(&mut self) -> Result<(), StepError> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for run in &self.observed.containers {
            let count = seen.entry(&run.name).or_default();
            *count += 1;
            if *count <= 2 || run.phase != crate::cri::ContainerPhase::Exited {
                continue;
            }
            let request = RemoveContainerRequest {
                container_id: run.id.clone(),
            };
            self.context.cri.remove_container(request).await?;
            let _ = std::fs::remove_file(&run.log_path);
        }
        Ok(())
    }
}
