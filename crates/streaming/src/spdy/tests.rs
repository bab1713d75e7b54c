//! Two sessions against each other over a pipe.

use super::frame::{self, Frame, Head};
use super::header::HeaderEncoder;
use super::*;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn pair() -> (Session, Session) {
    let (client, server) = tokio::io::duplex(1024);
    (Session::client(client), Session::server(server))
}

fn named(name: &str) -> Headers {
    vec![("streamtype".to_owned(), name.to_owned())]
}

#[tokio::test]
async fn a_stream_carries_both_directions_and_half_closes() {
    let (client, mut server) = pair();
    let mut stream = client.open(named("stdin")).await.expect("open");
    let accepted = server.accept().await.expect("a stream");
    assert_eq!(accepted.header("streamType"), Some("stdin"));
    stream.replied().await.expect("accepted");
    let (mut reader, mut writer) = stream.split();
    let (mut far_reader, mut far_writer) = accepted.split();
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let send = async {
        writer.send(Bytes::from(sent.clone())).await.expect("sent");
        writer.finish().await.expect("finished");
    };
    let ((), received) = tokio::join!(send, far_reader.read_all(usize::MAX));
    assert_eq!(received.expect("all of it"), sent);
    far_writer
        .send(Bytes::from_static(b"bye"))
        .await
        .expect("the other direction is open");
    far_writer.finish().await.expect("finished");
    assert_eq!(reader.read_all(100).await.expect("all of it"), b"bye");
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let (client, mut server) = pair();
    let echo = tokio::spawn(async move {
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let (mut reader, mut writer) = server.accept().await.expect("a stream").split();
            tasks.push(tokio::spawn(async move {
                while let Ok(Some(data)) = reader.recv().await {
                    writer.send(data).await.expect("sent");
                }
                writer.finish().await.expect("finished");
            }));
        }
        futures::future::join_all(tasks).await;
        server
    });
    let talk = async |number: u8| {
        let (mut reader, mut writer) = client.open(named("data")).await.expect("open").split();
        let sent = vec![number; 5_000];
        let send = async {
            writer.send(Bytes::from(sent.clone())).await.expect("sent");
            writer.finish().await.expect("finished");
        };
        let ((), received) = tokio::join!(send, reader.read_all(usize::MAX));
        assert_eq!(received.expect("all of it"), sent);
    };
    futures::future::join_all((0..20).map(talk)).await;
    echo.await.expect("no panic");
}

#[tokio::test]
async fn a_dropped_writer_resets_its_stream_and_a_lost_peer_ends_every_stream() {
    let (client, mut server) = pair();
    let first = client.open(named("a")).await.expect("open");
    let second = client.open(named("b")).await.expect("open");
    let (mut far_first, _w1) = server.accept().await.expect("a stream").split();
    let (mut far_second, _w2) = server.accept().await.expect("a stream").split();
    drop(first);
    assert!(matches!(
        far_first.recv().await,
        Err(SessionError::Reset(5))
    ));
    drop(client);
    assert!(matches!(
        far_second.recv().await,
        Err(SessionError::Lost(_))
    ));
    drop(second);
    assert!(server.accept().await.is_none());
}

#[tokio::test]
async fn a_peer_that_keeps_windows_is_not_sent_more_than_it_allows() {
    let (client, mut peer) = tokio::io::duplex(1 << 20);
    let session = Session::client(client);
    let mut bytes = BytesMut::new();
    let mut encoder = HeaderEncoder::new();
    frame::put(
        &mut bytes,
        &Frame::Settings {
            entries: vec![(7, 100)],
        },
        &mut encoder,
    )
    .expect("encodes");
    frame::put(&mut bytes, &Frame::Ping { id: 2 }, &mut encoder).expect("encodes");
    peer.write_all(&bytes).await.expect("open");
    // The answer to the ping tells that the settings have been read.
    assert!(matches!(
        next(&mut peer).await,
        (Head::Control { kind: 6, .. }, _)
    ));
    let (_reader, mut writer) = session.open(named("stdin")).await.expect("open").split();
    assert!(matches!(
        next(&mut peer).await,
        (Head::Control { kind: 1, .. }, _)
    ));
    let sending = tokio::spawn(async move {
        writer
            .send(Bytes::from(vec![7; 250]))
            .await
            .map(|()| writer)
    });
    assert_eq!(next(&mut peer).await.1.len(), 100);
    for expected in [100, 50] {
        let mut bytes = BytesMut::new();
        frame::put(
            &mut bytes,
            &Frame::WindowUpdate { id: 1, delta: 100 },
            &mut encoder,
        )
        .expect("encodes");
        peer.write_all(&bytes).await.expect("open");
        assert_eq!(next(&mut peer).await.1.len(), expected);
    }
    sending.await.expect("no panic").expect("sent");
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let (mut bytes, mut encoder) = (BytesMut::new(), HeaderEncoder::new());
    for frame in frames {
        frame::put(&mut bytes, frame, &mut encoder).expect("encodes");
    }
    bytes
}

/// A peer's answer to the first stream: `pieces` of data and the end.
fn output(pieces: usize) -> Vec<Frame> {
    let data = |fin: bool| Frame::Data {
        id: 1,
        data: Bytes::from(vec![7; frame::DATA_BYTES_MAX]),
        fin,
    };
    let mut frames = vec![Frame::SynReply {
        id: 1,
        headers: Headers::new(),
        fin: false,
    }];
    frames.extend((1..=pieces).map(|piece| data(piece == pieces)));
    frames
}

#[tokio::test]
async fn only_a_peer_that_keeps_windows_is_told_what_was_taken_in() {
    let settings = Frame::Settings {
        entries: vec![(7, 65_536)],
    };
    let update = Frame::WindowUpdate { id: 0, delta: 1 };
    for (shown, kinds) in [
        (None, &[1, 6][..]),
        (Some(settings), &[1, 9, 9, 6]),
        (Some(update), &[1, 9, 9, 6]),
    ] {
        let (client, mut peer) = tokio::io::duplex(1 << 20);
        let session = Session::client(client);
        let (mut reader, _writer) = session.open(named("stdout")).await.expect("open").split();
        let mut frames: Vec<Frame> = shown.clone().into_iter().collect();
        frames.extend(output(1));
        peer.write_all(&encoded(&frames)).await.expect("open");
        let all = reader.read_all(usize::MAX).await.expect("all of it");
        assert_eq!(all.len(), frame::DATA_BYTES_MAX);
        let ping = encoded(&[Frame::Ping { id: 2 }]);
        peer.write_all(&ping).await.expect("open");
        for expected in kinds {
            let head = next(&mut peer).await.0;
            assert!(
                matches!(head, Head::Control { kind, .. } if kind == *expected),
                "{head:?} after {shown:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_peer_sent_before_it_closed_is_read_though_nothing_can_be_written() {
    const PIECES: usize = 64;
    let bytes = encoded(&output(PIECES));
    let (client, mut peer) = tokio::io::duplex(bytes.len());
    let session = Session::client(client);
    let (mut reader, mut writer) = session.open(named("stdout")).await.expect("open").split();
    assert!(matches!(
        next(&mut peer).await,
        (Head::Control { kind: 1, .. }, _)
    ));
    peer.write_all(&bytes).await.expect("open");
    drop(peer);
    while writer.send(Bytes::from_static(b"more")).await.is_ok() {}
    let all = reader.read_all(usize::MAX).await.expect("all of it");
    assert_eq!(all.len(), PIECES * frame::DATA_BYTES_MAX);
    assert!(reader.recv().await.expect("a clean end").is_none());
}

async fn next(peer: &mut tokio::io::DuplexStream) -> (Head, Vec<u8>) {
    let mut head = [0; Head::BYTES];
    peer.read_exact(&mut head).await.expect("a frame");
    let head = Head::parse(head).expect("a valid frame");
    let (Head::Control { length, .. } | Head::Data { length, .. }) = head;
    let mut body = vec![0; length];
    peer.read_exact(&mut body).await.expect("its body");
    (head, body)
}

#[tokio::test]
async fn garbage_ends_the_session_with_a_reason() {
    let (client, mut peer) = tokio::io::duplex(1024);
    let session = Session::client(client);
    peer.write_all(&[0x80, 2, 0, 1, 0, 0, 0, 0])
        .await
        .expect("open");
    assert!(session.lost().await.to_string().contains("SPDY version 2"));
}
