//! `/exec`, `/attach` and `/portForward`: the runtime's streaming server,
//! reached through the kubelet byte by byte.

use super::{HttpError, Shared, look_up, running};
use crate::context::Context;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use kontiki_streaming::{Outcome, is_upgrade, splice, upgrade};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The streaming server is on this machine: it answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(10);

/// The parameters of a request, each as often as it stands there.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: Option<String>) -> Self {
        let query = query.unwrap_or_default();
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            });
        Self(pairs.collect())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Under its short name as the kubelet knows it, or its long one as the API does.
    fn flag(&self, short: &str, long: &str) -> bool {
        let mut values = self
            .0
            .iter()
            .filter(|(known, _)| known == short || known == long);
        values.any(|(_, value)| matches!(value.as_str(), "1" | "t" | "true" | "True" | "TRUE"))
    }
}

/// A part of a query: `+` stands for a space, `%` for a byte in hexadecimal.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let ahead = rest.clone();
                let digits: Vec<u8> = ahead.take(2).collect();
                match std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                {
                    Some(value) if digits.len() == 2 => {
                        bytes.push(value);
                        rest.nth(1);
                    }
                    _ => bytes.push(b'%'),
                }
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

type Container = Path<(String, String, String)>;
type ContainerByUid = Path<(String, String, String, String)>;

pub async fn exec(
    context: Shared,
    Path((namespace, pod, container)): Container,
    query: RawQuery,
    request: Request,
) -> Response {
    respond(exec_in(context.0, [namespace, pod, container], query, request).await)
}

pub async fn exec_uid(
    context: Shared,
    Path((namespace, pod, _, container)): ContainerByUid,
    query: RawQuery,
    request: Request,
) -> Response {
    respond(exec_in(context.0, [namespace, pod, container], query, request).await)
}

pub async fn attach(
    context: Shared,
    Path((namespace, pod, container)): Container,
    query: RawQuery,
    request: Request,
) -> Response {
    respond(attach_to(context.0, [namespace, pod, container], query, request).await)
}

pub async fn attach_uid(
    context: Shared,
    Path((namespace, pod, _, container)): ContainerByUid,
    query: RawQuery,
    request: Request,
) -> Response {
    respond(attach_to(context.0, [namespace, pod, container], query, request).await)
}

pub async fn port_forward(
    State(context): Shared,
    Path((namespace, pod)): Path<(String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    respond(forward(context, &namespace, &pod, query, request).await)
}

pub async fn port_forward_uid(
    State(context): Shared,
    Path((namespace, pod, _)): Container,
    query: RawQuery,
    request: Request,
) -> Response {
    respond(forward(context, &namespace, &pod, query, request).await)
}

fn respond(result: Result<Response, HttpError>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

async fn exec_in(
    context: Arc<Context>,
    [namespace, pod, container]: [String; 3],
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, HttpError> {
    let parameters = Parameters::parse(query);
    let (_, observed) = look_up(&context, &namespace, &pod).await?;
    let run = running(&observed, &container)?;
    let tty = parameters.flag("tty", "tty");
    let asked = ExecRequest {
        container_id: run.id.clone(),
        cmd: parameters.all("command"),
        tty,
        stdin: parameters.flag("input", "stdin"),
        stdout: parameters.flag("output", "stdout"),
        stderr: !tty && parameters.flag("error", "stderr"),
    };
    if asked.cmd.is_empty() {
        return Err(HttpError::bad_request("you must specify a command"));
    }
    let url = context.cri.exec(asked).await?.url;
    pass_through(&url, request).await
}

async fn attach_to(
    context: Arc<Context>,
    [namespace, pod, container]: [String; 3],
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, HttpError> {
    let parameters = Parameters::parse(query);
    let (spec, observed) = look_up(&context, &namespace, &pod).await?;
    let run = running(&observed, &container)?;
    // The container's own word decides about a terminal.
    let tty = crate::fields::container(&spec, &container).and_then(|container| container.tty)
        == Some(true);
    let asked = AttachRequest {
        container_id: run.id.clone(),
        tty,
        stdin: parameters.flag("input", "stdin"),
        stdout: parameters.flag("output", "stdout"),
        stderr: !tty && parameters.flag("error", "stderr"),
    };
    let url = context.cri.attach(asked).await?.url;
    pass_through(&url, request).await
}

async fn forward(
    context: Arc<Context>,
    namespace: &str,
    pod: &str,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, HttpError> {
    let parameters = Parameters::parse(query);
    let (_, observed) = look_up(&context, namespace, pod).await?;
    let sandbox = observed.sandbox().filter(|sandbox| sandbox.ready);
    let sandbox =
        sandbox.ok_or_else(|| HttpError::not_found(format!("pod {pod:?} is not running")))?;
    let ports = parameters
        .all("port")
        .into_iter()
        .chain(parameters.all("ports"));
    let port = ports.flat_map(|ports| {
        ports
            .split(',')
            .filter_map(|port| port.parse().ok())
            .collect::<Vec<i32>>()
    });
    let asked = PortForwardRequest {
        pod_sandbox_id: sandbox.id.clone(),
        port: port.collect(),
    };
    let url = context.cri.port_forward(asked).await?.url;
    pass_through(&url, request).await
}

/// Asks the streaming server at `url` for the same upgrade, and joins the two
/// connections once both have switched.
async fn pass_through(url: &str, mut request: Request) -> Result<Response, HttpError> {
    if !is_upgrade(request.headers()) {
        return Err(HttpError::bad_request(
            "unable to upgrade: missing upgrade headers in request",
        ));
    }
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        HttpError::new(
            StatusCode::BAD_GATEWAY,
            format!("{what} the runtime's streaming server at {url}: {error}"),
        )
    };
    let uri: Uri = url
        .parse()
        .map_err(|error| failed("bad address of", &error))?;
    let authority = uri
        .authority()
        .ok_or_else(|| failed("bad address of", &"it has no host"))?
        .to_string();
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(&authority)).await;
    let stream = stream
        .map_err(|error| failed("connecting to", &error))?
        .map_err(|error| failed("connecting to", &error))?;
    let asked = upgrade_request(request.method(), &uri, &authority, request.headers());
    let outcome = upgrade(stream, asked.map_err(|error| failed("asking", &error))?).await;
    match outcome.map_err(|error| failed("asking", &error))? {
        Outcome::Refused(answer) => Ok(answer.map(Body::from)),
        Outcome::Switched(answer, io) => {
            let ours = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                match ours.await {
                    // How a session ends is told inside of it.
                    Ok(ours) => drop(splice(TokioIo::new(ours), io).await),
                    Err(error) => {
                        tracing::debug!(%error, "a user left before the protocols were switched")
                    }
                }
            });
            Ok(answer.map(|()| Body::empty()))
        }
    }
}

fn upgrade_request(
    method: &Method,
    uri: &Uri,
    authority: &str,
    headers: &HeaderMap,
) -> Result<http::Request<()>, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut asked = http::Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority);
    // What is between user and API server stays there: credentials above all.
    for (name, value) in headers {
        let passes = *name == header::CONNECTION
            || *name == header::UPGRADE
            || name.as_str().starts_with("x-stream-protocol-version")
            || name.as_str().starts_with("sec-websocket-");
        if passes {
            asked = asked.header(name, value);
        }
    }
    asked.body(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_repeat_and_are_decoded() {
        let parameters = Parameters::parse(Some(
            "command=sh&command=-c&command=echo+a%2Bb%zz&stdin=true&output=1&tty".into(),
        ));
        assert_eq!(parameters.all("command"), ["sh", "-c", "echo a+b%zz"]);
        assert!(parameters.flag("input", "stdin"));
        assert!(parameters.flag("output", "stdout"));
        assert!(!parameters.flag("tty", "tty"));
    }

    #[test]
    fn credentials_do_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ] {
            headers.insert(name, value.parse().expect("valid"));
        }
        let uri = "http://127.0.0.1:1234/exec/token".parse().expect("valid");
        let asked =
            upgrade_request(&Method::POST, &uri, "127.0.0.1:1234", &headers).expect("valid");
        assert_eq!(asked.uri(), "/exec/token");
        assert!(!asked.headers().contains_key("authorization"));
        assert!(is_upgrade(asked.headers()));
    }
}
