//! SPDY/3.1 that a user packed into binary messages.

use super::BridgeError;
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const BUFFER_BYTES: usize = 16 << 10;
const FAREWELL: Duration = Duration::from_secs(5);

/// Carries the bytes inside a WebSocket's binary messages to `io` and back,
/// until either side ends.
///
/// # Errors
/// If either side failed, or the user sent text.
pub async fn tunnel_websocket<T>(websocket: WebSocket, io: T) -> Result<(), BridgeError>
where
    T: AsyncRead + AsyncWrite,
{
    let (mut sink, mut source) = websocket.split();
    let (mut read, mut write) = tokio::io::split(io);
    let there = async {
        while let Some(message) = source.next().await {
            match message? {
                Message::Binary(bytes) => write.write_all(&bytes).await?,
                Message::Close(_) => break,
                Message::Text(_) => {
                    return Err(BridgeError::Protocol("text in a tunnel of binary messages"));
                }
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        Ok(write.shutdown().await?)
    };
    let back = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let size = read.read(&mut buffer).await?;
            if size == 0 {
                return Ok(());
            }
            sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..size])))
                .await?;
        }
    };
    let outcome = tokio::select! {
        outcome = there => outcome,
        outcome = back => outcome,
    };
    let _ = tokio::time::timeout(FAREWELL, sink.close()).await;
    outcome
}
