//! Lists of many objects, one after the other.

use super::wire::{Ask, Connection};
use super::{Row, Server};
use crate::measured::Interval;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Instant;

const REPEATED: usize = 5;
const PAGE: usize = 500;
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// How a list is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// JSON, all at once.
    Json,
    /// Protobuf, all at once.
    Protobuf,
    /// As `kubectl get` shows it.
    Table,
    /// JSON in pages of 500.
    Paged,
    /// A tenth of them, by a label.
    Label,
}

/// All of them.
pub const ALL: [Manner; 5] = [
    Manner::Json,
    Manner::Protobuf,
    Manner::Table,
    Manner::Paged,
    Manner::Label,
];

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Protobuf => "protobuf",
            Self::Table => "Table",
            Self::Paged => "JSON, pages of 500",
            Self::Label => "JSON, a tenth by label",
        }
    }
}

/// Lists the namespace some times in that manner.
pub async fn measure(
    server: &Server,
    namespace: &str,
    objects: usize,
    manner: Manner,
) -> Result<Row> {
    let mut connection = Connection::open(&server.config).await?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let mut bytes = 0;
    // Once before: what is made when first asked for is not what is measured.
    list(&mut connection, &path, manner).await?;
    let measuring = Interval::start(server)?;
    let mut latencies = Vec::new();
    for _ in 0..REPEATED {
        let started = Instant::now();
        bytes = list(&mut connection, &path, manner).await?;
        latencies.push(started.elapsed());
    }
    let name = format!(
        "list of {objects} as {} ({:.1} MB)",
        manner.name(),
        megabytes(bytes)
    );
    let measured = measuring.end(u64::try_from(REPEATED)?, &latencies)?;
    Ok(Row { name, measured })
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

async fn list(connection: &mut Connection, path: &str, manner: Manner) -> Result<usize> {
    let mut ask = Ask::get(path.to_owned());
    match manner {
        Manner::Json => {}
        Manner::Protobuf => ask.accept = PROTOBUF,
        Manner::Table => ask.accept = TABLE,
        Manner::Label => ask.path += "?labelSelector=tenth%3D3",
        Manner::Paged => return pages(connection, path).await,
    }
    connection.call(&ask).await
}

async fn pages(connection: &mut Connection, path: &str) -> Result<usize> {
    let (mut bytes, mut token) = (0, String::new());
    loop {
        let query = format!("{path}?limit={PAGE}&continue={token}");
        let page = connection.fetch(&Ask::get(query)).await?;
        bytes += page.len();
        token = continue_token(&page)?;
        if token.is_empty() {
            return Ok(bytes);
        }
    }
}

/// The token of the next page. It stands in the metadata, before the items: the
/// page itself is not parsed, which would cost more than the server's part.
fn continue_token(page: &[u8]) -> Result<String> {
    let head = &page[..page.len().min(4096)];
    let head = String::from_utf8_lossy(head);
    let start = head
        .find("\"metadata\":")
        .context("a list without metadata")?;
    let mut values = serde_json::Deserializer::from_str(&head[start + 11..]).into_iter::<Value>();
    let metadata = values.next().context("a list without metadata")??;
    Ok(metadata["continue"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_without_reading_the_items() {
        let page = br#"{"kind":"ConfigMapList","metadata":{"resourceVersion":"7","continue":"abc"},"items":[{"#;
        assert_eq!(continue_token(page).expect("a token"), "abc");
        let last = br#"{"kind":"ConfigMapList","metadata":{"resourceVersion":"7"},"items":[]}"#;
        assert_eq!(continue_token(last).expect("no token"), "");
        assert!(continue_token(b"{}").is_err());
    }
}
