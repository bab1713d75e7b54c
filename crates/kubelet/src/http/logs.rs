//! `/containerLogs`: what a container has written.

use super::{HttpError, Shared, look_up};
use crate::context::Context;
use crate::cri::{ContainerPhase, ContainerRecord, PodObservation};
use crate::fields;
use crate::logs::{LogOptions, LogSource, path, read};
use crate::sandbox::log_directory;
use crate::status::Initial;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1::ContainerStatusRequest;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces that wait for the reader of a log.
const PIECES_MAX: usize = 4;

/// The parameters, with upstream's names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogQuery {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
    stream: Option<String>,
}

/// Go's notion of a true parameter; one without a value counts.
fn flag(value: Option<&str>) -> bool {
    matches!(value, Some("" | "1" | "t" | "T" | "true" | "True" | "TRUE"))
}

impl LogQuery {
    fn options(&self, now: Timestamp) -> Result<LogOptions, HttpError> {
        let since = match (&self.since_time, self.since_seconds) {
            (Some(time), _) if !time.is_empty() => {
                let time = time.parse::<Timestamp>();
                Some(time.map_err(|error| {
                    HttpError::bad_request(format!("invalid sinceTime: {error}"))
                })?)
            }
            (_, Some(seconds)) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
            _ => None,
        };
        let stream = match self.stream.as_deref() {
            None | Some("" | "All") => None,
            Some("Stdout") => Some("stdout".to_owned()),
            Some("Stderr") => Some("stderr".to_owned()),
            Some(other) => return Err(HttpError::bad_request(format!("invalid stream {other:?}"))),
        };
        Ok(LogOptions {
            follow: flag(self.follow.as_deref()),
            timestamps: flag(self.timestamps.as_deref()),
            tail_lines: self.tail_lines,
            limit_bytes: self.limit_bytes,
            since,
            stream,
        })
    }
}

/// Answers with a container's log.
pub async fn container_logs(
    State(context): Shared,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, HttpError> {
    let mut options = query.options(context.clock.now())?;
    let (pod, observed) = look_up(&context, &namespace, &name).await?;
    if fields::container(&pod, &container).is_none() {
        let message = format!("container {container} is not valid for pod {name}");
        return Err(HttpError::bad_request(message));
    }
    let previous = flag(query.previous.as_deref());
    let run = choose(&pod, &observed, &container, &name, previous)?;
    options.follow &= run.phase == ContainerPhase::Running;
    let file = file(&context, &pod, run);
    let source = Running {
        context,
        id: run.id.clone(),
    };
    let (out, pieces) = mpsc::channel::<Bytes>(PIECES_MAX);
    tokio::spawn(async move {
        if let Err(error) = read(&file, &options, &source, &out).await {
            let message = format!("failed to read the log file {}: {error}\n", file.display());
            let _ = out.send(Bytes::from(message)).await;
        }
    });
    let stream = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), pieces))
    });
    Ok((
        [(header::CONTENT_TYPE, "text/plain")],
        Body::from_stream(stream),
    )
        .into_response())
}

/// The run that is asked for: the newest that has begun, or the one before.
fn choose<'a>(
    pod: &Pod,
    observed: &'a PodObservation,
    container: &str,
    pod_name: &str,
    previous: bool,
) -> Result<&'a ContainerRecord, HttpError> {
    let begun: Vec<&ContainerRecord> = observed
        .runs(container)
        .filter(|run| run.phase != ContainerPhase::Created)
        .collect();
    if previous {
        // While a container waits for its next start, its last end is the one before.
        let is_waiting = pod
            .status
            .iter()
            .flat_map(|status| {
                status
                    .container_statuses
                    .iter()
                    .chain(&status.init_container_statuses)
                    .flatten()
            })
            .find(|status| status.name == container)
            .and_then(|status| status.state.as_ref())
            .is_some_and(|state| state.waiting.is_some());
        let index = usize::from(!is_waiting);
        return begun.get(index).copied().ok_or_else(|| {
            HttpError::bad_request(format!(
                "previous terminated container {container:?} in pod {pod_name:?} not found"
            ))
        });
    }
    begun.first().copied().ok_or_else(|| {
        let statuses = pod.status.iter().flat_map(|status| {
            status
                .container_statuses
                .iter()
                .chain(&status.init_container_statuses)
                .flatten()
        });
        let waiting = statuses
            .filter(|status| status.name == container)
            .find_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let reason = match waiting.as_deref() {
            Some("ErrImagePull") => "image can't be pulled".to_owned(),
            Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
            Some(reason) => reason.to_owned(),
            None => Initial::reason(pod).to_owned(),
        };
        HttpError::bad_request(format!(
            "container {container:?} in pod {pod_name:?} is waiting to start: {reason}"
        ))
    })
}

fn file(context: &Context, pod: &Pod, run: &ContainerRecord) -> PathBuf {
    if run.log_path.is_empty() {
        path(
            &log_directory(pod, &context.config),
            &run.name,
            run.restart_count,
        )
    } else {
        PathBuf::from(&run.log_path)
    }
}

struct Running {
    context: Arc<Context>,
    id: String,
}

#[async_trait::async_trait]
impl LogSource for Running {
    async fn is_open(&self) -> bool {
        let request = ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: false,
        };
        match self.context.cri.container_status(request).await {
            Ok(answer) => {
                let state = answer.status.map(|status| status.state);
                state == Some(k8s_cri::v1::ContainerState::ContainerRunning as i32)
            }
            // A runtime that is away has not ended the container.
            Err(error) => !error.is_not_found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(reason: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": if reason.is_empty() { json!({"running": {}}) } else { json!({"waiting": {"reason": reason}}) },
            }]},
        }))
        .expect("a pod")
    }

    fn observed(phases: &[ContainerPhase]) -> PodObservation {
        let runs = phases
            .iter()
            .enumerate()
            .map(|(index, phase)| ContainerRecord {
                id: index.to_string(),
                name: "c".into(),
                phase: *phase,
                ..ContainerRecord::default()
            });
        PodObservation {
            containers: runs.collect(),
            sandboxes: Vec::new(),
        }
    }

    #[test]
    fn the_run_that_is_asked_for_is_chosen() {
        use ContainerPhase::{Created, Exited, Running};
        for (reason, phases, previous, expected) in [
            ("", vec![Running], false, Ok("0")),
            ("", vec![Running, Exited], true, Ok("1")),
            ("", vec![Created, Exited], false, Ok("1")),
            ("CrashLoopBackOff", vec![Exited, Exited], true, Ok("0")),
            ("CrashLoopBackOff", vec![Exited], false, Ok("0")),
            (
                "",
                vec![Running],
                true,
                Err("previous terminated container \"c\" in pod \"p\" not found"),
            ),
            (
                "ImagePullBackOff",
                vec![],
                false,
                Err(
                    "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image",
                ),
            ),
            (
                "ContainerCreating",
                vec![],
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
            ),
        ] {
            let observed = observed(&phases);
            let found = choose(&pod(reason), &observed, "c", "p", previous);
            let found = found
                .map(|run| run.id.clone())
                .map_err(|error| error.message);
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{reason} {phases:?}");
        }
    }

    #[test]
    fn parameters_are_read_as_go_reads_them() {
        for (value, expected) in [
            (None, false),
            (Some(""), true),
            (Some("true"), true),
            (Some("1"), true),
            (Some("false"), false),
        ] {
            assert_eq!(flag(value), expected, "{value:?}");
        }
        let now = Timestamp::from_second(100).expect("in range");
        let query = LogQuery {
            since_seconds: Some(40),
            stream: Some("Stderr".into()),
            ..LogQuery::default()
        };
        let options = query.options(now).expect("valid");
        assert_eq!(options.since.map(Timestamp::as_second), Some(60));
        assert_eq!(options.stream.as_deref(), Some("stderr"));
        assert!(
            LogQuery {
                since_time: Some("noon".into()),
                ..LogQuery::default()
            }
            .options(now)
            .is_err()
        );
    }
}
