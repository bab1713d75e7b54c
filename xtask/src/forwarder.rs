//! The way from the host into a cluster: a listener on 127.0.0.1 whose outgoing
//! connections are made inside a namespace.
//!
//! A connection that cannot be made is tried at the next server at once, so the
//! way in survives the loss of any of them.

use crate::netns;
use anyhow::{Context, Result};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// One listening port and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// On 127.0.0.1.
    pub port: u16,
    /// Tried in this order, from the one that answered last.
    pub targets: Vec<SocketAddr>,
}

impl Forward {
    /// From `PORT=HOST:PORT,HOST:PORT`, as the command line gives it.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &str) -> Result<Self> {
        let (port, targets) = text
            .split_once('=')
            .with_context(|| format!("{text}: write PORT=HOST:PORT,…"))?;
        let targets = targets.split(',').map(str::parse).collect::<Result<_, _>>();
        Ok(Self {
            port: port.parse()?,
            targets: targets.with_context(|| format!("{text}: write PORT=HOST:PORT,…"))?,
        })
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
const CONNECTIONS_MAX: usize = 512;

/// Serves until the process ends.
///
/// # Errors
/// If a port is taken or the namespace cannot be entered.
pub fn run(namespace: &str, forwards: &[Forward]) -> Result<()> {
    let mut listeners = Vec::new();
    for forward in forwards {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, forward.port))
            .with_context(|| format!("cannot listen on 127.0.0.1:{}", forward.port))?;
        listeners.push((listener, Arc::new(forward.targets.clone())));
    }
    // The listeners stay in the host's namespace; everything from here on,
    // threads too, is made in the cluster's.
    netns::enter(&netns::path(namespace))?;
    let open = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|(listener, targets)| {
            let open = open.clone();
            thread::spawn(move || accept(&listener, &targets, &open))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a listener never panics");
    }
    Ok(())
}

fn accept(listener: &TcpListener, targets: &Arc<Vec<SocketAddr>>, open: &Arc<AtomicUsize>) {
    let last_good = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            continue;
        }
        let (targets, open, last_good) = (targets.clone(), open.clone(), last_good.clone());
        open.fetch_add(1, Ordering::Relaxed);
        thread::spawn(move || {
            // A failed connection shows itself to the client as a closed one.
            let _ = serve(stream, &targets, &last_good);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn serve(client: TcpStream, targets: &[SocketAddr], last_good: &AtomicUsize) -> io::Result<()> {
    let first = last_good.load(Ordering::Relaxed);
    let mut refused = io::Error::other("no target");
    for offset in 0..targets.len() {
        let index = (first + offset) % targets.len();
        match TcpStream::connect_timeout(&targets[index], CONNECT_TIMEOUT) {
            Ok(server) => {
                last_good.store(index, Ordering::Relaxed);
                return splice(client, server);
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn splice(client: TcpStream, server: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, server_write) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || copy(client_read, server_write));
    copy(server, client);
    let _ = up.join();
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) if to.write_all(&buffer[..read]).is_ok() => {}
            _ => {
                // Either side broke: both learn it.
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_read_from_the_command_line() {
        let forward = Forward::parse("16443=10.89.0.11:6443,10.89.0.12:6443").expect("valid");
        assert_eq!((forward.port, forward.targets.len()), (16443, 2));
        assert!(Forward::parse("16443").is_err());
        assert!(Forward::parse("x=10.0.0.1:1").is_err());
    }

    #[test]
    fn the_next_server_is_tried_when_the_first_is_gone() {
        let live = TcpListener::bind("127.0.0.1:0").expect("binds");
        let gone = TcpListener::bind("127.0.0.1:0").expect("binds");
        let targets = vec![
            gone.local_addr().expect("bound"),
            live.local_addr().expect("bound"),
        ];
        drop(gone);
        let echo = thread::spawn(move || {
            let (mut stream, _) = live.accept().expect("accepts");
            let mut buffer = [0; 4];
            stream.read_exact(&mut buffer).expect("reads");
            stream.write_all(&buffer).expect("writes");
        });
        let front = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = front.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let (stream, _) = front.accept().expect("accepts");
            serve(stream, &targets, &AtomicUsize::new(0))
        });
        let mut client = TcpStream::connect(address).expect("connects");
        client.write_all(b"ping").expect("writes");
        let mut pong = [0; 4];
        client.read_exact(&mut pong).expect("reads");
        assert_eq!(&pong, b"ping");
        drop(client);
        echo.join().expect("echoes");
        server.join().expect("serves").expect("well");
    }
}
