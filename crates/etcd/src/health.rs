//! Health: the gRPC service, and the HTTP pages that etcd serves beside it.

use crate::pb::health::{self as pb, health_check_response::ServingStatus};
use crate::server::{Etcd, Responses, VERSION};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use kontiki_store::StoreStatus;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

/// How long a linearizable health check waits for the leader.
const PATIENCE: Duration = Duration::from_secs(5);

fn serving(status: &StoreStatus) -> ServingStatus {
    if status.leader_id != 0 && status.recovered {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn answer(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse {
        status: status.into(),
    }
}

#[async_trait]
impl pb::health_server::Health for Etcd {
    type WatchStream = Responses<pb::HealthCheckResponse>;

    async fn check(
        &self,
        _request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        Ok(Response::new(answer(serving(
            &self.store.status().borrow(),
        ))))
    }

    async fn watch(
        &self,
        _request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut status = self.store.status();
        let (answers, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let told = serving(&status.borrow_and_update());
                if answers.send(Ok(answer(told))).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = status.wait_for(|status| serving(status) != told) => if changed.is_err() { return },
                    () = answers.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// `/health`: whether reads are served, through the leader unless the query says `serializable=true`.
pub(crate) async fn health(
    State(etcd): State<Etcd>,
    Query(query): Query<HashMap<String, String>>,
) -> impl IntoResponse {
    let serializable = query
        .get("serializable")
        .is_some_and(|value| value == "true");
    let reason = if serializable {
        None
    } else {
        unready(&etcd).await
    };
    let code = if reason.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let reason = reason.unwrap_or_default().escape_default().to_string();
    let healthy = code == StatusCode::OK;
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        format!(r#"{{"health":"{healthy}","reason":"{reason}"}}"#),
    )
}

/// Why reads are not served through the leader.
async fn unready(etcd: &Etcd) -> Option<String> {
    match tokio::time::timeout(PATIENCE, etcd.store.read_barrier()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the leader did not answer in time".to_owned()),
    }
}

/// `/readyz`: whether reads are served through the leader.
pub(crate) async fn ready(State(etcd): State<Etcd>) -> impl IntoResponse {
    match unready(&etcd).await {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("[-]linearizable_read failed: {reason}\n"),
        ),
    }
}

/// `/livez`: whether the process answers at all.
pub(crate) async fn live() -> impl IntoResponse {
    (StatusCode::OK, "ok\n")
}

/// `/version`
pub(crate) async fn version() -> impl IntoResponse {
    let body = format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{VERSION}"}}"#);
    ([(header::CONTENT_TYPE, "application/json")], body)
}
