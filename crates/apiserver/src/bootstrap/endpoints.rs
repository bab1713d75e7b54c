//! The endpoints of the `kubernetes` service: the servers that live.
//!
//! Each server keeps a record of its own under a lease, as upstream's lease
//! reconciler does; the record of a dead server ends with its lease, and
//! whoever lives takes it out of the endpoints.

use super::resource;
use crate::error;
use crate::server::ApiServer;
use kontiki_client::Client;
use kontiki_object::{Status, Value};
use kontiki_store::{KeyRange, LeaseId, Op, PutRequest, RangeRequest, TxnRequest};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "/registry/masterleases/";
const LEASE_SECONDS: i64 = 15;
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the record and the endpoints until `cancel`; then takes the record away.
pub(super) async fn keep(server: &ApiServer, client: &Client, cancel: CancellationToken) {
    let mut lease = 0;
    loop {
        match step(server, client, lease).await {
            Ok(held) => lease = held,
            Err(status) => {
                lease = 0;
                tracing::warn!(%status, "the endpoints of the kubernetes service could not be kept");
            }
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    if lease != 0 {
        let _ = server.inner().config.store.lease_revoke(lease).await;
        if let Ok(addresses) = living(server).await {
            let _ = publish(server, client, &addresses).await;
        }
    }
}

async fn step(server: &ApiServer, client: &Client, lease: LeaseId) -> Result<LeaseId, Status> {
    let lease = hold(server, lease).await?;
    let addresses = living(server).await?;
    publish(server, client, &addresses).await?;
    Ok(lease)
}

/// Prolongs the record's lease, or makes both anew.
async fn hold(server: &ApiServer, lease: LeaseId) -> Result<LeaseId, Status> {
    let config = &server.inner().config;
    let store = &config.store;
    let failed = |error| error::from_store(&error);
    if lease != 0
        && store
            .lease_keep_alive(lease)
            .await
            .map_err(failed)?
            .ttl_seconds
            > 0
    {
        return Ok(lease);
    }
    let lease = store
        .lease_grant(0, LEASE_SECONDS)
        .await
        .map_err(failed)?
        .id;
    let address = config.advertise_address.ip().to_string();
    let record = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {},
        "subsets": [{"addresses": [{"ip": address}]}],
    });
    let put = Op::Put(PutRequest {
        key: format!("{PREFIX}{address}").into(),
        value: record.to_string().into(),
        lease,
        ..PutRequest::default()
    });
    let txn = TxnRequest {
        success: vec![put],
        ..TxnRequest::default()
    };
    store.txn(txn).await.map_err(failed)?;
    Ok(lease)
}

async fn living(server: &ApiServer) -> Result<Vec<IpAddr>, Status> {
    let request = RangeRequest {
        range: KeyRange::prefix(PREFIX),
        keys_only: true,
        serializable: true,
        ..RangeRequest::default()
    };
    let answer = server.inner().config.store.range(request).await;
    let answer = answer.map_err(|error| error::from_store(&error))?;
    let names = answer.kvs.iter().filter_map(|kv| {
        let key = std::str::from_utf8(&kv.key).ok()?;
        key.strip_prefix(PREFIX)?.parse().ok()
    });
    Ok(names.collect())
}

async fn publish(server: &ApiServer, client: &Client, addresses: &[IpAddr]) -> Result<(), Status> {
    let port = server.inner().config.advertise_address.port();
    let ips: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": addresses,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    write(client, ("", "v1", "endpoints"), endpoints, "subsets").await?;
    let is_v6 = ips.first().is_some_and(|ip| ip.contains(':'));
    let entries: Vec<Value> = ips
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if is_v6 { "IPv6" } else { "IPv4" },
        "endpoints": entries,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    write(
        client,
        ("discovery.k8s.io", "v1", "endpointslices"),
        slice,
        "endpoints",
    )
    .await
}

/// Creates the object, or updates it if `field` is not as it shall be.
async fn write(
    client: &Client,
    (group, version, name): (&'static str, &'static str, &'static str),
    object: Value,
    field: &str,
) -> Result<(), Status> {
    let scoped = client.namespaced(&resource(group, version, name), "default");
    let outcome = match scoped.get_opt("kubernetes").await? {
        None => scoped.create(object).await,
        Some(present) if present.get(&[field]) == Some(&object[field]) => return Ok(()),
        Some(present) => {
            let mut changed = present.to_value();
            changed[field] = object[field].clone();
            scoped.update("kubernetes", changed).await
        }
    };
    match outcome {
        Err(status) if !status.is_conflict() && !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}
