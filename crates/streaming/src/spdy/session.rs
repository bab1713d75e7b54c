//! A session: both ends of one connection and its streams.

use super::frame::{self, Frame, FrameError};
use super::header::{HeaderEncoder, Headers};
use super::reader;
use super::stream::{Stream, StreamState, Window};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Frames that wait to be written.
const OUTBOUND_FRAMES_MAX: usize = 32;
/// Streams a peer may have open that nobody has accepted yet.
const ACCEPT_STREAMS_MAX: usize = 128;
/// Streams a session may have at once.
pub(super) const STREAMS_MAX: usize = 1024;

/// Why a session or one of its streams ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection is gone.
    #[error("the SPDY connection was lost: {0}")]
    Lost(String),
    /// The peer refused or broke off the stream.
    #[error("the peer reset the SPDY stream with status {0}")]
    Reset(u32),
    /// More streams than a session may have.
    #[error("a SPDY session has at most {STREAMS_MAX} streams")]
    TooManyStreams,
}

impl SessionError {
    pub(super) fn closed() -> Self {
        Self::Lost("it was closed".to_owned())
    }
}

/// What the halves of a session share.
pub(super) struct Shared {
    pub outbound: mpsc::Sender<Frame>,
    pub streams: Mutex<HashMap<u32, StreamState>>,
    pub window: Window,
    /// What the peer allows for streams to come; `None` as long as it has
    /// shown no flow control.
    pub initial_window: Mutex<Option<u32>>,
    /// Whether the peer has shown flow control.
    pub peer_keeps_windows: AtomicBool,
    pub lost: watch::Sender<Option<String>>,
}

impl Shared {
    pub async fn send(&self, frame: Frame) -> Result<(), SessionError> {
        self.outbound.send(frame).await.map_err(|_| self.loss())
    }

    pub fn loss(&self) -> SessionError {
        let reason = self.lost.borrow().clone();
        reason.map_or_else(SessionError::closed, SessionError::Lost)
    }
}

/// One end of a SPDY/3.1 connection. Dropping it ends the connection and every
/// stream; [`Session::close`] first writes what is queued.
pub struct Session {
    shared: Arc<Shared>,
    accepted: mpsc::Receiver<Stream>,
    next_id: AtomicU32,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl Session {
    /// The end that asked for the upgrade.
    pub fn client<T: AsyncRead + AsyncWrite + Send + 'static>(io: T) -> Self {
        Self::start(io, 1)
    }

    /// The end that granted it.
    pub fn server<T: AsyncRead + AsyncWrite + Send + 'static>(io: T) -> Self {
        Self::start(io, 2)
    }

    fn start<T: AsyncRead + AsyncWrite + Send + 'static>(io: T, first_id: u32) -> Self {
        let (read, write) = tokio::io::split(io);
        let (outbound, queue) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        let (accept, accepted) = mpsc::channel(ACCEPT_STREAMS_MAX);
        let shared = Arc::new(Shared {
            outbound,
            streams: Mutex::default(),
            window: Window::default(),
            initial_window: Mutex::new(None),
            peer_keeps_windows: AtomicBool::new(false),
            lost: watch::Sender::new(None),
        });
        let reader = tokio::spawn(reader::run(read, shared.clone(), accept, first_id));
        let writer = Some(tokio::spawn(write_frames(write, queue, shared.clone())));
        Self {
            shared,
            accepted,
            next_id: AtomicU32::new(first_id),
            reader,
            writer,
        }
    }

    /// Opens a stream. It may be used at once; [`Stream::replied`] tells
    /// whether the peer took it.
    ///
    /// # Errors
    /// If the connection is lost or has too many streams.
    pub async fn open(&self, headers: Headers) -> Result<Stream, SessionError> {
        let id = self.next_id.fetch_add(2, Ordering::Relaxed);
        let stream = Stream::register(&self.shared, id, Headers::new())
            .ok_or(SessionError::TooManyStreams)?;
        self.shared
            .send(Frame::SynStream {
                id,
                headers,
                fin: false,
            })
            .await?;
        Ok(stream)
    }

    /// The next stream that the peer opened, already answered; `None` once the
    /// connection is gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        let stream = self.accepted.recv().await?;
        let reply = Frame::SynReply {
            id: stream.id(),
            headers: Headers::new(),
            fin: false,
        };
        self.shared.send(reply).await.ok()?;
        Some(stream)
    }

    /// Waits until the connection is gone.
    pub async fn lost(&self) -> SessionError {
        let mut lost = self.shared.lost.subscribe();
        let _ = lost.wait_for(Option::is_some).await;
        self.shared.loss()
    }

    /// Writes what is queued, says goodbye and ends the connection.
    pub async fn close(mut self) {
        let goodbye = Frame::GoAway {
            last_id: 0,
            status: 0,
        };
        if self.shared.send(goodbye).await.is_ok()
            && let Some(writer) = self.writer.take()
        {
            let _ = writer.await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
        if let Some(writer) = &self.writer {
            writer.abort();
        }
        self.shared.lost.send_if_modified(|lost| {
            lost.is_none()
                .then(|| *lost = Some("it was closed".into()))
                .is_some()
        });
        self.shared.streams.lock().clear();
    }
}

/// Writes frames until a `GOAWAY` was written or the connection fails.
async fn write_frames(
    mut io: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Frame>,
    shared: Arc<Shared>,
) {
    let mut encoder = HeaderEncoder::new();
    let mut buffer = BytesMut::new();
    let mut last = false;
    while !last {
        let Some(mut next) = queue.recv().await else {
            break;
        };
        // One write for everything that is already waiting.
        loop {
            last |= matches!(next, Frame::GoAway { .. });
            if let Err(error) = frame::put(&mut buffer, &next, &mut encoder) {
                return lose(&shared, &error);
            }
            match queue.try_recv() {
                Ok(frame) if buffer.len() < 4 * frame::DATA_BYTES_MAX => next = frame,
                Ok(frame) => {
                    last |= matches!(frame, Frame::GoAway { .. });
                    if let Err(error) = frame::put(&mut buffer, &frame, &mut encoder) {
                        return lose(&shared, &error);
                    }
                    break;
                }
                Err(_) => break,
            }
        }
        let written = async {
            io.write_all_buf(&mut buffer).await?;
            io.flush().await
        };
        if let Err(error) = written.await {
            // A peer that takes nothing more may have sent everything before it
            // closed: the reader brings that to its end and tells the streams.
            shared.lost.send_replace(Some(error.to_string()));
            return;
        }
    }
    let _ = io.shutdown().await;
}

fn lose(shared: &Shared, error: &FrameError) {
    shared.lost.send_replace(Some(error.to_string()));
    shared.streams.lock().clear();
}
