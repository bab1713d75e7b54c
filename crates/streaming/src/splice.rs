//! Joining two byte streams.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const BUFFER_BYTES: usize = 16 << 10;
/// How long one direction may still carry data after the other has ended.
const LINGER: Duration = Duration::from_secs(30);

/// Carries bytes both ways until both directions have ended, one has failed,
/// or the second outlives the first by half a minute. Each direction needs one
/// buffer of 16 KiB.
///
/// # Errors
/// The first failure of either side.
pub async fn splice<A, B>(a: A, b: B) -> std::io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    splice_with(a, b, LINGER).await
}

async fn splice_with<A, B>(a: A, b: B, linger: Duration) -> std::io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let there = carry(a_read, b_write);
    let back = carry(b_read, a_write);
    tokio::pin!(there, back);
    // A peer that is gone must not be kept waiting for by one that never ends.
    let rest = tokio::select! {
        ended = &mut there => {
            ended?;
            tokio::time::timeout(linger, back).await
        }
        ended = &mut back => {
            ended?;
            tokio::time::timeout(linger, there).await
        }
    };
    rest.unwrap_or(Ok(()))
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let size = from.read(&mut buffer).await?;
        if size == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..size]).await?;
        to.flush().await?;
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
}
