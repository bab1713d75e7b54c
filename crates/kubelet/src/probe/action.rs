//! One try: a command, a request, a connection.

use crate::cri::Cri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The most that is read of an answer, in bytes.
const BODY_BYTES_MAX: usize = 10 << 10;

/// The container that is tried.
#[derive(Clone)]
pub struct ProbeTarget {
    /// The runtime.
    pub cri: Cri,
    /// The runtime's name for the container.
    pub container_id: String,
    /// Its spec, for the names of ports.
    pub container: Container,
    /// The pod's address.
    pub pod_ip: String,
}

/// The ways to try.
pub struct Handler<'a> {
    /// A command that must succeed.
    pub exec: Option<&'a ExecAction>,
    /// A request that must be answered well.
    pub http_get: Option<&'a HTTPGetAction>,
    /// A port that must take connections.
    pub tcp_socket: Option<&'a TCPSocketAction>,
    /// A health service that must say so.
    pub grpc: Option<&'a GRPCAction>,
}

/// Tries once.
///
/// # Errors
/// What went wrong, for people.
pub async fn run_handler(
    target: &ProbeTarget,
    handler: &Handler<'_>,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = handler.exec {
        return run_exec(target, exec, timeout).await;
    }
    let attempt = async {
        if let Some(get) = handler.http_get {
            http_get(target, get).await
        } else if let Some(socket) = handler.tcp_socket {
            let host = socket
                .host
                .as_deref()
                .filter(|host| !host.is_empty())
                .unwrap_or(&target.pod_ip);
            let port = port(&target.container, &socket.port)?;
            connect(host, port).await.map(drop)
        } else if let Some(grpc) = handler.grpc {
            grpc_check(target, grpc).await
        } else {
            Ok(())
        }
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "context deadline exceeded (no answer within {}s)",
            timeout.as_secs()
        )),
    }
}

async fn run_exec(
    target: &ProbeTarget,
    exec: &ExecAction,
    timeout: Duration,
) -> Result<(), String> {
    let command = exec.command.clone().unwrap_or_default();
    match target
        .cri
        .exec_sync(&target.container_id, command.clone(), timeout)
        .await
    {
        Ok(Some(answer)) if answer.exit_code == 0 => Ok(()),
        Ok(Some(answer)) => {
            let mut output = answer.stdout;
            output.extend_from_slice(&answer.stderr);
            output.truncate(BODY_BYTES_MAX);
            Err(String::from_utf8_lossy(&output).into_owned())
        }
        Ok(None) => Err(format!(
            "command timed out: {command:?} timed out after {}s",
            timeout.as_secs()
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0);
    number.ok_or_else(|| {
        format!(
            "couldn't resolve port {port:?} of container {}",
            container.name
        )
    })
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let address = authority(host, port);
    TcpStream::connect(&address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                format!("dial tcp {address}: connect: connection refused")
            }
            _ => format!("dial tcp {address}: {error}"),
        })
}

async fn http_get(target: &ProbeTarget, get: &HTTPGetAction) -> Result<(), String> {
    let host = get
        .host
        .as_deref()
        .filter(|host| !host.is_empty())
        .unwrap_or(&target.pod_ip);
    let port = port(&target.container, &get.port)?;
    let is_tls = get
        .scheme
        .as_deref()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let path = get.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let scheme = if is_tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{path}", authority(host, port));
    let failed = |error: String| format!("Get \"{url}\": {error}");
    let mut request = http::Request::get(&path)
        .header("user-agent", "kube-probe/1.36")
        .header("accept", "*/*");
    request = request.header("connection", "close");
    let own_host = get
        .http_headers
        .iter()
        .flatten()
        .any(|header| header.name.eq_ignore_ascii_case("host"));
    if !own_host {
        request = request.header("host", authority(host, port));
    }
    for header in get.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let request = request
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let stream = connect(host, port).await.map_err(failed)?;
    let status = if is_tls {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream = connector()
            .connect(name, stream)
            .await
            .map_err(|error| failed(error.to_string()))?;
        ask(stream, request).await
    } else {
        ask(stream, request).await
    };
    match status.map_err(failed)? {
        200..400 => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn ask<T>(stream: T, request: http::Request<Empty<bytes::Bytes>>) -> Result<u16, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // The connection ends with its answer.
    let talk = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        // A long body is not waited for.
        let _ = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        Ok(status)
    };
    tokio::pin!(talk, connection);
    tokio::select! {
        status = &mut talk => status,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn connector() -> tokio_rustls::TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

/// Probes ask whether a server answers, not who it is: as upstream does, any
/// certificate will do.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

async fn grpc_check(target: &ProbeTarget, grpc: &GRPCAction) -> Result<(), String> {
    let port = u16::try_from(grpc.port).map_err(|_| format!("invalid port {}", grpc.port))?;
    let address = authority(&target.pod_ip, port);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint.map_err(|error| error.to_string())?.connect().await;
    let channel =
        channel.map_err(|error| format!("failed to connect service {address:?}: {error}"))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| error.to_string())?;
    let request = HealthCheckRequest {
        service: grpc.service.clone().unwrap_or_default(),
    };
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    match client
        .unary(tonic::Request::new(request), path, codec)
        .await
    {
        Ok(answer) if answer.get_ref().status == SERVING => Ok(()),
        Ok(_) => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        Err(status) => Err(format!(
            "rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn target(ports: Value) -> ProbeTarget {
        ProbeTarget {
            cri: Cri::new(std::path::Path::new("/nonexistent.sock")),
            container_id: "id".into(),
            container: serde_json::from_value(json!({"name": "c", "ports": ports}))
                .expect("a container"),
            pod_ip: "127.0.0.1".into(),
        }
    }

    async fn answering(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    async fn try_http(port: Value, ports: Value) -> Result<(), String> {
        let get: HTTPGetAction =
            serde_json::from_value(json!({"path": "healthz", "port": port})).expect("an action");
        let handler = Handler {
            exec: None,
            http_get: Some(&get),
            tcp_socket: None,
            grpc: None,
        };
        run_handler(&target(ports), &handler, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn a_request_succeeds_below_400() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Ok(())),
            ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", Ok(())),
            (
                "HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n",
                Err("HTTP probe failed with statuscode: 503".to_owned()),
            ),
        ] {
            let port = answering(answer).await;
            assert_eq!(try_http(json!(port), json!([])).await, expected);
            assert_eq!(
                try_http(
                    json!("web"),
                    json!([{"name": "web", "containerPort": port}])
                )
                .await,
                expected
            );
        }
        assert!(
            try_http(json!("none"), json!([]))
                .await
                .expect_err("no port")
                .contains("couldn't resolve port")
        );
    }

    #[tokio::test]
    async fn a_connection_succeeds_where_someone_listens() {
        let port = answering("").await;
        let closed = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("loopback");
            listener.local_addr().expect("bound").port()
        };
        for (port, works) in [(port, true), (closed, false)] {
            let socket: TCPSocketAction =
                serde_json::from_value(json!({"port": port})).expect("an action");
            let handler = Handler {
                exec: None,
                http_get: None,
                tcp_socket: Some(&socket),
                grpc: None,
            };
            let result = run_handler(&target(json!([])), &handler, Duration::from_secs(10)).await;
            assert_eq!(result.is_ok(), works, "{result:?}");
        }
    }
}
