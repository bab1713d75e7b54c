//! What an API server does with a kubelet on behalf of a user.

use axum::Router;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use kontiki_object::Value;
use kontiki_streaming::spdy::{Session, Stream};
use kontiki_streaming::{Outcome, upgrade};
use tokio::io::DuplexStream;

pub struct User {
    router: Router,
}

fn header(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

impl User {
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// A connection of its own, as through a tunnel.
    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(self.router.clone());
        let server = hyper::server::conn::http1::Builder::new();
        tokio::spawn(
            server
                .serve_connection(TokioIo::new(far), service)
                .with_upgrades(),
        );
        near
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect()))
                .await
                .expect("HTTP");
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", "node")
            .body(Empty::<bytes::Bytes>::new());
        let response = sender
            .send_request(request.expect("valid"))
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn session(&self, path: &str, protocol: &str) -> Session {
        let request = http::Request::post(path)
            .header("host", "node")
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", protocol)
            .body(())
            .expect("valid");
        match upgrade(self.connect(), request).await.expect("an answer") {
            Outcome::Switched(answer, io) => {
                assert_eq!(answer.headers()["x-stream-protocol-version"], protocol);
                Session::client(io)
            }
            Outcome::Refused(answer) => panic!("{path}: {answer:?}"),
        }
    }

    /// Runs a command: its output and its status.
    pub async fn exec(
        &self,
        pod: &str,
        container: &str,
        command: &[&str],
        input: &str,
    ) -> (String, Value) {
        let encode = |word: &&str| {
            word.bytes()
                .map(|byte| format!("%{byte:02x}"))
                .collect::<String>()
        };
        let command: Vec<String> = command
            .iter()
            .map(|word| format!("command={}", encode(word)))
            .collect();
        let path = format!(
            "/exec/default/{pod}/{container}?{}&stdin=true&stdout=true",
            command.join("&")
        );
        let session = self.session(&path, "v4.channel.k8s.io").await;
        let open = async |kind: &str| -> Stream {
            let mut stream = session
                .open(vec![header("streamtype", kind)])
                .await
                .expect("opened");
            stream.replied().await.expect("taken");
            stream
        };
        let (mut error, _error) = open("error").await.split();
        let (_stdin, mut stdin) = open("stdin").await.split();
        let (mut stdout, _stdout) = open("stdout").await.split();
        stdin.send(input.to_owned().into()).await.expect("sent");
        stdin.finish().await.expect("sent");
        let output = stdout.read_all(1 << 20).await.expect("output");
        let status = error.read_all(1 << 20).await.expect("a status");
        (
            String::from_utf8_lossy(&output).into_owned(),
            serde_json::from_slice(&status).expect("JSON"),
        )
    }

    /// Says something to a port of a pod: what it answers.
    pub async fn forward(&self, pod: &str, port: u16, text: &str) -> String {
        let session = self
            .session(&format!("/portForward/default/{pod}"), "portforward.k8s.io")
            .await;
        let headers = |kind: &str| {
            vec![
                header("streamtype", kind),
                header("port", port),
                header("requestid", 0),
            ]
        };
        let (_error_reader, mut error) = session
            .open(headers("error"))
            .await
            .expect("opened")
            .split();
        error.finish().await.expect("sent");
        let (mut reader, mut writer) = session.open(headers("data")).await.expect("opened").split();
        writer.send(text.to_owned().into()).await.expect("sent");
        let answer = reader.read_all(1 << 20).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}
