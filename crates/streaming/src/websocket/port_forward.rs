//! `port-forward` over channels: for each port one channel of data and one of errors.

use super::bridge::write_messages;
use super::channel::Inbound;
use super::{BridgeError, ChannelProtocol};
use crate::spdy::{Session, StreamReader, StreamWriter};
use axum::extract::ws::{Message, WebSocket};
use futures::StreamExt;
use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

const MESSAGES_MAX: usize = 8;
/// Ports in one request: channels are one byte, two to a port.
const PORTS_MAX: usize = 100;

/// Translates between a user's channels (2n data, 2n+1 errors of the n-th port)
/// and an upgraded SPDY/3.1 connection to a kubelet (`portforward.k8s.io`).
///
/// # Errors
/// If either side failed, or there are too many ports.
pub async fn bridge_port_forward<T>(
    websocket: WebSocket,
    protocol: ChannelProtocol,
    io: T,
    ports: &[u16],
) -> Result<(), BridgeError>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    if ports.len() > PORTS_MAX {
        return Err(BridgeError::Protocol("a request for more than 100 ports"));
    }
    let session = Session::client(io);
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    let mut unused = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let channel = u8::try_from(index * 2).expect("the ports are few");
        let ((error, error_writer), (data, data_writer)) =
            open_port(&session, index, *port).await?;
        writers.push(data_writer);
        readers.extend([(channel, *port, data), (channel + 1, *port, error)]);
        unused.push(error_writer);
    }
    let (sink, mut source) = websocket.split();
    let (messages, queue) = mpsc::channel(MESSAGES_MAX);
    let there = async {
        while let Some(message) = source.next().await {
            match protocol.decode(message?)? {
                Inbound::Data(channel, data) if channel % 2 == 0 => {
                    if let Some(writer) = writers.get_mut(usize::from(channel / 2)) {
                        writer.send(data).await?;
                    }
                }
                Inbound::End => break,
                _ => {}
            }
        }
        Ok(())
    };
    let back =
        join_all(readers.into_iter().map(|(channel, port, reader)| {
            copy(protocol, channel, port, reader, messages.clone())
        }));
    let work = async {
        let outcome = tokio::select! {
            outcome = there => outcome,
            _ = back => Ok(()),
        };
        drop(messages);
        outcome
    };
    let (outcome, written) = tokio::join!(work, write_messages(sink, queue));
    session.close().await;
    outcome.and(written)
}

type Halves = (StreamReader, StreamWriter);

async fn open_port(
    session: &Session,
    request: usize,
    port: u16,
) -> Result<(Halves, Halves), BridgeError> {
    let headers = |kind: &str| {
        vec![
            ("streamtype".to_owned(), kind.to_owned()),
            ("port".to_owned(), port.to_string()),
            ("requestid".to_owned(), request.to_string()),
        ]
    };
    let mut error = session.open(headers("error")).await?;
    error.replied().await?;
    let mut data = session.open(headers("data")).await?;
    data.replied().await?;
    Ok((error.split(), data.split()))
}

/// Every channel starts with its port, in two bytes, the lower first.
async fn copy(
    protocol: ChannelProtocol,
    channel: u8,
    port: u16,
    mut reader: StreamReader,
    messages: mpsc::Sender<Message>,
) {
    if messages
        .send(protocol.encode(channel, &port.to_le_bytes()))
        .await
        .is_err()
    {
        return;
    }
    while let Ok(Some(data)) = reader.recv().await {
        if messages
            .send(protocol.encode(channel, &data))
            .await
            .is_err()
        {
            return;
        }
    }
}
