//! `exec` and `attach`: channels of a WebSocket to streams of a SPDY session.

use super::channel::{ERROR, Inbound, RESIZE, STDERR, STDIN, STDOUT};
use super::{BridgeError, ChannelProtocol};
use crate::spdy::{Session, SessionError, Stream, StreamReader, StreamWriter};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Messages that wait for the user.
const MESSAGES_MAX: usize = 8;
/// The most that is read of a status, in bytes.
const STATUS_BYTES_MAX: usize = 64 << 10;
/// How long output may still come after the status.
const DRAIN: Duration = Duration::from_secs(30);
/// How long the closing handshake may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Which streams the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Input is wanted.
    pub stdin: bool,
    /// Output is wanted.
    pub stdout: bool,
    /// Error output is wanted; never together with a terminal.
    pub stderr: bool,
    /// There is a terminal, whose size may change.
    pub tty: bool,
}

/// The streams of one `exec` or `attach` towards the kubelet.
struct Streams {
    input: Input,
    stdout: Option<StreamReader>,
    stderr: Option<StreamReader>,
    error: StreamReader,
    /// The unused directions: letting go of them would reset their streams.
    _unused: Vec<StreamWriter>,
}

struct Input {
    stdin: Option<StreamWriter>,
    resize: Option<StreamWriter>,
}

/// Translates between a user's WebSocket and an upgraded SPDY/3.1 connection
/// to a kubelet (`v4.channel.k8s.io`), until the command ended or either side is gone.
///
/// # Errors
/// If a side failed before the command ended. The user has been told as far as
/// that was possible.
pub async fn bridge_websocket<T>(
    websocket: WebSocket,
    protocol: ChannelProtocol,
    io: T,
    options: BridgeOptions,
) -> Result<(), BridgeError>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (sink, source) = websocket.split();
    let (messages, queue) = mpsc::channel(MESSAGES_MAX);
    let session = Session::client(io);
    let work = async {
        let outcome = run(&session, protocol, options, source, &messages).await;
        drop(messages);
        outcome
    };
    let (outcome, written) = tokio::join!(work, write_messages(sink, queue));
    session.close().await;
    outcome.and(written)
}

async fn run(
    session: &Session,
    protocol: ChannelProtocol,
    options: BridgeOptions,
    source: SplitStream<WebSocket>,
    messages: &mpsc::Sender<Message>,
) -> Result<(), BridgeError> {
    let streams = match open_streams(session, options).await {
        Ok(streams) => streams,
        Err(error) => {
            let status = failure(protocol, &error.to_string());
            let _ = messages.send(protocol.encode(ERROR, &status)).await;
            return Err(error.into());
        }
    };
    let Streams {
        input,
        stdout,
        stderr,
        error,
        _unused,
    } = streams;
    tokio::select! {
        // The user left: nothing more can be told.
        left = read_messages(protocol, source, input) => left,
        () = write_output(protocol, stdout, stderr, error, messages) => Ok(()),
    }
}

async fn open_streams(session: &Session, options: BridgeOptions) -> Result<Streams, SessionError> {
    let open = async |kind: &str, wanted: bool| {
        if !wanted {
            return Ok(None);
        }
        session
            .open(vec![("streamtype".to_owned(), kind.to_owned())])
            .await
            .map(Some)
    };
    let error = open("error", true).await?.expect("it was wanted");
    let mut opened = [
        Some(error),
        open("stdin", options.stdin).await?,
        open("stdout", options.stdout).await?,
        open("stderr", options.stderr && !options.tty).await?,
        open("resize", options.tty).await?,
    ];
    for stream in opened.iter_mut().flatten() {
        stream.replied().await?;
    }
    let [error, stdin, stdout, stderr, resize] = opened.map(|stream| stream.map(Stream::split));
    let mut unused = Vec::new();
    let mut reader = |halves: Option<(StreamReader, StreamWriter)>| {
        let (reader, writer) = halves?;
        unused.push(writer);
        Some(reader)
    };
    let error = reader(error).expect("it was opened");
    let (stdout, stderr) = (reader(stdout), reader(stderr));
    let input = Input {
        stdin: stdin.map(|halves| halves.1),
        resize: resize.map(|halves| halves.1),
    };
    Ok(Streams {
        input,
        stdout,
        stderr,
        error,
        _unused: unused,
    })
}

/// From the user to the kubelet, until the user leaves.
async fn read_messages(
    protocol: ChannelProtocol,
    mut source: SplitStream<WebSocket>,
    mut input: Input,
) -> Result<(), BridgeError> {
    while let Some(message) = source.next().await {
        match protocol.decode(message?)? {
            Inbound::Data(STDIN, data) => feed(&mut input.stdin, data).await,
            Inbound::Data(RESIZE, data) => feed(&mut input.resize, data).await,
            Inbound::Close(STDIN) => {
                if let Some(stdin) = &mut input.stdin {
                    let _ = stdin.finish().await;
                }
            }
            Inbound::End => return Ok(()),
            Inbound::Data(..) | Inbound::Close(_) | Inbound::Nothing => {}
        }
    }
    Ok(())
}

/// Passes input on. A process that no longer reads its input is no error: its
/// output and exit code are still to come.
async fn feed(stream: &mut Option<StreamWriter>, data: Bytes) {
    if let Some(writer) = stream
        && writer.send(data).await.is_err()
    {
        // What follows is read and dropped. The stream itself stays registered
        // until the session ends, so that no reset overtakes the output.
        let _ = writer.finish().await;
    }
}

/// From the kubelet to the user, until the status has come and the output has ended.
async fn write_output(
    protocol: ChannelProtocol,
    stdout: Option<StreamReader>,
    stderr: Option<StreamReader>,
    mut error: StreamReader,
    messages: &mpsc::Sender<Message>,
) {
    let (ended, mut status_seen) = tokio::sync::oneshot::channel::<()>();
    let output = async {
        let both = async {
            tokio::join!(
                copy(protocol, STDOUT, stdout, messages),
                copy(protocol, STDERR, stderr, messages)
            )
        };
        tokio::pin!(both);
        tokio::select! {
            _ = &mut both => {}
            _ = &mut status_seen => {
                let _ = tokio::time::timeout(DRAIN, both).await;
            }
        }
    };
    let status = async {
        let status = error.read_all(STATUS_BYTES_MAX).await;
        let _ = ended.send(());
        status
    };
    let ((), status) = tokio::join!(output, status);
    let status = match status {
        Ok(bytes) => translate(protocol, bytes),
        Err(error) => failure(protocol, &error.to_string()),
    };
    if !status.is_empty() {
        let _ = messages.send(protocol.encode(ERROR, &status)).await;
    }
}

async fn copy(
    protocol: ChannelProtocol,
    channel: u8,
    stream: Option<StreamReader>,
    messages: &mpsc::Sender<Message>,
) {
    let Some(mut stream) = stream else { return };
    while let Ok(Some(data)) = stream.recv().await {
        if messages
            .send(protocol.encode(channel, &data))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The kubelet's status as the user's protocol wants it: since version 4 always
/// a `Status`, before that a text in case of failure.
fn translate(protocol: ChannelProtocol, status: Vec<u8>) -> Vec<u8> {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(&status).ok();
    let is_success = |status: &serde_json::Value| status["status"] == "Success";
    match (protocol.version >= 4, parsed) {
        (true, Some(_)) => status,
        (true, None) if status.is_empty() => br#"{"metadata":{},"status":"Success"}"#.to_vec(),
        (true, None) => failure(protocol, &String::from_utf8_lossy(&status)),
        (false, Some(parsed)) if is_success(&parsed) => Vec::new(),
        (false, Some(parsed)) => parsed["message"]
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec(),
        (false, None) => status,
    }
}

fn failure(protocol: ChannelProtocol, message: &str) -> Vec<u8> {
    if protocol.version < 4 {
        return message.as_bytes().to_vec();
    }
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "InternalError", "code": 500,
        "details": {"causes": [{"message": message}]},
    });
    status.to_string().into_bytes()
}

/// Writes messages until there are no more, then closes.
pub(super) async fn write_messages(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Message>,
) -> Result<(), BridgeError> {
    while let Some(message) = queue.recv().await {
        sink.send(message).await?;
    }
    let close = CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    };
    // A user that is already gone needs no farewell.
    let _ = tokio::time::timeout(FAREWELL, async {
        let _ = sink.send(Message::Close(Some(close))).await;
        let _ = sink.close().await;
    })
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_put_as_the_protocol_wants_it() {
        let (old, new) = (
            ChannelProtocol {
                version: 1,
                base64: false,
            },
            ChannelProtocol {
                version: 4,
                base64: false,
            },
        );
        let success = br#"{"metadata":{},"status":"Success"}"#.to_vec();
        let exit = br#"{"metadata":{},"status":"Failure","message":"exit 3"}"#.to_vec();
        assert_eq!(translate(new, success.clone()), success);
        assert_eq!(translate(new, Vec::new()), success);
        assert_eq!(translate(new, exit.clone()), exit);
        assert_eq!(translate(old, success), b"");
        assert_eq!(translate(old, exit), b"exit 3");
        let text = translate(new, b"broken".to_vec());
        let status: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(
            (&status["message"], &status["status"]),
            (&"broken".into(), &"Failure".into())
        );
    }
}
