//! The end of a pod: nothing of it stays on the node, then nothing in the API.

use super::{Next, StepError, Worker};
use crate::resources;
use crate::sandbox::log_directory;
use crate::spec::PodExt;
use k8s_cri::v1::RemovePodSandboxRequest;
use kontiki_client::{DeleteOptions, Preconditions};

impl Worker {
    /// Removes what is left of a pod that has stopped and was told to go, then
    /// lets the API server remove it.
    pub(super) async fn finish(&mut self) -> Result<Next, StepError> {
        if self.is_deleted {
            // A finalizer holds the object back, or the view lags.
            return Ok(Next::Wait(None));
        }
        // The last status must be there before its sources are removed.
        if let Some(failed) = self.report_failed.clone() {
            return Err(failed.into());
        }
        self.clear().await?;
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            preconditions: Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            },
            propagation_policy: None,
        };
        let pods = self
            .context
            .client
            .namespaced(&kontiki_client::resources::PODS, self.pod.namespace());
        match pods.delete(self.pod.name(), options).await {
            Ok(()) => {}
            Err(status) if status.is_not_found() || status.is_conflict() => {}
            Err(status) => return Err(status.into()),
        }
        self.is_deleted = true;
        Ok(Next::Wait(None))
    }

    /// Removes everything of the pod from the node.
    pub(super) async fn clear(&mut self) -> Result<(), StepError> {
        let context = self.context.clone();
        for sandbox in &self.observed.sandboxes {
            let request = RemovePodSandboxRequest {
                pod_sandbox_id: sandbox.id.clone(),
            };
            match context.cri.remove_pod_sandbox(request).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        let (pod, disk) = (self.pod.clone(), context.clone());
        let cleared = tokio::task::spawn_blocking(move || {
            disk.volumes.remove(pod.uid())?;
            match std::fs::remove_dir_all(log_directory(&pod, &disk.config)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let parent =
                resources::cgroup_parent(&pod, disk.config.cgroup_driver, &disk.config.cgroup_root);
            crate::machine::cgroup::remove(&parent);
            Ok(())
        });
        let cleared = cleared.await.expect("removing files does not panic");
        cleared.map_err(|error| {
            StepError::Local(format!("removing what is left of the pod: {error}"))
        })?;
        context.tokens.forget(&self.uid);
        context.images.forget(&self.uid);
        self.observed = crate::cri::PodObservation::default();
        Ok(())
    }
}
