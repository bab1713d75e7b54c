//! A user on a real WebSocket, a kubelet on a SPDY session.

use super::*;
use crate::spdy::{Session, Stream};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

type User =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Serves one WebSocket with `handle` and connects a user to it.
async fn connect<F>(
    protocol: &'static str,
    handle: impl Fn(axum::extract::ws::WebSocket) -> F + Clone + Send + Sync + 'static,
) -> User
where
    F: Future<Output = ()> + Send + 'static,
{
    let app = Router::new().route(
        "/",
        get(move |upgrade: WebSocketUpgrade| async move {
            upgrade.protocols([protocol]).on_upgrade(handle)
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut request = format!("ws://{address}/")
        .into_client_request()
        .expect("valid");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol.parse().expect("valid"));
    tokio_tungstenite::connect_async(request)
        .await
        .expect("connects")
        .0
}

/// A user whose `exec` ends at the returned SPDY server.
async fn exec(protocol: &'static str, options: BridgeOptions) -> (User, Session) {
    let (near, far) = tokio::io::duplex(4096);
    let near = Arc::new(parking_lot::Mutex::new(Some(near)));
    let user = connect(protocol, move |websocket| {
        let io: DuplexStream = near.lock().take().expect("one connection");
        async move {
            let protocol = ChannelProtocol::named(Some(protocol)).expect("known");
            let _ = bridge_websocket(websocket, protocol, io, options).await;
        }
    })
    .await;
    (user, Session::server(far))
}

async fn accept(session: &mut Session, count: usize) -> HashMap<String, Stream> {
    let mut streams = HashMap::new();
    for _ in 0..count {
        let stream = session.accept().await.expect("a stream");
        streams.insert(
            stream.header("streamtype").expect("named").to_owned(),
            stream,
        );
    }
    streams
}

#[tokio::test]
async fn a_command_gets_its_input_and_its_output_and_status_reach_the_user() {
    let options = BridgeOptions {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let (mut user, mut kubelet) = exec("v5.channel.k8s.io", options).await;
    let mut streams = accept(&mut kubelet, 4).await;
    user.send(Message::Binary(Bytes::from_static(b"\x00hello")))
        .await
        .expect("sent");
    user.send(Message::Binary(Bytes::from_static(b"\xff\x00")))
        .await
        .expect("sent");
    let (mut stdin, _stdin_writer) = streams.remove("stdin").expect("asked for").split();
    assert_eq!(stdin.read_all(100).await.expect("half-closed"), b"hello");
    for (name, text) in [
        ("stdout", "out"),
        ("stderr", "err"),
        ("error", r#"{"status":"Success"}"#),
    ] {
        let (_reader, mut writer) = streams.remove(name).expect("asked for").split();
        writer.send(Bytes::from(text)).await.expect("sent");
        writer.finish().await.expect("sent");
    }
    let mut seen = Vec::new();
    while let Some(Ok(message)) = user.next().await {
        match message {
            Message::Binary(bytes) => seen.push(String::from_utf8_lossy(&bytes).into_owned()),
            other => assert!(other.is_close(), "{other:?}"),
        }
    }
    assert_eq!(
        seen.pop().as_deref(),
        Some("\u{3}{\"status\":\"Success\"}"),
        "the status comes last"
    );
    seen.sort();
    assert_eq!(seen, ["\u{1}out", "\u{2}err"]);
}

#[tokio::test]
async fn a_terminal_has_a_resize_stream_and_no_stderr() {
    let options = BridgeOptions {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: true,
    };
    let (mut user, mut kubelet) = exec("v4.base64.channel.k8s.io", options).await;
    let mut streams = accept(&mut kubelet, 4).await;
    assert!(!streams.contains_key("stderr"));
    user.send(Message::Text("4e30=".into()))
        .await
        .expect("sent");
    let (mut resize, _writer) = streams.remove("resize").expect("a terminal").split();
    assert_eq!(
        resize.recv().await.expect("open").as_deref(),
        Some(&b"{}"[..])
    );
}

#[tokio::test]
async fn a_user_that_leaves_ends_the_connection_to_the_kubelet() {
    let options = BridgeOptions {
        stdout: true,
        ..BridgeOptions::default()
    };
    let (user, mut kubelet) = exec("v4.channel.k8s.io", options).await;
    let mut streams = accept(&mut kubelet, 2).await;
    drop(user);
    let (mut stdout, _writer) = streams.remove("stdout").expect("asked for").split();
    assert!(stdout.recv().await.is_err());
    assert!(kubelet.accept().await.is_none());
}

#[tokio::test]
async fn a_kubelet_that_dies_is_told_as_a_failure() {
    let options = BridgeOptions {
        stdout: true,
        ..BridgeOptions::default()
    };
    let (mut user, mut kubelet) = exec("v4.channel.k8s.io", options).await;
    let streams = accept(&mut kubelet, 2).await;
    drop(kubelet);
    drop(streams);
    let Some(Ok(Message::Binary(bytes))) = user.next().await else {
        panic!("a message")
    };
    assert_eq!(bytes[0], 3);
    let status: serde_json::Value = serde_json::from_slice(&bytes[1..]).expect("a Status");
    assert_eq!(status["status"], "Failure");
}

#[tokio::test]
async fn a_tunnel_carries_the_bytes_of_binary_messages() {
    let (near, far) = tokio::io::duplex(64);
    let near = Arc::new(parking_lot::Mutex::new(Some(near)));
    let mut user = connect(TUNNEL_PROTOCOL, move |websocket| {
        let io = near.lock().take().expect("one connection");
        async move { drop(tunnel_websocket(websocket, io).await) }
    })
    .await;
    let (mut read, mut write) = tokio::io::split(far);
    user.send(Message::Binary(Bytes::from_static(b"ping")))
        .await
        .expect("sent");
    let mut word = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut word)
        .await
        .expect("open");
    assert_eq!(&word, b"ping");
    tokio::io::AsyncWriteExt::write_all(&mut write, b"pong")
        .await
        .expect("open");
    let answer = user.next().await.expect("open").expect("a message");
    assert_eq!(answer.into_data(), &b"pong"[..]);
    drop((read, write));
    let rest = user.next().await;
    assert!(
        matches!(
            rest,
            None | Some(Ok(Message::Close(_)) | Err(Error::Protocol(_)))
        ),
        "{rest:?}"
    );
}

#[tokio::test]
async fn port_forward_over_channels_names_each_port_first() {
    let (near, far) = tokio::io::duplex(4096);
    let near = Arc::new(parking_lot::Mutex::new(Some(near)));
    let mut user = connect("v4.channel.k8s.io", move |websocket| {
        let io = near.lock().take().expect("one connection");
        let protocol = ChannelProtocol::named(Some("v4.channel.k8s.io")).expect("known");
        async move { drop(bridge_port_forward(websocket, protocol, io, &[8080]).await) }
    })
    .await;
    let mut kubelet = Session::server(far);
    let mut streams = accept(&mut kubelet, 2).await;
    let (mut reader, mut writer) = streams.remove("data").expect("opened").split();
    user.send(Message::Binary(Bytes::from_static(b"\x00GET")))
        .await
        .expect("sent");
    assert_eq!(
        reader.recv().await.expect("open").as_deref(),
        Some(&b"GET"[..])
    );
    writer.send(Bytes::from_static(b"200")).await.expect("sent");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(
            user.next()
                .await
                .expect("open")
                .expect("a message")
                .into_data(),
        );
    }
    seen.sort();
    assert_eq!(seen, [&b"\x00200"[..], b"\x00\x90\x1f", b"\x01\x90\x1f"]);
}

/// A runtime on a TCP connection that says everything and closes at once, as
/// runtimes do when a command has ended.
async fn hasty_runtime(output: Bytes) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.expect("a connection");
        let mut session = Session::server(io);
        let mut streams = accept(&mut session, 2).await;
        for (name, data) in [
            ("stdout", output),
            ("error", Bytes::from_static(br#"{"status":"Success"}"#)),
        ] {
            let (_reader, mut writer) = streams.remove(name).expect("asked for").split();
            writer.send(data).await.expect("sent");
            writer.finish().await.expect("sent");
        }
        session.close().await;
    });
    address
}

#[tokio::test]
async fn all_output_of_a_runtime_that_closes_at_once_reaches_the_user() {
    let output = Bytes::from(
        (0..1 << 20)
            .map(|i: u32| (i % 251) as u8)
            .collect::<Vec<_>>(),
    );
    let address = hasty_runtime(output.clone()).await;
    let mut user = connect("v5.channel.k8s.io", move |websocket| async move {
        let runtime = tokio::net::TcpStream::connect(address).await;
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(crate::splice(far, runtime.expect("listens")));
        let protocol = ChannelProtocol::named(Some("v5.channel.k8s.io")).expect("known");
        let options = BridgeOptions {
            stdout: true,
            ..BridgeOptions::default()
        };
        let _ = bridge_websocket(websocket, protocol, near, options).await;
    })
    .await;
    let (mut seen, mut status) = (Vec::new(), Vec::new());
    while let Some(Ok(Message::Binary(bytes))) = user.next().await {
        let channel = if bytes[0] == 1 {
            &mut seen
        } else {
            &mut status
        };
        channel.extend_from_slice(&bytes[1..]);
    }
    assert_eq!(
        String::from_utf8_lossy(&status),
        r#"{"status":"Success"}"#,
        "after {} bytes",
        seen.len()
    );
    assert!(output == seen, "{} bytes of output", seen.len());
}
