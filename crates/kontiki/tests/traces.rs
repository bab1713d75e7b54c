//! One trace follows a request from HTTP through Raft to apply.

use kontiki_client::resources::CONFIG_MAPS;
use kontiki_client::{Client, HttpsApi, HttpsConfig};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

/// A collector that hands every span to the test.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|spans| spans.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let _ = self.0.send(span);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (String, mpsc::UnboundedReceiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let (sender, spans) = mpsc::unbounded_channel();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector(sender)))
        .serve_with_incoming(incoming);
    tokio::spawn(server);
    (endpoint, spans)
}

/// A server process; ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kontiki(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    command.args(args);
    command
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Starts a server that exports every trace; returns a client for it.
async fn start(dir: &Path, endpoint: &str) -> (Server, Client) {
    let pki = dir.join("data/pki").to_string_lossy().into_owned();
    let kubeconfig = dir.join("kubeconfig");
    let api_port = free_port().await;
    std::fs::create_dir(dir.join("data")).expect("a folder");
    let url = format!("https://127.0.0.1:{api_port}");
    let output = kubeconfig.to_string_lossy().into_owned();
    for args in [
        &["pki", "init", "--dir", &pki][..],
        &[
            "kubeconfig",
            "admin",
            "--pki-dir",
            &pki,
            "--server",
            &url,
            "--output",
            &output,
        ],
    ] {
        let done = kontiki(args).stdout(Stdio::null()).status();
        assert!(done.expect("runs").success(), "{args:?}");
    }
    let config = dir.join("server.yaml");
    let contents = json!({
        "name": "one",
        "dataDir": dir.join("data"),
        "servers": [{"name": "one", "address": "127.0.0.1"}],
        "listenAddress": "127.0.0.1",
        "apiPort": api_port,
        "etcdPort": free_port().await,
        "peerPort": free_port().await,
        "components": [],
        "telemetry": {"otlpEndpoint": endpoint},
    });
    std::fs::write(&config, contents.to_string()).expect("writes");
    let log = std::fs::File::create(dir.join("log")).expect("a file");
    let server = kontiki(&["server", "--config", &config.to_string_lossy()])
        .stderr(log)
        .spawn()
        .expect("starts");
    let config = HttpsConfig::from_kubeconfig_file(&kubeconfig).expect("a kubeconfig");
    let api = HttpsApi::new(config).expect("credentials");
    (Server(server), Client::new(Arc::new(api), "traces"))
}

/// The name of a span's parent, as far as it was seen.
fn parent<'a>(spans: &'a [Span], span: &Span) -> Option<&'a Span> {
    spans
        .iter()
        .find(|other| other.trace_id == span.trace_id && other.span_id == span.parent_span_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_follows_a_write_from_http_through_raft_to_apply() {
    let dir = tempfile::tempdir().expect("a folder");
    let (endpoint, mut arriving) = collector().await;
    let (mut server, client) = start(dir.path(), &endpoint).await;
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let config_maps = client.namespaced(&CONFIG_MAPS, "default");
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "traced"},
        "data": {"secret": "never-in-a-trace"},
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while let Err(status) = config_maps.create(object.clone()).await {
        assert!(server.0.try_wait().expect("ours").is_none(), "{}", log());
        assert!(
            tokio::time::Instant::now() < deadline,
            "{status}\n{}",
            log()
        );
    }
    let mut spans = Vec::new();
    let found = async {
        loop {
            spans.push(arriving.recv().await.expect("the collector runs"));
            let applied = spans.iter().filter(|span| span.name == "raft apply");
            let mut lines = applied.filter_map(|apply| {
                let propose = parent(&spans, apply)?;
                Some((propose, parent(&spans, propose)?))
            });
            let of_the_write = |request: &Span| {
                let path = request.attributes.iter().find(|pair| pair.key == "path");
                format!("{path:?}").contains("/namespaces/default/configmaps")
            };
            if lines.any(|(propose, request)| {
                propose.name == "raft propose" && request.name == "request" && of_the_write(request)
            }) {
                return;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(found.is_ok(), "only {names:?} arrived\n{}", log());
    let everything = format!("{spans:?}");
    assert!(
        !everything.contains("never-in-a-trace"),
        "a body is no business of a trace"
    );
}
