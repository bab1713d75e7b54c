//! Asking an HTTP/1.1 peer to switch protocols.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The most that is read of the body of a refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// What the peer answered.
pub enum Outcome {
    /// It switched: its answer, and the connection.
    Switched(Response<()>, TokioIo<Upgraded>),
    /// It did not: its answer, and the beginning of the body.
    Refused(Response<Bytes>),
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The connection failed.
    #[error("asking the peer to switch protocols failed: {0}")]
    Http(#[from] hyper::Error),
    /// The peer answered a refusal that could not be read.
    #[error("reading the peer's refusal to switch protocols failed: {0}")]
    Refusal(String),
}

/// Whether a request asks for another protocol.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).into_iter();
    headers.contains_key(header::UPGRADE)
        && connection
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// Sends `request`, which must carry its `Host`, `Connection` and `Upgrade`
/// headers, over a fresh connection.
///
/// # Errors
/// If the connection fails before the answer is complete.
pub async fn upgrade<T>(io: T, request: Request<()>) -> Result<Outcome, UpgradeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    // Ends by itself: with the upgrade, or when `sender` and the body are dropped.
    tokio::spawn(connection.with_upgrades());
    let request = request.map(|()| Empty::<Bytes>::new());
    let response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = response.into_parts();
        let head = clone_head(&parts);
        let upgraded = hyper::upgrade::on(Response::from_parts(parts, body)).await?;
        return Ok(Outcome::Switched(head, TokioIo::new(upgraded)));
    }
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
    let body = body
        .map_err(|error| UpgradeError::Refusal(error.to_string()))?
        .to_bytes();
    Ok(Outcome::Refused(Response::from_parts(parts, body)))
}

fn clone_head(parts: &http::response::Parts) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = parts.status;
    *head.version_mut() = parts.version;
    head.headers_mut().clone_from(&parts.headers);
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn request() -> Request<()> {
        let request = Request::get("/exec/a/b/c?command=sh").header("host", "node");
        let request = request
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1");
        request.body(()).expect("a valid request")
    }

    async fn answer(bytes: &'static [u8]) -> Result<Outcome, UpgradeError> {
        let (client, mut server) = tokio::io::duplex(4096);
        let serve = async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(server.read_u8().await.expect("a request"));
            }
            server.write_all(bytes).await.expect("open");
            server
        };
        let (outcome, _server) = tokio::join!(upgrade(client, request()), serve);
        outcome
    }

    #[tokio::test]
    async fn bytes_right_behind_the_answer_are_not_lost() {
        let answer =
            answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nfirst").await;
        let Ok(Outcome::Switched(head, mut io)) = answer else {
            panic!("switched")
        };
        assert_eq!(head.headers()["upgrade"], "SPDY/3.1");
        let mut first = [0; 5];
        io.read_exact(&mut first).await.expect("the bytes");
        assert_eq!(&first, b"first");
    }

    #[tokio::test]
    async fn a_refusal_is_handed_on_with_its_body() {
        let answer = answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nno pod").await;
        let Ok(Outcome::Refused(response)) = answer else {
            panic!("refused")
        };
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (404, &b"no pod"[..])
        );
    }

    #[test]
    fn an_upgrade_is_known_by_its_two_headers() {
        assert!(is_upgrade(request().headers()));
        let plain = Request::get("/")
            .header("upgrade", "h2c")
            .body(())
            .expect("valid");
        assert!(!is_upgrade(plain.headers()));
    }
}
