//! Joining two byte streams.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const BUFFER_BYTES: usize = 16 << 10;
/// How long the last direction may stand still after the other has ended.
const LINGER: Duration = Duration::from_secs(30);

/// Carries bytes both ways until both directions have ended or one side is
/// gone. After one direction has ended the other goes on as long as something
/// moves in it at least every half a minute. Each direction needs one buffer of
/// 16 KiB.
///
/// **Invariant:** a side that takes nothing more, because it has said all it had
/// to say and closed, is still heard out: what it sent before is delivered.
///
/// # Errors
/// The first failure of either side.
pub async fn splice<A, B>(a: A, b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    splice_with(a, b, LINGER).await
}

/// How a direction failed.
enum Failure {
    /// The side that is read from is gone, for both directions.
    Read(io::Error),
    /// The side that is written to takes nothing more.
    Write(io::Error),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Read(error) | Failure::Write(error) => error,
        }
    }
}

async fn splice_with<A, B>(a: A, b: B, linger: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let moved = AtomicU64::new(0);
    let there = carry(a_read, b_write, &moved);
    let back = carry(b_read, a_write, &moved);
    tokio::pin!(there, back);
    // A peer that is gone must not be kept waiting for by one that never ends.
    tokio::select! {
        first = &mut there => hear_out(first, back, &moved, linger).await,
        first = &mut back => hear_out(first, there, &moved, linger).await,
    }
}

/// After one direction has ended, waits for the last as long as something moves in it.
async fn hear_out(
    first: Result<(), Failure>,
    mut last: impl Future<Output = Result<(), Failure>> + Unpin,
    moved: &AtomicU64,
    linger: Duration,
) -> io::Result<()> {
    let written = match first {
        Err(Failure::Read(error)) => return Err(error),
        Err(Failure::Write(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    loop {
        let before = moved.load(Ordering::Relaxed);
        match tokio::time::timeout(linger, &mut last).await {
            Ok(ended) => return written.and(ended.map_err(io::Error::from)),
            Err(_) if moved.load(Ordering::Relaxed) == before => return written,
            Err(_) => {}
        }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let size = from.read(&mut buffer).await.map_err(Failure::Read)?;
        if size == 0 {
            return to.shutdown().await.map_err(Failure::Write);
        }
        let written = async {
            to.write_all(&buffer[..size]).await?;
            to.flush().await
        };
        written.await.map_err(Failure::Write)?;
        moved.fetch_add(size as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_an_end_passes_on() {
        let (mut left, a) = tokio::io::duplex(64);
        let (b, mut right) = tokio::io::duplex(64);
        let joined = tokio::spawn(splice(a, b));
        left.write_all(b"ping").await.expect("open");
        let mut word = [0; 4];
        right.read_exact(&mut word).await.expect("open");
        assert_eq!(&word, b"ping");
        right.write_all(b"pong").await.expect("open");
        left.shutdown().await.expect("open");
        assert_eq!(right.read(&mut word).await.expect("open"), 0);
        drop(right);
        let mut rest = Vec::new();
        left.read_to_end(&mut rest).await.expect("open");
        assert_eq!(rest, b"pong");
        joined.await.expect("no panic").expect("a clean end");
    }

    #[tokio::test]
    async fn a_side_that_never_ends_is_let_go() {
        let (left, a) = tokio::io::duplex(64);
        let (b, _right) = tokio::io::duplex(64);
        drop(left);
        splice_with(a, b, Duration::ZERO).await.expect("given up");
    }

    #[tokio::test]
    async fn a_side_that_has_closed_is_heard_out() {
        let said: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut left, a) = tokio::io::duplex(64);
        let (b, mut right) = tokio::io::duplex(said.len());
        right.write_all(&said).await.expect("room for it");
        drop(right);
        left.write_all(b"nobody takes this").await.expect("open");
        let joined = tokio::spawn(splice(a, b));
        let mut heard = Vec::new();
        left.read_to_end(&mut heard).await.expect("an end");
        assert!(heard == said, "{} bytes were heard", heard.len());
        drop(left);
        let error = joined.await.expect("no panic").expect_err("a broken pipe");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}
