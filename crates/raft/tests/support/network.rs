//! A network in memory whose links can be cut and whose nodes can be killed.

use async_trait::async_trait;
use kontiki_raft::{Network, PeerListener, PeerStream};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

#[derive(Clone, Default, PartialEq)]
struct Faults {
    cut: HashSet<(String, String)>,
    /// Counts the deaths of a node; connections of an earlier life are broken.
    deaths: HashMap<String, u64>,
}

impl Faults {
    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.cut.contains(&(from.to_owned(), to.to_owned()))
    }

    fn lives(&self, a: &str, b: &str) -> (u64, u64) {
        let of = |node: &str| self.deaths.get(node).copied().unwrap_or(0);
        (of(a), of(b))
    }
}

#[derive(Default)]
struct Switch {
    listeners: Mutex<HashMap<String, mpsc::Sender<Box<dyn PeerStream>>>>,
    faults: watch::Sender<Faults>,
}

/// The whole network.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Switch>);

impl MemoryNetwork {
    /// The network as the node at `address` sees it.
    pub fn at(&self, address: &str) -> Arc<dyn Network> {
        Arc::new(Endpoint {
            own: address.to_owned(),
            switch: self.0.clone(),
        })
    }

    /// Nothing passes between the two, in silence.
    pub fn cut(&self, a: &str, b: &str) {
        self.0.faults.send_modify(|faults| {
            faults.cut.insert((a.to_owned(), b.to_owned()));
            faults.cut.insert((b.to_owned(), a.to_owned()));
        });
    }

    pub fn heal(&self) {
        self.0.faults.send_modify(|faults| faults.cut.clear());
    }

    /// The node's process dies: its connections break, its address refuses.
    pub fn kill(&self, address: &str) {
        self.0.listeners.lock().remove(address);
        self.0
            .faults
            .send_modify(|faults| *faults.deaths.entry(address.to_owned()).or_default() += 1);
    }
}

struct Endpoint {
    own: String,
    switch: Arc<Switch>,
}

struct Listener(mpsc::Receiver<Box<dyn PeerStream>>);

#[async_trait]
impl PeerListener for Listener {
    async fn accept(&mut self) -> io::Result<Box<dyn PeerStream>> {
        match self.0.recv().await {
            Some(stream) => Ok(stream),
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Network for Endpoint {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn PeerListener>> {
        let (sender, receiver) = mpsc::channel(16);
        self.switch
            .listeners
            .lock()
            .insert(address.to_owned(), sender);
        Ok(Box::new(Listener(receiver)))
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn PeerStream>> {
        let faults = self.switch.faults.subscribe();
        let _ = faults
            .clone()
            .wait_for(|faults| !faults.is_cut(&self.own, address))
            .await;
        let listener = self.switch.listeners.lock().get(address).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, near_inner) = tokio::io::duplex(1 << 16);
        let (far, far_inner) = tokio::io::duplex(1 << 16);
        let (near_read, near_write) = tokio::io::split(near_inner);
        let (far_read, far_write) = tokio::io::split(far_inner);
        let ends = (self.own.clone(), address.to_owned());
        tokio::spawn(pump(near_read, far_write, ends.clone(), faults.clone()));
        tokio::spawn(pump(far_read, near_write, ends, faults));
        listener
            .send(Box::new(far))
            .await
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(near))
    }
}

/// Carries bytes one way until an end closes or dies.
async fn pump(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    (a, b): (String, String),
    mut faults: watch::Receiver<Faults>,
) {
    let lives = faults.borrow().lives(&a, &b);
    let mut buffer = vec![0; 1 << 14];
    let mut dead = faults.clone();
    let died = async {
        let _ = dead.wait_for(|faults| faults.lives(&a, &b) != lives).await;
    };
    let carry = async {
        loop {
            let Ok(count @ 1..) = from.read(&mut buffer).await else {
                return;
            };
            let _ = faults.wait_for(|faults| !faults.is_cut(&a, &b)).await;
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        // What a cut held back dies with its sender.
        biased;
        () = died => {}
        () = carry => {}
    }
    let _ = to.shutdown().await;
}
