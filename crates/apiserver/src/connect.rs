//! Requests that are passed on to a node: logs, exec, attach, port-forward, proxy.

use crate::admission::Operation;
use crate::dial::DialTarget;
use crate::http::Call;
use crate::registry::Target;
use ::http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use ::http::{Method, Request, Response, Uri};
use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::IntoResponse as _;
use hyper_util::rt::TokioIo;
use kontiki_kinds::Tree;
use kontiki_object::{Object, SharedObject, Status, Value};
use kontiki_streaming::websocket::{
    BridgeOptions, ChannelProtocol, EXEC_PROTOCOLS, PORT_FORWARD_PROTOCOLS, TUNNEL_PROTOCOL,
    bridge_port_forward, bridge_websocket, tunnel_websocket,
};
use kontiki_streaming::{Outcome, is_upgrade, splice, upgrade};
use serde_json::json;

/// Subresources that are streams.
#[must_use]
pub fn is_stream(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward" | "proxy")
}

/// Whether a request is passed on to a node.
#[must_use]
pub fn is_connect(target: &Target) -> bool {
    target.kind.subresource(&target.subresource).is_some()
        && (is_stream(&target.subresource) || target.subresource == "log")
}

/// The switches of exec and attach.
const STREAMS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];

/// What a node shall do.
struct Errand {
    node: String,
    target: DialTarget,
    path_and_query: String,
}

/// Passes a request on.
///
/// # Errors
/// 404, 400 for what cannot be done now, 500 if the node cannot be reached.
pub async fn answer(
    call: &mut Call,
    target: &Target,
    body: Body,
) -> Result<Response<Body>, Status> {
    let Some(errand) = errand(call, target).await? else {
        // The log of a pod that is nowhere yet is empty.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = ::http::StatusCode::NO_CONTENT;
        return Ok(response);
    };
    if target.subresource != "log" {
        let (context, mut options) = (&call.context, options(call, target));
        let registry = &call.inner.registry;
        registry
            .admit(context, target, Operation::Connect, &mut options, false)
            .await?;
    }
    if !is_upgrade(&call.parts.headers) {
        if matches!(&*target.subresource, "exec" | "attach" | "portforward") {
            return Err(Status::bad_request("Upgrade request required"));
        }
        return forward(call, &errand, body).await;
    }
    let is_websocket = call
        .parts
        .headers
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    match (&*target.subresource, is_websocket) {
        ("exec" | "attach", true) => command_websocket(call, errand).await,
        ("portforward", true) => ports_websocket(call, errand).await,
        _ => pass_upgrade(call, errand).await,
    }
}

/// The options of a connection as an object, for admission.
fn options(call: &Call, target: &Target) -> Tree {
    let word = match &*target.kind.plural {
        "nodes" => "Node",
        "services" => "Service",
        _ => "Pod",
    };
    let (kind, switches, lists): (_, &[&str], &[&str]) = match &*target.subresource {
        "exec" => ("ExecOptions", &STREAMS, &["command"]),
        "attach" => ("AttachOptions", &STREAMS, &[]),
        "portforward" => ("PortForwardOptions", &[], &["ports"]),
        _ => ("ProxyOptions", &[], &[]),
    };
    let mut options = json!({"apiVersion": "v1", "kind": format!("{word}{kind}")});
    for name in switches.iter().filter(|name| call.query.is_set(name)) {
        options[*name] = true.into();
    }
    for name in lists {
        let given: Vec<&str> = call.query.all(name).collect();
        options[*name] = match *name {
            "ports" => given
                .iter()
                .filter_map(|port| port.parse::<i64>().ok())
                .collect(),
            _ => given.into(),
        };
    }
    let container = call.query.get("container");
    if !container.is_empty() && !switches.is_empty() {
        options["container"] = container.into();
    }
    if kind == "ProxyOptions" {
        options["path"] = call.info.rest.clone().into();
    }
    match options {
        Value::Object(tree) => tree,
        _ => Tree::new(),
    }
}

/// What is to be done; nothing for the log of a pod that is nowhere yet.
async fn errand(call: &Call, target: &Target) -> Result<Option<Errand>, Status> {
    let mut whole = Target::object(&target.kind, &target.namespace, &target.name);
    if target.subresource == "proxy" && target.kind.plural != "nodes" {
        split_name(&target.name).1.clone_into(&mut whole.name);
    }
    let object = call.inner.registry.get(&whole, "").await?;
    let query = call
        .parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    match (&*target.kind.plural, &*target.subresource) {
        ("nodes", _) => Ok(Some(Errand {
            node: object.name().to_owned(),
            target: DialTarget::Kubelet,
            path_and_query: format!("/{}{query}", call.info.rest),
        })),
        ("pods", "proxy") => pod_proxy(call, &object, &target.name, &query).map(Some),
        ("services", _) => service_proxy(call, target, &query).map(Some),
        ("pods", verb) => pod_errand(call, &object, verb, &query),
        _ => Err(Status::no_such_path()),
    }
}

fn node_of(pod: &Object) -> Result<String, Status> {
    pod.str_at(&["spec", "nodeName"])
        .map(str::to_owned)
        .ok_or_else(|| {
            Status::bad_request(format!("pod {} does not have a host assigned", pod.name()))
        })
}

fn containers(pod: &Object) -> Vec<String> {
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .filter_map(|list| pod.get(&["spec", list])?.as_array())
        .flatten()
        .filter_map(|container| container["name"].as_str().map(str::to_owned))
        .collect()
}

/// The container that is meant; the default if none is named.
fn container(call: &Call, pod: &Object) -> Result<String, Status> {
    let all = containers(pod);
    let name = call.query.get("container");
    if !name.is_empty() {
        if all.iter().any(|own| own == name) {
            return Ok(name.to_owned());
        }
        return Err(Status::bad_request(format!(
            "container {name} is not valid for pod {}",
            pod.name()
        )));
    }
    let main = pod.get(&["spec", "containers"]).and_then(Value::as_array);
    let names = |list: Option<&Vec<Value>>| -> Vec<String> {
        let all = list.into_iter().flatten();
        all.filter_map(|container| container["name"].as_str().map(str::to_owned))
            .collect()
    };
    let main = names(main);
    if let [one] = &main[..] {
        return Ok(one.clone());
    }
    let mut choice = names(
        pod.get(&["spec", "initContainers"])
            .and_then(Value::as_array),
    );
    choice.extend(main);
    choice.extend(names(
        pod.get(&["spec", "ephemeralContainers"])
            .and_then(Value::as_array),
    ));
    if choice.is_empty() {
        return Err(Status::bad_request(format!(
            "a container name must be specified for pod {}",
            pod.name()
        )));
    }
    Err(Status::bad_request(format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        pod.name(),
        choice.join(" ")
    )))
}

fn pod_errand(
    call: &Call,
    pod: &Object,
    verb: &str,
    query: &str,
) -> Result<Option<Errand>, Status> {
    let (namespace, name) = (pod.namespace(), pod.name());
    let path = match verb {
        "portforward" => format!("/portForward/{namespace}/{name}{query}"),
        verb => {
            let container = container(call, pod)?;
            let word = if verb == "log" { "containerLogs" } else { verb };
            let query = kubelet_query(query);
            format!("/{word}/{namespace}/{name}/{container}{query}")
        }
    };
    if verb == "log" && pod.str_at(&["spec", "nodeName"]).is_none() {
        return Ok(None);
    }
    let node = node_of(pod)?;
    let nodes = call.inner.registry.catalog().find("", "v1", "nodes");
    if nodes.is_some_and(|nodes| call.inner.registry.cached(&nodes, "", &node).is_none()) {
        // Upstream looks the node up on the pod's behalf, and says so.
        return Err(Status::not_found("", "pods", &node));
    }
    Ok(Some(Errand {
        node,
        target: DialTarget::Kubelet,
        path_and_query: path,
    }))
}

/// The kubelet calls the switches of exec and attach otherwise.
fn kubelet_query(query: &str) -> String {
    let pairs = query
        .trim_start_matches('?')
        .split('&')
        .filter(|pair| !pair.is_empty());
    let pairs: Vec<String> = pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_on = !matches!(value, "" | "0" | "false");
            match name {
                "stdin" => is_on.then(|| "input=1".to_owned()),
                "stdout" => is_on.then(|| "output=1".to_owned()),
                "stderr" => is_on.then(|| "error=1".to_owned()),
                "tty" => is_on.then(|| "tty=1".to_owned()),
                "container" => None,
                _ => Some(pair.to_owned()),
            }
        })
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

/// `scheme:name:port`, each part but the name optional.
fn split_name(name: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        [scheme, name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", name, ""),
    }
}

fn pod_proxy(call: &Call, pod: &Object, name: &str, query: &str) -> Result<Errand, Status> {
    let (_, _, port) = split_name(name);
    let first = pod
        .get(&["spec", "containers"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .find_map(|port| port["containerPort"].as_u64());
    let port = if port.is_empty() {
        first.unwrap_or(80).to_string()
    } else {
        port.to_owned()
    };
    let address = pod
        .str_at(&["status", "podIP"])
        .ok_or_else(|| Status::unavailable(format!("pod {} has no address", pod.name())))?;
    Ok(Errand {
        node: node_of(pod)?,
        target: DialTarget::Tcp(host_port(address, &port)),
        path_and_query: format!("/{}{query}", call.info.rest),
    })
}

fn host_port(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// A ready endpoint of a service, through the node that it is on.
fn service_proxy(call: &Call, target: &Target, query: &str) -> Result<Errand, Status> {
    let (_, name, port) = split_name(&target.name);
    let unavailable = || {
        Status::unavailable(format!(
            "no endpoints available for service {:?}",
            target.name
        ))
    };
    let registry = &call.inner.registry;
    let kind = registry
        .catalog()
        .find("discovery.k8s.io", "v1", "endpointslices");
    let slices: Vec<SharedObject> = kind
        .map(|kind| registry.cached_list(&kind, &target.namespace))
        .unwrap_or_default();
    let own = slices
        .iter()
        .filter(|slice| slice.label("kubernetes.io/service-name") == Some(name));
    for slice in own {
        let ports = slice.get(&["ports"]).and_then(Value::as_array);
        let number = ports.into_iter().flatten().find_map(|entry| {
            let number = entry["port"].as_u64()?;
            let fits = port.is_empty() || entry["name"] == port || number.to_string() == port;
            fits.then_some(number)
        });
        let endpoints = slice.get(&["endpoints"]).and_then(Value::as_array);
        let ready = endpoints.into_iter().flatten().find_map(|endpoint| {
            let is_ready = endpoint["conditions"]["ready"].as_bool().unwrap_or(true);
            let node = endpoint["nodeName"].as_str().filter(|_| is_ready)?;
            Some((
                node.to_owned(),
                endpoint["addresses"][0].as_str()?.to_owned(),
            ))
        });
        if let (Some(number), Some((node, address))) = (number, ready) {
            return Ok(Errand {
                node,
                target: DialTarget::Tcp(host_port(&address, &number.to_string())),
                path_and_query: format!("/{}{query}", call.info.rest),
            });
        }
    }
    Err(unavailable())
}

async fn dial(call: &Call, errand: &Errand) -> Result<Box<dyn crate::AsyncReadWrite>, Status> {
    let dialer = &call.inner.config.dialer;
    let dialed = dialer.dial(&errand.node, errand.target.clone()).await;
    dialed.map_err(|error| Status::internal(format!("error dialing backend: {error}")))
}

const DROPPED: [HeaderName; 4] = [
    HeaderName::from_static("authorization"),
    HeaderName::from_static("impersonate-user"),
    HeaderName::from_static("impersonate-group"),
    HeaderName::from_static("impersonate-uid"),
];

/// The request as the node gets it: credentials stay here.
fn request(call: &Call, errand: &Errand) -> Result<Request<()>, Status> {
    let mut request = Request::new(());
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = errand
        .path_and_query
        .parse::<Uri>()
        .map_err(|error| Status::bad_request(error.to_string()))?;
    *request.headers_mut() = call.parts.headers.clone();
    for name in DROPPED {
        request.headers_mut().remove(name);
    }
    let host = match &errand.target {
        DialTarget::Kubelet => errand.node.as_str(),
        DialTarget::Tcp(address) => address,
    };
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}

async fn forward(call: &Call, errand: &Errand, body: Body) -> Result<Response<Body>, Status> {
    let stream = dial(call, errand).await?;
    let failed = |error: hyper::Error| {
        Status::unavailable(format!("error trying to reach service: {error}"))
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(connection);
    let request = request(call, errand)?.map(|()| body);
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(response.map(Body::new))
}

/// Switches protocols with the node; `headers` are what the node shall see.
async fn switch(call: &Call, errand: &Errand, protocols: Option<&str>) -> Result<Outcome, Status> {
    let mut request = request(call, errand)?;
    if let Some(protocol) = protocols {
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.clear();
        headers.insert(HOST, HeaderValue::from_static("kubelet"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        if let Ok(value) = HeaderValue::from_str(protocol) {
            headers.insert(HeaderName::from_static("x-stream-protocol-version"), value);
        }
    }
    let stream = dial(call, errand).await?;
    upgrade(stream, request)
        .await
        .map_err(|error| Status::internal(format!("error dialing backend: {error}")))
}

fn refusal(response: Response<bytes::Bytes>) -> Response<Body> {
    response.map(Body::from)
}

/// SPDY (or whatever else was asked for) passes through as bytes.
async fn pass_upgrade(call: &mut Call, errand: Errand) -> Result<Response<Body>, Status> {
    let (head, node) = match switch(call, &errand, None).await? {
        Outcome::Switched(head, node) => (head, node),
        Outcome::Refused(response) => return Ok(refusal(response)),
    };
    let mut request = Request::new(());
    *request.extensions_mut() = std::mem::take(&mut call.parts.extensions);
    let client = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match client.await {
            Ok(client) => {
                if let Err(error) = splice(TokioIo::new(client), node).await {
                    tracing::debug!(%error, "a stream ended with an error");
                }
            }
            Err(error) => tracing::debug!(%error, "a client did not switch protocols"),
        }
    });
    Ok(head.map(|()| Body::empty()))
}

async fn websocket(
    call: &mut Call,
    protocols: &[&'static str],
) -> Result<WebSocketUpgrade, Status> {
    let upgrade = WebSocketUpgrade::from_request_parts(&mut call.parts, &())
        .await
        .map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(upgrade.protocols(protocols.to_vec()))
}

fn selected(upgrade: &WebSocketUpgrade) -> Option<String> {
    let protocol = upgrade.selected_protocol()?;
    protocol.to_str().ok().map(str::to_owned)
}

async fn command_websocket(call: &mut Call, errand: Errand) -> Result<Response<Body>, Status> {
    let node = match switch(call, &errand, Some("v4.channel.k8s.io")).await? {
        Outcome::Switched(_, node) => node,
        Outcome::Refused(response) => return Ok(refusal(response)),
    };
    let options = BridgeOptions {
        stdin: call.query.is_set("stdin"),
        stdout: call.query.is_set("stdout"),
        stderr: call.query.is_set("stderr") && !call.query.is_set("tty"),
        tty: call.query.is_set("tty"),
    };
    let upgrade = websocket(call, &EXEC_PROTOCOLS).await?;
    let name = selected(&upgrade);
    let protocol = ChannelProtocol::named(name.as_deref())
        .ok_or_else(|| Status::bad_request("no streaming protocol is known to both sides"))?;
    Ok(upgrade
        .on_upgrade(move |websocket| async move {
            if let Err(error) = bridge_websocket(websocket, protocol, node, options).await {
                tracing::debug!(%error, "a command's stream ended with an error");
            }
        })
        .into_response())
}

async fn ports_websocket(call: &mut Call, errand: Errand) -> Result<Response<Body>, Status> {
    let node = match switch(call, &errand, Some("portforward.k8s.io")).await? {
        Outcome::Switched(_, node) => node,
        Outcome::Refused(response) => return Ok(refusal(response)),
    };
    let ports: Vec<u16> = call
        .query
        .all("ports")
        .flat_map(|ports| ports.split(','))
        .filter_map(|port| port.parse().ok())
        .collect();
    let offered = [
        TUNNEL_PROTOCOL,
        PORT_FORWARD_PROTOCOLS[0],
        PORT_FORWARD_PROTOCOLS[1],
    ];
    let upgrade = websocket(call, &offered).await?;
    let name = selected(&upgrade);
    if name.as_deref() == Some(TUNNEL_PROTOCOL) {
        return Ok(upgrade
            .on_upgrade(move |websocket| async move {
                if let Err(error) = tunnel_websocket(websocket, node).await {
                    tracing::debug!(%error, "a port-forward ended with an error");
                }
            })
            .into_response());
    }
    let protocol = ChannelProtocol::named(name.as_deref())
        .ok_or_else(|| Status::bad_request("no streaming protocol is known to both sides"))?;
    Ok(upgrade
        .on_upgrade(move |websocket| async move {
            if let Err(error) = bridge_port_forward(websocket, protocol, node, &ports).await {
                tracing::debug!(%error, "a port-forward ended with an error");
            }
        })
        .into_response())
}
