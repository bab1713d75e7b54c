//! The reading half of a session: frames in, to their streams.
//!
//! A stream whose reader is slow makes the whole connection wait, as every
//! peer of this protocol family does: the bound on memory is the connection's.

use super::frame::{FLAG_FIN, Frame, FrameError, Head, parse_control};
use super::header::{HeaderDecoder, Headers};
use super::session::Shared;
use super::stream::{Inbound, Stream};
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Data is handed on in pieces of at most this many bytes.
const CHUNK_BYTES_MAX: usize = 16 << 10;
const SETTINGS_INITIAL_WINDOW: u32 = 7;
const REFUSED_STREAM: u32 = 3;

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reads until the connection ends, then lets every stream know.
pub async fn run(
    io: impl AsyncRead + Unpin,
    shared: Arc<Shared>,
    accept: mpsc::Sender<Stream>,
    own_parity: u32,
) {
    let mut reader = Reader {
        io,
        shared: shared.clone(),
        accept,
        own_parity,
        decoder: HeaderDecoder::new(),
    };
    let reason = match reader.frames().await {
        Ok(()) => "the peer closed it".to_owned(),
        Err(error) => error.to_string(),
    };
    shared.lost.send_replace(Some(reason));
    shared.streams.lock().clear();
}

struct Reader<T> {
    io: T,
    shared: Arc<Shared>,
    accept: mpsc::Sender<Stream>,
    own_parity: u32,
    decoder: HeaderDecoder,
}

impl<T: AsyncRead + Unpin> Reader<T> {
    async fn frames(&mut self) -> Result<(), ReadError> {
        loop {
            let mut head = [0; Head::BYTES];
            match self.io.read_exact(&mut head).await {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read.map(drop)?,
            }
            match Head::parse(head)? {
                Head::Data { id, flags, length } => self.data(id, flags, length).await?,
                Head::Control {
                    kind,
                    flags,
                    length,
                } => {
                    let mut body = vec![0; length];
                    self.io.read_exact(&mut body).await?;
                    if let Some(frame) = parse_control(kind, flags, &body, &mut self.decoder)? {
                        self.control(frame).await;
                    }
                }
            }
        }
    }

    async fn data(&mut self, id: u32, flags: u8, mut length: usize) -> Result<(), ReadError> {
        while length > 0 {
            let size = length.min(CHUNK_BYTES_MAX);
            let mut chunk = BytesMut::zeroed(size);
            self.io.read_exact(&mut chunk).await?;
            length -= size;
            self.deliver(id, Inbound::Data(chunk.freeze())).await;
        }
        if flags & FLAG_FIN != 0 {
            self.finish(id).await;
        }
        Ok(())
    }

    async fn deliver(&mut self, id: u32, inbound: Inbound) {
        let sender = self
            .shared
            .streams
            .lock()
            .get(&id)
            .map(|stream| stream.inbound.clone());
        if let Some(sender) = sender {
            // An error means that nobody reads the stream any more.
            let _ = sender.send(inbound).await;
        }
    }

    async fn finish(&mut self, id: u32) {
        self.deliver(id, Inbound::Fin).await;
    }

    async fn control(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { id, headers, fin } => self.opened(id, headers, fin).await,
            Frame::SynReply { id, fin, .. } => {
                if let Some(stream) = self.shared.streams.lock().get(&id) {
                    stream.replied.send_replace(Some(Ok(())));
                }
                if fin {
                    self.finish(id).await;
                }
            }
            Frame::RstStream { id, status } => {
                let stream = self.shared.streams.lock().remove(&id);
                if let Some(stream) = stream {
                    stream.reset(status);
                    let _ = stream.inbound.send(Inbound::Reset(status)).await;
                }
            }
            Frame::Settings { entries } => self.settings(&entries),
            // An even number is the server's own ping coming back, for a client, and the other way round.
            Frame::Ping { id } if id % 2 != self.own_parity % 2 => {
                // A full queue means that there is life on the line anyway.
                let _ = self.shared.outbound.try_send(Frame::Ping { id });
            }
            Frame::WindowUpdate { id: 0, delta } => {
                self.keeps_windows();
                self.shared.window.grant(delta);
            }
            Frame::WindowUpdate { id, delta } => {
                self.keeps_windows();
                if let Some(stream) = self.shared.streams.lock().get(&id) {
                    stream.window.grant(delta);
                }
            }
            Frame::Headers { id, fin: true, .. } => self.finish(id).await,
            Frame::Ping { .. }
            | Frame::Headers { .. }
            | Frame::GoAway { .. }
            | Frame::Data { .. } => {}
        }
    }

    async fn opened(&mut self, id: u32, headers: Headers, fin: bool) {
        let outbound = self.shared.outbound.clone();
        let refuse = || {
            let _ = outbound.try_send(Frame::RstStream {
                id,
                status: REFUSED_STREAM,
            });
        };
        if id % 2 == self.own_parity % 2 {
            return refuse();
        }
        let Some(stream) = Stream::register(&self.shared, id, headers) else {
            return refuse();
        };
        if self.accept.try_send(stream).is_err() {
            self.shared.streams.lock().remove(&id);
            return refuse();
        }
        if fin {
            self.finish(id).await;
        }
    }

    fn keeps_windows(&self) {
        let known = &self.shared.peer_keeps_windows;
        known.store(true, Ordering::Relaxed);
    }

    fn settings(&self, entries: &[(u32, u32)]) {
        for (id, value) in entries {
            if *id == SETTINGS_INITIAL_WINDOW {
                self.keeps_windows();
                *self.shared.initial_window.lock() = Some(*value);
                for stream in self.shared.streams.lock().values() {
                    stream.window.limit(*value);
                }
            }
        }
    }
}
