//! The kubelet's HTTP API, with upstream's paths: what the API server asks for
//! `logs`, `exec`, `attach`, `port-forward` and metrics.
//!
//! **Invariant:** the router does not know who asks. Whoever serves it (the
//! tunnels of NodeLink, a TLS listener) lets only the API server in.

mod logs;
mod stream;

use crate::context::Context;
use crate::cri::{ContainerRecord, PodObservation, observation};
use crate::stats;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    message: String,
}

impl HttpError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<crate::cri::CriError> for HttpError {
    fn from(error: crate::cri::CriError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        (self.status, self.message + "\n").into_response()
    }
}

type Shared = State<Arc<Context>>;

/// The router over a kubelet's context.
pub fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/runningpods/", get(running_pods))
        .route("/metrics", get(metrics))
        .route("/stats/summary", get(summary))
        .route(
            "/containerLogs/{namespace}/{pod}/{container}",
            get(logs::container_logs),
        )
        .route("/exec/{namespace}/{pod}/{container}", any(stream::exec))
        .route(
            "/exec/{namespace}/{pod}/{uid}/{container}",
            any(stream::exec_uid),
        )
        .route("/attach/{namespace}/{pod}/{container}", any(stream::attach))
        .route(
            "/attach/{namespace}/{pod}/{uid}/{container}",
            any(stream::attach_uid),
        )
        .route("/portForward/{namespace}/{pod}", any(stream::port_forward))
        .route(
            "/portForward/{namespace}/{pod}/{uid}",
            any(stream::port_forward_uid),
        )
        .with_state(context)
}

/// A pod of this node and what runs of it.
async fn look_up(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<(Arc<Pod>, PodObservation), HttpError> {
    let missing = || {
        HttpError::not_found(format!(
            "pod {name:?} in namespace {namespace:?} not found on this node"
        ))
    };
    let object = context
        .view
        .pods
        .get_named(namespace, name)
        .ok_or_else(missing)?;
    let pod = object
        .typed::<Pod>()
        .map_err(|error| HttpError::bad_request(error.to_string()))?;
    let observed = observation(&context.cri, object.uid(), &PodObservation::default()).await?;
    Ok((pod, observed))
}

/// The newest run of a container, which must be running.
fn running<'a>(
    observed: &'a PodObservation,
    container: &str,
) -> Result<&'a ContainerRecord, HttpError> {
    let run = observed
        .latest(container)
        .filter(|run| run.phase == crate::cri::ContainerPhase::Running);
    run.ok_or_else(|| HttpError::not_found(format!("container not found (\"{container}\")")))
}

async fn pods(State(context): Shared) -> Json<Value> {
    let items: Vec<Value> = context
        .view
        .pods
        .list()
        .iter()
        .map(|pod| pod.to_value())
        .collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

async fn running_pods(State(context): Shared) -> Result<Json<Value>, HttpError> {
    let (sandboxes, containers) = context.cri.list(std::collections::HashMap::new()).await?;
    let ready = sandboxes.into_iter().filter(|sandbox| sandbox.state == 0);
    let items: Vec<Value> = ready
        .filter_map(|sandbox| {
            let metadata = sandbox.metadata?;
            let own = containers.iter().filter(|run| run.pod_sandbox_id == sandbox.id && run.state == 1);
            let own: Vec<Value> = own
                .map(|run| {
                    let name = run.metadata.as_ref().map(|metadata| metadata.name.clone());
                    json!({"name": name, "image": run.image_ref, "resources": {}})
                })
                .collect();
            let metadata = json!({"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid});
            Some(json!({"metadata": metadata, "spec": {"containers": own}, "status": {}}))
        })
        .collect();
    Ok(Json(
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}),
    ))
}

async fn summary(State(context): Shared) -> Result<Json<Value>, HttpError> {
    Ok(Json(stats::summary(&context).await?))
}

async fn metrics(State(context): Shared) -> Result<Response, HttpError> {
    let text = stats::metrics(&context).await?;
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response())
}
