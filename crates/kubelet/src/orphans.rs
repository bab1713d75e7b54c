//! Pods that run here and that nobody wants any more.

use crate::context::Context;
use crate::cri::{CriResult, PodObservation, observation};
use crate::labels;
use k8s_cri::v1::{PodSandboxStatusRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use std::time::Duration;

/// What such a pod's containers get to end by themselves.
const GRACE: Duration = Duration::from_secs(30);

/// Stops and removes everything of a pod that the API server does not know.
///
/// # Errors
/// What the runtime answers; it is to be tried again then.
pub async fn remove(context: &Context, uid: &str) -> CriResult<()> {
    let observed = observation(&context.cri, uid, &PodObservation::default()).await?;
    let stops = observed
        .alive()
        .map(|run| context.cri.stop_container(&run.id, GRACE));
    futures::future::try_join_all(stops).await?;
    for sandbox in &observed.sandboxes {
        let id = sandbox.id.clone();
        let status = PodSandboxStatusRequest {
            pod_sandbox_id: id.clone(),
            verbose: false,
        };
        let labels = context
            .cri
            .pod_sandbox_status(status)
            .await
            .ok()
            .and_then(|answer| answer.status);
        context
            .cri
            .stop_pod_sandbox(StopPodSandboxRequest {
                pod_sandbox_id: id.clone(),
            })
            .await?;
        context
            .cri
            .remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id })
            .await?;
        if let Some(labels) = labels.map(|status| status.labels) {
            let text = |name: &str| {
                labels
                    .get(name)
                    .map(String::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let logs = format!(
                "{}_{}_{uid}",
                text(labels::POD_NAMESPACE),
                text(labels::POD_NAME)
            );
            let _ = std::fs::remove_dir_all(context.config.log_dir.join(logs));
        }
    }
    if let Err(error) = context.volumes.remove(uid) {
        tracing::warn!(uid, %error, "what is left of an orphaned pod could not be removed");
    }
    Ok(())
}
