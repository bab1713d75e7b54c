//! Events to many watchers while objects are made at a steady rate.

use super::verbs::config_map;
use super::wire::{Ask, Connection};
use super::{Row, Server};
use crate::measured::Interval;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WRITERS: usize = 8;
/// Objects a second.
const RATE: u32 = 1000;

/// `watchers` see `objects` objects come into being.
pub async fn measure(
    server: &Server,
    namespace: &'static str,
    watchers: usize,
    objects: usize,
) -> Result<Row> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let mut streams = Vec::new();
    for mut connection in Connection::for_each_of(&server.config, watchers).await? {
        let ask = Ask::get(format!("{path}?watch=1&labelSelector=bench%3Dapi"));
        // Held, or the connection would end with its last sender.
        streams.push((connection.send(&ask).await?, connection));
    }
    let measuring = Interval::start(server)?;
    let mut readers = JoinSet::new();
    for (stream, connection) in streams {
        readers.spawn(async move {
            let _connection = connection;
            read(stream, objects).await
        });
    }
    write(server, namespace, watchers, objects).await?;
    while let Some(ended) = readers.join_next().await {
        ended??;
    }
    let name = format!("events to {watchers} watchers, {RATE} objects/s");
    let measured = measuring.end(u64::try_from(watchers * objects)?, &[])?;
    Ok(Row { name, measured })
}

/// Reads until so many events have come: each is a line.
async fn read(mut stream: Incoming, events: usize) -> Result<()> {
    let mut seen = 0;
    while seen < events {
        let frame = stream.frame().await.context("the watch ended")??;
        let lines = |data: &Bytes| data.iter().filter(|byte| **byte == b'\n').count();
        seen += frame.data_ref().map_or(0, lines);
    }
    Ok(())
}

async fn write(
    server: &Server,
    namespace: &'static str,
    watchers: usize,
    objects: usize,
) -> Result<()> {
    let started = Instant::now();
    let mut writers = JoinSet::new();
    let connections = Connection::for_each_of(&server.config, WRITERS).await?;
    for (writer, mut connection) in connections.into_iter().enumerate() {
        writers.spawn(async move {
            for number in (writer..objects).step_by(WRITERS) {
                let due = Duration::from_secs(1) * u32::try_from(number)? / RATE;
                tokio::time::sleep_until((started + due).into()).await;
                let path = format!("/api/v1/namespaces/{namespace}/configmaps");
                let name = format!("w-{watchers}-{number:06}");
                let body = config_map(&name, "watched", number);
                let ask = Ask::with(Method::POST, path, "application/json", body);
                connection.call(&ask).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}
