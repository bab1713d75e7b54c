//! Old clients of etcd's name a URL as the authority of their requests.
//!
//! etcd's client up to 3.4, and `etcdctl` with it, sends `:authority:
//! http://host:2379` in what it asks of one endpoint (`endpoint status`,
//! `defrag`, `move-leader`…). HTTP/2 forbids that and this server's HTTP library
//! refuses it, so what a connection reads is mended first: `://` becomes `B--`,
//! three characters that make it a name like any other. Nobody reads the name.
//!
//! **Invariant:** no byte is added or taken away, so the header table that both
//! ends keep stays the same size on both.

mod scanner;

use scanner::Scanner;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Readers with less room than this are served from a buffer.
const ROOM_MIN: usize = 64;

/// A connection whose requests' authorities are mended.
#[derive(Debug)]
pub struct MendedAuthority<S> {
    stream: S,
    scanner: Scanner,
    /// Read, but not enough to judge yet.
    held: Vec<u8>,
    /// Judged, but not taken yet.
    judged: Vec<u8>,
}

impl<S> MendedAuthority<S> {
    /// Around a new connection, before anything was read of it.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            scanner: Scanner::default(),
            held: Vec::new(),
            judged: Vec::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> MendedAuthority<S> {
    /// Reads into a buffer that has room for what was held and more.
    fn read_mended(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let start = buffer.filled().len();
            buffer.put_slice(&self.held);
            let read = Pin::new(&mut self.stream).poll_read(context, buffer);
            let came = buffer.filled().len() - start - self.held.len();
            match read {
                Poll::Ready(Ok(())) if came > 0 => {}
                // At the end of the stream, what was held is all there is.
                Poll::Ready(Ok(())) => {
                    self.held.clear();
                    return Poll::Ready(Ok(()));
                }
                other => {
                    buffer.set_filled(start);
                    return other;
                }
            }
            let fresh = &mut buffer.filled_mut()[start..];
            let judged = self.scanner.scan(fresh);
            self.held = fresh[judged..].to_vec();
            buffer.set_filled(start + judged);
            if judged > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MendedAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.judged.is_empty() {
            if this.scanner.is_blind() && this.held.is_empty() {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            if buffer.remaining() >= ROOM_MIN {
                return this.read_mended(context, buffer);
            }
            let mut room = [0; ROOM_MIN];
            let mut own = ReadBuf::new(&mut room);
            ready!(this.read_mended(context, &mut own))?;
            this.judged = own.filled().to_vec();
        }
        let taken = this.judged.len().min(buffer.remaining());
        buffer.put_slice(&this.judged[..taken]);
        this.judged.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MendedAuthority<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A listener without TLS whose connections are mended.
#[derive(Debug)]
pub struct MendedListener(pub TcpListener);

impl axum::serve::Listener for MendedListener {
    type Io = MendedAuthority<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection's small messages may wait");
        }
        (MendedAuthority::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
