//! The network between the members: byte streams with delays, one-way cuts and
//! resets, all decided by one seed.
//!
//! A stream is two pipes. What is written into a pipe arrives later, in order,
//! as with TCP; pipes overtake each other, and a cut holds back what it catches
//! until it heals or the connection is given up.

use async_trait::async_trait;
use kontiki_mvcc::conformance::Random;
use kontiki_raft::{Network, PeerListener, PeerStream};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes under way in one pipe before its writer waits.
const IN_FLIGHT_BYTES_MAX: usize = 256 << 10;
/// How often a connection that gets no answer is tried again.
const DIAL_AGAIN: Duration = Duration::from_millis(20);

type PipeId = u64;

/// What a machine does with those who want to connect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A process listens, or will soon.
    Up,
    /// The machine runs, the process does not.
    Refusing,
    /// The machine is off.
    Silent,
}

/// Delays of one direction between two members, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    pub min: u64,
    pub max: u64,
}

enum Carried {
    Bytes(Vec<u8>),
    End,
    Reset,
}

struct Pipe {
    from: usize,
    to: usize,
    under_way: VecDeque<(Duration, Carried)>,
    bytes_under_way: usize,
    last_arrival: Duration,
    arrived: VecDeque<u8>,
    ended: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Waiting {
    streams: VecDeque<SimStream>,
    waker: Option<Waker>,
}

struct State {
    now: Duration,
    random: Random,
    members: Vec<String>,
    presence: Vec<Presence>,
    cut: BTreeSet<(usize, usize)>,
    delays: BTreeMap<(usize, usize), Delay>,
    usual: Delay,
    listeners: BTreeMap<usize, Waiting>,
    pipes: BTreeMap<PipeId, Pipe>,
    last_pipe: PipeId,
    arrivals: BTreeSet<(Duration, PipeId)>,
    /// Pipes whose next arrival met a cut.
    held: BTreeSet<PipeId>,
    /// Bytes that arrived.
    carried: u64,
}

/// The whole network. Clones share it.
#[derive(Clone)]
pub(crate) struct SimNetwork(Arc<Mutex<State>>);

impl SimNetwork {
    pub(crate) fn new(members: Vec<String>, seed: u64, usual: Delay) -> Self {
        let presence = vec![Presence::Silent; members.len()];
        Self(Arc::new(Mutex::new(State {
            now: Duration::ZERO,
            random: Random::new(seed),
            members,
            presence,
            cut: BTreeSet::new(),
            delays: BTreeMap::new(),
            usual,
            listeners: BTreeMap::new(),
            pipes: BTreeMap::new(),
            last_pipe: 0,
            arrivals: BTreeSet::new(),
            held: BTreeSet::new(),
            carried: 0,
        })))
    }

    /// The network as one member sees it.
    pub(crate) fn at(&self, member: usize) -> Arc<dyn Network> {
        Arc::new(Endpoint {
            own: member,
            network: self.clone(),
        })
    }

    /// Lets everything arrive that is due by `now`.
    pub(crate) fn advance(&self, now: Duration) {
        let mut wakers = Vec::new();
        {
            let mut state = self.0.lock();
            state.now = now;
            while let Some((at, pipe)) = state.arrivals.first().copied() {
                if at > now {
                    break;
                }
                state.arrivals.pop_first();
                state.arrive(pipe, &mut wakers);
            }
        }
        // Outside the lock: waking may drop the last of a task that holds a stream.
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn set_cut(&self, from: usize, to: usize, cut: bool) {
        let mut state = self.0.lock();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
            state.release();
        }
    }

    pub(crate) fn set_delay(&self, from: usize, to: usize, delay: Option<Delay>) {
        let mut state = self.0.lock();
        match delay {
            Some(delay) => drop(state.delays.insert((from, to), delay)),
            None => drop(state.delays.remove(&(from, to))),
        }
    }

    pub(crate) fn heal(&self) {
        let mut state = self.0.lock();
        state.cut.clear();
        state.delays.clear();
        state.release();
    }

    /// Breaks every connection between two members.
    pub(crate) fn reset(&self, a: usize, b: usize) {
        let mut state = self.0.lock();
        state.reset_where(|pipe| (pipe.from, pipe.to) == (a, b) || (pipe.from, pipe.to) == (b, a));
    }

    /// The member's process is gone. Its peers hear of it if its machine still runs.
    pub(crate) fn gone(&self, member: usize, presence: Presence) {
        let mut state = self.0.lock();
        state.presence[member] = presence;
        let unheard = state.listeners.remove(&member);
        // Nobody reads there any more.
        let dead: Vec<PipeId> = state.pipes_where(|pipe| pipe.to == member);
        for pipe in dead {
            state.remove(pipe);
        }
        if presence == Presence::Refusing {
            state.reset_where(|pipe| pipe.from == member);
        }
        // Streams that nobody accepted need the lock to go.
        drop(state);
        drop(unheard);
    }

    /// The member's machine runs again: what its peers still hold open is over.
    pub(crate) fn back(&self, member: usize) {
        let mut state = self.0.lock();
        state.presence[member] = Presence::Up;
        state.reset_where(|pipe| pipe.from == member);
    }

    /// Bytes that arrived so far.
    pub(crate) fn carried(&self) -> u64 {
        self.0.lock().carried
    }
}

impl State {
    fn pipes_where(&self, wanted: impl Fn(&Pipe) -> bool) -> Vec<PipeId> {
        let found = self.pipes.iter().filter(|(_, pipe)| wanted(pipe));
        found.map(|(id, _)| *id).collect()
    }

    fn remove(&mut self, id: PipeId) {
        if let Some(pipe) = self.pipes.remove(&id)
            && let Some((at, _)) = pipe.under_way.front()
        {
            self.arrivals.remove(&(*at, id));
        }
        self.held.remove(&id);
    }

    fn reset_where(&mut self, wanted: impl Fn(&Pipe) -> bool) {
        for id in self.pipes_where(wanted) {
            self.send(id, Carried::Reset);
        }
    }

    fn release(&mut self) {
        for id in std::mem::take(&mut self.held) {
            if let Some(pipe) = self.pipes.get(&id)
                && let Some((at, _)) = pipe.under_way.front()
            {
                self.arrivals.insert((*at, id));
            }
        }
    }

    fn delay(&mut self, from: usize, to: usize) -> Duration {
        let delay = self.delays.get(&(from, to)).copied().unwrap_or(self.usual);
        let spread = usize::try_from(delay.max - delay.min).expect("milliseconds") + 1;
        Duration::from_millis(delay.min + self.random.below(spread) as u64)
    }

    fn send(&mut self, id: PipeId, what: Carried) {
        let Some((from, to)) = self.pipes.get(&id).map(|pipe| (pipe.from, pipe.to)) else {
            return;
        };
        if self.presence[from] == Presence::Silent {
            return;
        }
        let at = self.now + self.delay(from, to);
        let pipe = self.pipes.get_mut(&id).expect("looked up above");
        let at = at.max(pipe.last_arrival);
        pipe.last_arrival = at;
        if let Carried::Bytes(bytes) = &what {
            pipe.bytes_under_way += bytes.len();
        }
        let first = pipe.under_way.is_empty();
        pipe.under_way.push_back((at, what));
        if first {
            self.arrivals.insert((at, id));
        }
    }

    fn arrive(&mut self, id: PipeId, wakers: &mut Vec<Waker>) {
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        if self.cut.contains(&(pipe.from, pipe.to)) {
            self.held.insert(id);
            return;
        }
        while let Some((at, _)) = pipe.under_way.front() {
            if *at > now {
                self.arrivals.insert((*at, id));
                break;
            }
            match pipe.under_way.pop_front().expect("looked at above").1 {
                Carried::Bytes(bytes) => {
                    self.carried += bytes.len() as u64;
                    pipe.bytes_under_way -= bytes.len();
                    pipe.arrived.extend(bytes);
                }
                Carried::End => pipe.ended = true,
                Carried::Reset => pipe.reset = true,
            }
        }
        wakers.extend(pipe.reader.take());
        wakers.extend(pipe.writer.take());
    }

    fn connect(&mut self, from: usize, to: usize, network: &SimNetwork) -> (SimStream, SimStream) {
        let mut pipe = |from, to| {
            self.last_pipe += 1;
            let pipe = Pipe {
                from,
                to,
                under_way: VecDeque::new(),
                bytes_under_way: 0,
                last_arrival: Duration::ZERO,
                arrived: VecDeque::new(),
                ended: false,
                reset: false,
                reader: None,
                writer: None,
            };
            self.pipes.insert(self.last_pipe, pipe);
            self.last_pipe
        };
        let (there, back) = (pipe(from, to), pipe(to, from));
        let stream = |read, write| SimStream {
            network: network.clone(),
            read,
            write,
        };
        (stream(back, there), stream(there, back))
    }
}

struct Endpoint {
    own: usize,
    network: SimNetwork,
}

struct Listener {
    own: usize,
    network: SimNetwork,
}

#[async_trait]
impl PeerListener for Listener {
    async fn accept(&mut self) -> io::Result<Box<dyn PeerStream>> {
        let stream = std::future::poll_fn(|cx| {
            let mut state = self.network.0.lock();
            let Some(waiting) = state.listeners.get_mut(&self.own) else {
                return Poll::Pending;
            };
            match waiting.streams.pop_front() {
                Some(stream) => Poll::Ready(stream),
                None => {
                    waiting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        Ok(Box::new(stream.await))
    }
}

#[async_trait]
impl Network for Endpoint {
    async fn listen(&self, _address: &str) -> io::Result<Box<dyn PeerListener>> {
        let waiting = Waiting {
            streams: VecDeque::new(),
            waker: None,
        };
        let mut state = self.network.0.lock();
        let before = state.listeners.insert(self.own, waiting);
        drop(state);
        drop(before);
        Ok(Box::new(Listener {
            own: self.own,
            network: self.network.clone(),
        }))
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn PeerStream>> {
        let to = {
            let state = self.network.0.lock();
            state.members.iter().position(|member| member == address)
        };
        let to = to.ok_or(io::ErrorKind::AddrNotAvailable)?;
        loop {
            // A packet there and one back.
            let trip = {
                let mut state = self.network.0.lock();
                state.delay(self.own, to) + state.delay(to, self.own)
            };
            tokio::time::sleep(trip).await;
            let waker = {
                let mut state = self.network.0.lock();
                let cut =
                    state.cut.contains(&(self.own, to)) || state.cut.contains(&(to, self.own));
                if cut || state.presence[to] == Presence::Silent {
                    None
                } else if state.listeners.contains_key(&to) {
                    let (near, far) = state.connect(self.own, to, &self.network);
                    let waiting = state.listeners.get_mut(&to).expect("looked up above");
                    waiting.streams.push_back(far);
                    Some((near, waiting.waker.take()))
                } else {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
            };
            if let Some((near, waker)) = waker {
                if let Some(waker) = waker {
                    waker.wake();
                }
                return Ok(Box::new(near));
            }
            tokio::time::sleep(DIAL_AGAIN).await;
        }
    }
}

/// One end of a connection.
struct SimStream {
    network: SimNetwork,
    read: PipeId,
    write: PipeId,
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.network.0.lock();
        let Some(pipe) = state.pipes.get_mut(&self.read) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if !pipe.arrived.is_empty() {
            let (bytes, _) = pipe.arrived.as_slices();
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            pipe.arrived.drain(..count);
            return Poll::Ready(Ok(()));
        }
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.network.0.lock();
        // A reset of the one direction is one of the other as well.
        let reset = state.pipes.get(&self.read).is_none_or(|pipe| pipe.reset);
        if reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(pipe) = state.pipes.get_mut(&self.write)
            && pipe.bytes_under_way >= IN_FLIGHT_BYTES_MAX
        {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Without a reader the bytes go nowhere, as to a machine that is off.
        state.send(self.write, Carried::Bytes(data.to_vec()));
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.0.lock().send(self.write, Carried::End);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut state = self.network.0.lock();
        state.send(self.write, Carried::End);
        let read = self.read;
        state.remove(read);
    }
}
