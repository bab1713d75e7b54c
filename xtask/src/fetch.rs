//! Fetching a page over a fresh connection, from inside a namespace.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Fetches `/` from an HTTP server; returns the body.
///
/// # Errors
/// If it cannot be reached within `patience` or answers anything but 200.
pub fn page(address: SocketAddr, patience: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("{address} broke off"))?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("{address} did not speak HTTP")
    };
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("{address} answered {status}");
    }
    Ok(body.to_owned())
}
