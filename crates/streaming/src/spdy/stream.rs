//! One stream of a session, and the windows that bound what is sent on it.

use super::frame::{DATA_BYTES_MAX, Frame};
use super::header::Headers;
use super::session::{STREAMS_MAX, SessionError, Shared};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, watch};

/// Pieces of data that wait for a stream's reader.
const INBOUND_PIECES_MAX: usize = 8;
/// What a peer with flow control allows before it says anything.
const WINDOW_BYTES: u64 = 64 << 10;
/// Received bytes are acknowledged in steps of this size.
const ACKNOWLEDGE_BYTES: usize = 16 << 10;
const CANCEL: u32 = 5;

/// What arrives on a stream.
#[derive(Debug)]
pub enum Inbound {
    Data(Bytes),
    Fin,
    Reset(u32),
}

/// How much may be sent.
///
/// The implementation that most kubelets, runtimes and old clients share keeps
/// no windows: it neither sends nor heeds `WINDOW_UPDATE`, and waiting for one
/// would stall for ever. So a window binds only once the peer has shown that it
/// keeps windows; until then the connection's own back-pressure is the bound.
#[derive(Default)]
pub struct Window {
    state: Mutex<WindowState>,
    changed: tokio::sync::Notify,
}

#[derive(Default)]
struct WindowState {
    sent: u64,
    granted: Option<u64>,
}

impl Window {
    /// The peer took `delta` bytes in.
    pub fn grant(&self, delta: u32) {
        let mut state = self.state.lock();
        state.granted = Some(
            state
                .granted
                .unwrap_or(WINDOW_BYTES)
                .saturating_add(u64::from(delta)),
        );
        drop(state);
        self.changed.notify_waiters();
    }

    /// The peer announced the size of its windows.
    pub fn limit(&self, size: u32) {
        let mut state = self.state.lock();
        if state.granted.is_none() {
            state.granted = Some(u64::from(size));
        }
    }

    /// Waits until something may be sent and takes up to `wanted` bytes of it.
    pub async fn take(&self, wanted: usize) -> usize {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                let room = state.granted.map_or(wanted, |granted| {
                    usize::try_from(granted.saturating_sub(state.sent))
                        .unwrap_or(usize::MAX)
                        .min(wanted)
                });
                if room > 0 {
                    state.sent += room as u64;
                    return room;
                }
            }
            changed.await;
        }
    }

    /// Gives back what was taken and not sent.
    fn give_back(&self, unused: usize) {
        let mut state = self.state.lock();
        state.sent = state.sent.saturating_sub(unused as u64);
        drop(state);
        self.changed.notify_waiters();
    }
}

/// What the session knows of a stream.
pub struct StreamState {
    pub inbound: mpsc::Sender<Inbound>,
    pub replied: Arc<watch::Sender<Option<Result<(), u32>>>>,
    pub window: Arc<Window>,
}

impl StreamState {
    pub fn reset(&self, status: u32) {
        self.replied.send_replace(Some(Err(status)));
    }
}

/// Keeps a stream known to its session until both directions are let go.
struct Registration {
    id: u32,
    shared: Arc<Shared>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.streams.lock().remove(&self.id);
    }
}

/// A stream.
pub struct Stream {
    headers: Headers,
    replied: watch::Receiver<Option<Result<(), u32>>>,
    reader: StreamReader,
    writer: StreamWriter,
}

impl Stream {
    /// Makes the stream known to the session; `None` if that has too many.
    pub(super) fn register(shared: &Arc<Shared>, id: u32, headers: Headers) -> Option<Self> {
        let (inbound, receiver) = mpsc::channel(INBOUND_PIECES_MAX);
        let replied = Arc::new(watch::Sender::new(None));
        let window = Arc::new(Window::default());
        if let Some(size) = *shared.initial_window.lock() {
            window.limit(size);
        }
        let state = StreamState {
            inbound,
            replied: replied.clone(),
            window: window.clone(),
        };
        let mut streams = shared.streams.lock();
        if streams.len() >= STREAMS_MAX {
            return None;
        }
        streams.insert(id, state);
        drop(streams);
        let registration = Arc::new(Registration {
            id,
            shared: shared.clone(),
        });
        let reset = replied.subscribe();
        let writer = StreamWriter {
            registration: registration.clone(),
            window,
            reset,
            finished: false,
        };
        let reader = StreamReader {
            registration,
            receiver,
            unacknowledged: 0,
            finished: false,
        };
        Some(Self {
            headers,
            replied: replied.subscribe(),
            reader,
            writer,
        })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.writer.registration.id
    }

    /// The headers with which the peer opened it.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// A header with which the peer opened it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Waits until the peer has taken the stream.
    ///
    /// # Errors
    /// If it refused, or the connection was lost.
    pub async fn replied(&mut self) -> Result<(), SessionError> {
        match self
            .replied
            .wait_for(Option::is_some)
            .await
            .map(|answer| *answer)
        {
            Ok(Some(Err(status))) => Err(SessionError::Reset(status)),
            Ok(_) => Ok(()),
            Err(_) => Err(self.writer.registration.shared.loss()),
        }
    }

    /// Its two directions.
    #[must_use]
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }
}

/// What the peer sends.
pub struct StreamReader {
    registration: Arc<Registration>,
    receiver: mpsc::Receiver<Inbound>,
    unacknowledged: usize,
    finished: bool,
}

impl StreamReader {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// If the stream was reset or the connection lost before the last piece.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, SessionError> {
        if self.finished {
            return Ok(None);
        }
        match self.receiver.recv().await {
            Some(Inbound::Data(data)) => {
                self.acknowledge(data.len());
                Ok(Some(data))
            }
            Some(Inbound::Fin) => {
                self.finished = true;
                Ok(None)
            }
            Some(Inbound::Reset(status)) => Err(SessionError::Reset(status)),
            None => Err(self.registration.shared.loss()),
        }
    }

    /// Opens the windows of a peer that keeps some. It never waits, so that no
    /// data is lost when `recv` is cancelled; a full queue delays it until the
    /// next piece.
    ///
    /// A peer that keeps none gets nothing: runtimes close the connection as
    /// soon as a command has ended, and what reaches a closed TCP connection
    /// makes its kernel throw away the output that is still on the way.
    fn acknowledge(&mut self, bytes: usize) {
        self.unacknowledged = self.unacknowledged.saturating_add(bytes);
        let shared = &self.registration.shared;
        if self.unacknowledged < ACKNOWLEDGE_BYTES
            || !shared.peer_keeps_windows.load(Ordering::Relaxed)
        {
            return;
        }
        let most = u32::MAX >> 1;
        let delta = u32::try_from(self.unacknowledged).map_or(most, |bytes| bytes.min(most));
        if let Ok(permits) = shared.outbound.try_reserve_many(2) {
            for (permit, id) in permits.zip([self.registration.id, 0]) {
                permit.send(Frame::WindowUpdate { id, delta });
            }
            self.unacknowledged = 0;
        }
    }

    /// Everything up to the end, but at most `limit` bytes of it. A reset is an
    /// end, too: peers of this family reset the streams that they are done with.
    ///
    /// # Errors
    /// If the connection was lost before anything came.
    pub async fn read_all(&mut self, limit: usize) -> Result<Vec<u8>, SessionError> {
        let mut all = Vec::new();
        loop {
            match self.recv().await {
                Ok(Some(piece)) => {
                    let room = limit.saturating_sub(all.len());
                    all.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                Ok(None) | Err(SessionError::Reset(_)) => return Ok(all),
                Err(_) if !all.is_empty() => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        // What still arrives for it is dropped by the session's reader.
        self.receiver.close();
    }
}

/// What is sent to the peer. Dropping it without [`StreamWriter::finish`] resets the stream.
pub struct StreamWriter {
    registration: Arc<Registration>,
    window: Arc<Window>,
    reset: watch::Receiver<Option<Result<(), u32>>>,
    finished: bool,
}

impl StreamWriter {
    /// Sends data, in as many frames as it takes.
    ///
    /// # Errors
    /// If the stream was reset or the connection lost.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), SessionError> {
        while !data.is_empty() {
            let size = self.reserve(data.len().min(DATA_BYTES_MAX)).await?;
            let piece = data.split_to(size);
            self.registration
                .shared
                .send(Frame::Data {
                    id: self.registration.id,
                    data: piece,
                    fin: false,
                })
                .await?;
        }
        Ok(())
    }

    async fn reserve(&mut self, wanted: usize) -> Result<usize, SessionError> {
        let shared = &self.registration.shared;
        let window = &self.window;
        let mut lost = shared.lost.subscribe();
        tokio::select! {
            biased;
            Ok(_) = lost.wait_for(Option::is_some) => Err(shared.loss()),
            Ok(answer) = self.reset.wait_for(|answer| matches!(answer, Some(Err(_)))) => {
                Err(SessionError::Reset(answer.and_then(Result::err).unwrap_or_default()))
            }
            size = async {
                let size = window.take(wanted).await;
                let allowed = shared.window.take(size).await;
                window.give_back(size - allowed);
                allowed
            } => Ok(size),
        }
    }

    /// Says that nothing follows; the other direction stays open.
    ///
    /// # Errors
    /// If the connection was lost.
    pub async fn finish(&mut self) -> Result<(), SessionError> {
        if !std::mem::replace(&mut self.finished, true) {
            self.registration
                .shared
                .send(Frame::Data {
                    id: self.registration.id,
                    data: Bytes::new(),
                    fin: true,
                })
                .await?;
        }
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        let Registration { id, shared } = &*self.registration;
        if !self.finished && shared.streams.lock().contains_key(id) {
            let _ = shared.outbound.try_send(Frame::RstStream {
                id: *id,
                status: CANCEL,
            });
        }
    }
}
