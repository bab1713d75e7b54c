//! Proxies before the members, which let everything take longer: this is what
//! netem would do where a kernel has it.

use crate::trial::fleet::{Fleet, PEER_PORT, PROXY_PORT};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xtask::netns;

const BUFFER_BYTES: usize = 16 << 10;
/// Reads that wait for their time; then the sender has to wait as well.
const WAITING_MAX: usize = 1_024;

/// One before each member, on a thread in its namespace; they end with this.
pub(crate) struct Proxies {
    delay_micros: Arc<AtomicU64>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Proxies {
    pub(crate) fn start(fleet: &Fleet) -> Self {
        let mut proxies = Self {
            delay_micros: Arc::default(),
            stop: CancellationToken::new(),
            threads: Vec::new(),
        };
        for member in 0..fleet.founders() {
            let (namespace, address) = (fleet.namespace(member), fleet.machine(member).address);
            let (delay, stop) = (proxies.delay_micros.clone(), proxies.stop.clone());
            proxies.threads.push(std::thread::spawn(move || {
                netns::enter(&netns::path(&namespace))?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let served = serve(address, delay);
                    stop.run_until_cancelled(served).await.unwrap_or(Ok(()))
                })
            }));
        }
        proxies
    }

    /// From now on every byte takes so much longer, in either direction.
    pub(crate) fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_micros.store(micros, Ordering::Relaxed);
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

async fn serve(address: Ipv4Addr, delay: Arc<AtomicU64>) -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((address, PROXY_PORT)))
        .await
        .context("the proxy cannot listen")?;
    loop {
        let (client, _) = listener.accept().await?;
        let delay = delay.clone();
        tokio::spawn(async move {
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, PEER_PORT));
            // Nobody there: the client sees its connection closed.
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = carry(from_client, to_server, &delay) => {}
                () = carry(from_server, to_client, &delay) => {}
            }
        });
    }
}

/// Carries bytes until either side ends.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    delay: &AtomicU64,
) {
    let (waiting, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(WAITING_MAX);
    let read = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let at = Instant::now() + Duration::from_micros(delay.load(Ordering::Relaxed));
            if waiting.send((at, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((at, bytes)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_carried_arrives_whole_in_order_and_late() {
        let (mut sender, from) = tokio::io::duplex(64);
        let (to, mut receiver) = tokio::io::duplex(64);
        let delay = AtomicU64::new(50_000);
        let began = Instant::now();
        let carried = carry(from, to, &delay);
        let told = async {
            sender.write_all(b"one two").await.expect("it listens");
            let mut heard = [0; 7];
            receiver.read_exact(&mut heard).await.expect("it comes");
            assert_eq!(&heard, b"one two");
            assert!(began.elapsed() >= Duration::from_millis(50));
        };
        tokio::select! {
            () = carried => panic!("it ended before"),
            () = told => {}
        }
    }
}
