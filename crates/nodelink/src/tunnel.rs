//! Byte streams inside the NodeLink stream.
//!
//! Each tunnel has a window of its own: a sender may have at most
//! [`WINDOW_BYTES`] on the way that the other end has not taken out yet. So one
//! `kubectl logs` on a stalled terminal holds up neither the node's objects nor
//! any other tunnel, and what waits is bounded.

use crate::proto::{
    TunnelEnd, TunnelFrame, TunnelOpened, TunnelReset, TunnelTarget, tunnel_frame::Step,
};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Bytes of one tunnel and direction that may be under way.
pub const WINDOW_BYTES: usize = 256 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;
/// Tunnels that may be open over one stream.
const TUNNELS_MAX: usize = 4096;

/// Anything that bytes flow through in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

type Steps = mpsc::UnboundedSender<Step>;

/// The tunnels of one stream, seen from one of its ends.
#[derive(Clone)]
pub struct Tunnels {
    shared: Arc<Shared>,
}

struct Shared {
    out: mpsc::Sender<TunnelFrame>,
    open: Mutex<HashMap<u64, Entry>>,
    next_id: AtomicU64,
}

struct Entry {
    steps: Steps,
    opened: Option<oneshot::Sender<Result<(), String>>>,
    /// Received bytes that were not granted again yet; beyond the window the peer misbehaves.
    waiting_bytes: Arc<AtomicUsize>,
}

impl Tunnels {
    /// Tunnels whose frames leave through `out`.
    #[must_use]
    pub fn new(out: mpsc::Sender<TunnelFrame>) -> Self {
        Self {
            shared: Arc::new(Shared {
                out,
                open: Mutex::default(),
                next_id: AtomicU64::new(1),
            }),
        }
    }

    /// Opens a tunnel and waits for the other end to have reached the target.
    ///
    /// # Errors
    /// If the other end could not reach the target, or the stream ends.
    pub async fn open(&self, target: TunnelTarget) -> io::Result<DuplexStream> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, opened) = oneshot::channel();
        let Some((steps, waiting)) = self.register(id, Some(sender)) else {
            return Err(io::Error::other(format!(
                "more than {TUNNELS_MAX} connections into the node are open"
            )));
        };
        let guard = Forget {
            shared: self.shared.clone(),
            id,
        };
        let lost = || {
            io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the node's connection was lost",
            )
        };
        self.shared
            .send(id, Step::Open(target))
            .await
            .map_err(|()| lost())?;
        opened
            .await
            .map_err(|_| lost())?
            .map_err(|why| io::Error::new(io::ErrorKind::ConnectionRefused, why))?;
        let (near, far) = tokio::io::duplex(CHUNK_BYTES * 4);
        tokio::spawn(pump(guard, far, steps, waiting));
        Ok(near)
    }

    /// Takes in a frame. Returns the id and target of a tunnel that the other
    /// end wants to open; answer it with [`Tunnels::accept`] or [`Tunnels::refuse`].
    pub fn deliver(&self, frame: TunnelFrame) -> Option<(u64, TunnelTarget)> {
        let id = frame.id;
        match frame.step? {
            Step::Open(target) => return Some((id, target)),
            Step::Opened(opened) => {
                let waiter = self
                    .shared
                    .open
                    .lock()
                    .get_mut(&id)
                    .and_then(|entry| entry.opened.take());
                if let Some(waiter) = waiter {
                    let result = if opened.error.is_empty() {
                        Ok(())
                    } else {
                        Err(opened.error)
                    };
                    // The opener may have given up meanwhile; its guard forgets the tunnel.
                    let _ = waiter.send(result);
                }
            }
            step => self.shared.deliver(id, step),
        }
        None
    }

    /// The target of tunnel `id` has been reached: bytes flow.
    pub async fn accept(&self, id: u64, io: impl Io) {
        let Some((steps, waiting)) = self.register(id, None) else {
            return self
                .refuse(
                    id,
                    format!("more than {TUNNELS_MAX} connections into the node are open"),
                )
                .await;
        };
        let guard = Forget {
            shared: self.shared.clone(),
            id,
        };
        if self
            .shared
            .send(id, Step::Opened(TunnelOpened::default()))
            .await
            .is_ok()
        {
            tokio::spawn(pump(guard, io, steps, waiting));
        }
    }

    /// The target of tunnel `id` could not be reached.
    pub async fn refuse(&self, id: u64, why: String) {
        // If the stream is gone there is nobody left to tell.
        let _ = self
            .shared
            .send(id, Step::Opened(TunnelOpened { error: why }))
            .await;
    }

    /// Ends every tunnel: the stream is gone.
    pub fn reset_all(&self) {
        self.shared.open.lock().clear();
    }

    fn register(
        &self,
        id: u64,
        opened: Option<oneshot::Sender<Result<(), String>>>,
    ) -> Option<(mpsc::UnboundedReceiver<Step>, Arc<AtomicUsize>)> {
        let (steps, receiver) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let mut open = self.shared.open.lock();
        if open.len() >= TUNNELS_MAX {
            return None;
        }
        open.insert(
            id,
            Entry {
                steps,
                opened,
                waiting_bytes: waiting_bytes.clone(),
            },
        );
        Some((receiver, waiting_bytes))
    }
}

impl Shared {
    async fn send(&self, id: u64, step: Step) -> Result<(), ()> {
        self.out
            .send(TunnelFrame {
                id,
                step: Some(step),
            })
            .await
            .map_err(drop)
    }

    fn deliver(&self, id: u64, step: Step) {
        let mut open = self.open.lock();
        let Some(entry) = open.get(&id) else { return };
        let over = match &step {
            Step::Data(data) => {
                entry.waiting_bytes.fetch_add(data.len(), Ordering::AcqRel) + data.len()
                    > WINDOW_BYTES
            }
            _ => false,
        };
        let last = over || matches!(step, Step::Reset(_));
        // A tunnel whose pump has ended is about to be forgotten by its guard.
        let _ = if over {
            entry.steps.send(Step::Reset(TunnelReset {
                why: "the peer sent more than its window".into(),
            }))
        } else {
            entry.steps.send(step)
        };
        if last {
            open.remove(&id);
        }
    }
}

/// Forgets a tunnel when its last user is gone.
struct Forget {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.shared.open.lock().remove(&self.id);
    }
}

/// Moves bytes between a tunnel and `io` until both directions have ended. An
/// `io` that takes nothing more is still heard out: what it sent before it
/// closed reaches the other end.
async fn pump(
    guard: Forget,
    io: impl Io,
    mut steps: mpsc::UnboundedReceiver<Step>,
    waiting: Arc<AtomicUsize>,
) {
    let (reader, writer) = tokio::io::split(io);
    let credit = Semaphore::new(WINDOW_BYTES);
    let all_sent = CancellationToken::new();
    let sending = send_all(&guard, reader, &credit, &all_sent);
    let flow = Flow {
        credit: &credit,
        waiting: &waiting,
        all_sent: &all_sent,
    };
    let receiving = receive_all(&guard, writer, &mut steps, &flow);
    let why = match tokio::try_join!(sending, receiving) {
        Ok(((), ())) => return,
        Err(why) => why,
    };
    if let Some(why) = why {
        let _ = guard
            .shared
            .send(guard.id, Step::Reset(TunnelReset { why }))
            .await;
    }
}

/// Why a direction ended early; `None` when the other end already knows.
type Broken = Option<String>;

/// What the two directions of a tunnel tell each other.
struct Flow<'a> {
    credit: &'a Semaphore,
    waiting: &'a AtomicUsize,
    all_sent: &'a CancellationToken,
}

async fn send_all(
    guard: &Forget,
    mut reader: impl AsyncRead + Unpin,
    credit: &Semaphore,
    all_sent: &CancellationToken,
) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        let first = credit.acquire().await.map_err(|_| None)?;
        first.forget();
        let more = credit.available_permits().min(CHUNK_BYTES - 1);
        buffer.reserve(more + 1);
        let mut limited = (&mut reader).take(more as u64 + 1);
        let read = limited
            .read_buf(&mut buffer)
            .await
            .map_err(|e| Some(e.to_string()))?;
        if read == 0 {
            guard
                .shared
                .send(guard.id, Step::End(TunnelEnd {}))
                .await
                .map_err(|()| None)?;
            all_sent.cancel();
            return Ok(());
        }
        if read > 1 {
            let rest = u32::try_from(read - 1).expect("a chunk is small");
            credit.acquire_many(rest).await.map_err(|_| None)?.forget();
        }
        let data: Bytes = buffer.split().freeze();
        guard
            .shared
            .send(guard.id, Step::Data(data))
            .await
            .map_err(|()| None)?;
    }
}

async fn receive_all(
    guard: &Forget,
    mut writer: impl AsyncWrite + Unpin,
    steps: &mut mpsc::UnboundedReceiver<Step>,
    flow: &Flow<'_>,
) -> Result<(), Broken> {
    let mut ended = false;
    // Why nothing more can be written. What still comes is taken in and dropped,
    // so that it holds up nobody until the other direction has come to its end.
    let mut broken = None;
    loop {
        // Grants for what is still being sent arrive after the other end has
        // ended, so this direction outlives its own end.
        let step = tokio::select! {
            step = steps.recv() => step,
            () = flow.all_sent.cancelled(), if ended || broken.is_some() => {
                return broken.map_or(Ok(()), |why| Err(Some(why)));
            }
        };
        // The channel closes when the stream is lost; that breaks the tunnel.
        match step.ok_or(None)? {
            Step::Data(data) if !ended => {
                if broken.is_none()
                    && let Err(error) = write(&mut writer, &data).await
                {
                    broken = Some(error.to_string());
                }
                flow.waiting.fetch_sub(data.len(), Ordering::AcqRel);
                let grant = u32::try_from(data.len()).expect("a chunk is small");
                guard
                    .shared
                    .send(guard.id, Step::Grant(grant))
                    .await
                    .map_err(|()| None)?;
            }
            Step::Grant(bytes) => {
                let room = WINDOW_BYTES.saturating_sub(flow.credit.available_permits());
                flow.credit.add_permits((bytes as usize).min(room));
            }
            Step::End(_) => {
                ended = true;
                if broken.is_none()
                    && let Err(error) = writer.shutdown().await
                {
                    broken = Some(error.to_string());
                }
            }
            Step::Reset(_) => return Err(None),
            _ => {}
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<()> {
    writer.write_all(data).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends joined by channels, as the two ends of a stream are.
    fn joined() -> (Tunnels, Tunnels) {
        let (to_b, mut from_a) = mpsc::channel(8);
        let (to_a, mut from_b) = mpsc::channel(8);
        let (a, b) = (Tunnels::new(to_b), Tunnels::new(to_a));
        let (a2, b2) = (a.clone(), b.clone());
        tokio::spawn(async move {
            while let Some(frame) = from_b.recv().await {
                a2.deliver(frame);
            }
        });
        tokio::spawn(async move {
            while let Some(frame) = from_a.recv().await {
                if let Some((id, target)) = b2.deliver(frame) {
                    match target.target {
                        Some(crate::proto::tunnel_target::Target::Tcp(_)) => {
                            b2.refuse(id, "nobody listens".into()).await
                        }
                        None => {
                            // Says everything and closes without listening.
                            let (near, mut far) = tokio::io::duplex(LAST_WORDS);
                            far.write_all(&vec![7; LAST_WORDS]).await.expect("room");
                            drop(far);
                            b2.accept(id, near).await;
                        }
                        _ => {
                            let (near, mut far) = tokio::io::duplex(1024);
                            b2.accept(id, near).await;
                            // An echo that ends when its input ends.
                            tokio::spawn(async move {
                                let (mut read, mut write) = tokio::io::split(&mut far);
                                let _ = tokio::io::copy(&mut read, &mut write).await;
                                let _ = write.shutdown().await;
                            });
                        }
                    }
                }
            }
        });
        (a, b)
    }

    const LAST_WORDS: usize = 1 << 20;

    #[tokio::test]
    async fn an_end_that_closes_at_once_is_heard_out() {
        let (a, _b) = joined();
        let target = TunnelTarget { target: None };
        let mut io = a.open(target).await.expect("opens");
        io.write_all(b"nobody takes this").await.expect("writes");
        let mut heard = Vec::new();
        io.read_to_end(&mut heard).await.expect("reads");
        assert_eq!(heard.len(), LAST_WORDS);
    }

    fn kubelet() -> TunnelTarget {
        TunnelTarget {
            target: Some(crate::proto::tunnel_target::Target::Kubelet(
                crate::proto::Kubelet {},
            )),
        }
    }

    #[tokio::test]
    async fn far_more_than_a_window_comes_back_unchanged() {
        let (a, _b) = joined();
        let io = a.open(kubelet()).await.expect("opens");
        let sent: Vec<u8> = (0..3 * WINDOW_BYTES + 17)
            .map(|i| u8::try_from(i % 251).expect("small"))
            .collect();
        let (mut read, mut write) = tokio::io::split(io);
        let expected = sent.clone();
        tokio::spawn(async move {
            write.write_all(&sent).await.expect("writes");
            write.shutdown().await.expect("ends");
        });
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.expect("reads");
        assert!(received == expected, "{} bytes came back", received.len());
    }

    #[tokio::test]
    async fn a_tunnel_that_nobody_reads_does_not_hold_up_another() {
        let (a, _b) = joined();
        let mut stalled = a.open(kubelet()).await.expect("opens");
        let filler = tokio::spawn(async move {
            let block = vec![0; 4 * WINDOW_BYTES];
            // Never ends: the echo comes back and nobody takes it.
            let _ = stalled.write_all(&block).await;
            std::future::pending::<()>().await;
        });
        let mut io = a.open(kubelet()).await.expect("opens");
        for _ in 0..100 {
            io.write_all(b"ping").await.expect("writes");
            let mut pong = [0; 4];
            io.read_exact(&mut pong).await.expect("reads");
            assert_eq!(&pong, b"ping");
        }
        filler.abort();
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let (a, _b) = joined();
        let target = TunnelTarget {
            target: Some(crate::proto::tunnel_target::Target::Tcp("x:1".into())),
        };
        let error = a.open(target).await.expect_err("refused");
        assert_eq!(error.to_string(), "nobody listens");
    }

    #[tokio::test]
    async fn a_lost_stream_ends_its_tunnels() {
        let (a, _b) = joined();
        let mut io = a.open(kubelet()).await.expect("opens");
        a.reset_all();
        let mut rest = Vec::new();
        let _ = io.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
}
