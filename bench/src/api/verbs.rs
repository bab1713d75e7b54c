//! Verbs on ConfigMaps of 1 KiB, in closed loops: each worker takes its share of the
//! objects one after the other.

use super::wire::{Ask, Connection};
use super::{Row, Server};
use crate::measured::Interval;
use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use std::time::Instant;
use tokio::task::JoinSet;

const PAYLOAD_BYTES: usize = 1024;
const MERGE_PATCH: &str = "application/merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

/// What is done to each object, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// POST.
    Create,
    /// GET.
    Get,
    /// PUT.
    Update,
    /// A merge patch.
    Patch,
    /// Server-side apply.
    Apply,
    /// DELETE.
    Delete,
}

/// All of them.
pub const ALL: [Verb; 6] = [
    Verb::Create,
    Verb::Get,
    Verb::Update,
    Verb::Patch,
    Verb::Apply,
    Verb::Delete,
];

/// Whether some verb's name contains this.
pub fn is_any_named(part: &str) -> bool {
    ALL.iter().any(|verb| verb.name().contains(part))
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::Update => "update",
            Self::Patch => "merge patch",
            Self::Apply => "apply",
            Self::Delete => "delete",
        }
    }

    fn ask(self, namespace: &str, name: &str, number: usize) -> Ask {
        let all = format!("/api/v1/namespaces/{namespace}/configmaps");
        let one = format!("{all}/{name}");
        match self {
            Self::Create => Ask::with(Method::POST, all, JSON, config_map(name, "created", number)),
            Self::Get => Ask::get(one),
            Self::Update => Ask::with(Method::PUT, one, JSON, config_map(name, "updated", number)),
            Self::Patch => {
                let patch = json!({"data": {"patched": number.to_string()}});
                Ask::with(Method::PATCH, one, MERGE_PATCH, patch.to_string())
            }
            Self::Apply => {
                let path = format!("{one}?fieldManager=bench&force=true");
                let applied = config_map(name, "applied", number);
                Ask::with(Method::PATCH, path, APPLY_PATCH, applied)
            }
            Self::Delete => Ask {
                method: Method::DELETE,
                ..Ask::get(one)
            },
        }
    }
}

/// A ConfigMap as a client sends it.
pub fn config_map(name: &str, word: &str, number: usize) -> String {
    let filler = "x".repeat(PAYLOAD_BYTES.saturating_sub(word.len() + 8));
    let object: Value = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"bench": "api", "tenth": (number % 10).to_string()}},
        "data": {"payload": format!("{word}{number:08}{filler}")},
    });
    object.to_string()
}

/// Does a verb to `objects` objects with so many workers.
pub async fn measure(
    server: &Server,
    namespace: &'static str,
    verb: Verb,
    workers: usize,
    objects: usize,
) -> Result<Row> {
    let connections = Connection::for_each_of(&server.config, workers).await?;
    let measuring = Interval::start(server)?;
    let mut tasks = JoinSet::new();
    for (worker, mut connection) in connections.into_iter().enumerate() {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for number in (worker..objects).step_by(workers) {
                let ask = verb.ask(namespace, &format!("o-{number:06}"), number);
                let started = Instant::now();
                connection.call(&ask).await?;
                latencies.push(started.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let plural = if workers == 1 { "" } else { "s" };
    let name = format!("{}, {workers} client{plural}", verb.name());
    let measured = measuring.end(u64::try_from(latencies.len())?, &latencies)?;
    Ok(Row { name, measured })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_holds_a_kibibyte() {
        let text = config_map("o-1", "created", 1);
        let object: Value = serde_json::from_str(&text).expect("JSON");
        let payload = object["data"]["payload"].as_str().expect("text");
        assert_eq!(
            payload.len(),
            1024 - "created".len() - 8 + "created".len() + 8
        );
    }

    #[test]
    fn each_verb_asks_for_the_object_it_is_about() {
        for verb in ALL {
            let ask = verb.ask("default", "o-1", 1);
            let named =
                ask.path.contains("/o-1") || String::from_utf8_lossy(&ask.body).contains("o-1");
            assert!(named, "{ask:?}");
        }
    }
}
