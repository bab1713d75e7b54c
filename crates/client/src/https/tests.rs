use super::request::{plan, watch_plan};
use super::response::{LINE_BYTES_MAX, Lines, decode, event, refusal};
use super::*;
use crate::resources::{DEPLOYMENTS, PODS};
use crate::{
    DeleteOptions, ListParams, PatchKind, Preconditions, PropagationPolicy, Verb, WatchEvent,
    WriteOptions,
};
use futures::StreamExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use kontiki_object::Value;
use kontiki_pki::kubeconfig::Kubeconfig;
use kontiki_pki::tls::{ALPN_HTTP, ClientAuth, Reloading};
use kontiki_pki::{Authority as Ca, Profile, ServerNames, tls};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

fn request(verb: Verb) -> ApiRequest {
    ApiRequest {
        verb,
        resource: PODS,
        namespace: Some("default".into()),
        name: None,
        subresource: None,
        body: None,
        list: ListParams::default(),
        write: WriteOptions::default(),
        delete: DeleteOptions::default(),
    }
}

#[test]
fn requests_are_put_as_the_api_conventions_say() {
    let mut list = request(Verb::List);
    list.list = ListParams {
        label_selector: "app in (a,b)".into(),
        limit: 5,
        ..ListParams::default()
    };
    let list = plan(&list).expect("valid");
    assert_eq!(
        list.path_and_query,
        "/api/v1/namespaces/default/pods?labelSelector=app%20in%20%28a%2Cb%29&limit=5"
    );
    assert!(list.only_reads && list.body.is_empty());

    let mut apply = request(Verb::Patch(PatchKind::Apply));
    apply.resource = DEPLOYMENTS;
    apply.name = Some("web".into());
    apply.subresource = Some("status".into());
    apply.write = WriteOptions {
        field_manager: "me".into(),
        force: true,
        dry_run: true,
    };
    apply.body = Some(json!({"a": 1}));
    let apply = plan(&apply).expect("valid");
    let path = "/apis/apps/v1/namespaces/default/deployments/web/status?fieldManager=me&force=true&dryRun=All";
    assert_eq!(apply.path_and_query, path);
    assert_eq!(
        (apply.method.as_str(), apply.content_type),
        ("PATCH", Some("application/apply-patch+yaml"))
    );
    assert!(!apply.only_reads);
    assert_eq!(&apply.body[..], br#"{"a":1}"#);

    let mut delete = request(Verb::Delete);
    delete.name = Some("p".into());
    delete.delete = DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Preconditions {
            uid: Some("u".into()),
            resource_version: None,
        },
        propagation_policy: Some(PropagationPolicy::Foreground),
    };
    let body: Value = serde_json::from_slice(&plan(&delete).expect("valid").body).expect("JSON");
    assert_eq!(
        body,
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u"}, "propagationPolicy": "Foreground"})
    );

    let watch = WatchParams {
        resource: PODS,
        send_initial_events: true,
        ..WatchParams::default()
    };
    assert_eq!(
        watch_plan(&watch).expect("valid").path_and_query,
        "/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
}

#[test]
fn a_name_cannot_reach_another_resource() {
    for name in ["../secrets", "..", "a/b", "a%2Fb", "a?b", "", "a#b"] {
        let mut get = request(Verb::Get);
        get.name = Some(name.into());
        assert_eq!(plan(&get).expect_err(name).code, 400);
    }
}

#[test]
fn items_of_a_list_learn_what_they_are() {
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "continue": "c"},
        "items": [{"metadata": {"name": "a"}}]});
    let ApiResponse::List {
        items,
        resource_version,
        continue_token,
    } = decode(&serde_json::to_vec(&list).expect("encodes")).expect("a list")
    else {
        panic!("not a list")
    };
    assert_eq!(
        (items[0].kind(), items[0].api_version(), items[0].name()),
        ("Pod", "v1", "a")
    );
    assert_eq!(
        (resource_version.as_str(), continue_token.as_str()),
        ("7", "c")
    );
    assert!(decode(b"[]").is_err());
    assert!(decode(b"<html>").is_err());
}

#[test]
fn a_refusal_is_a_status_whoever_wrote_it() {
    let own = serde_json::to_vec(&Status::not_found("", "pods", "a")).expect("encodes");
    assert!(refusal(StatusCode::NOT_FOUND, &own).is_not_found());
    let foreign = refusal(StatusCode::BAD_GATEWAY, b"<html>no</html>");
    assert_eq!(
        (foreign.code, foreign.message.as_str()),
        (502, "<html>no</html>")
    );
    assert_eq!(
        refusal(StatusCode::SERVICE_UNAVAILABLE, b"").reason,
        "ServiceUnavailable"
    );
}

#[test]
fn lines_are_the_same_however_the_bytes_arrive() {
    let text = b"first\n\nsecond line\nthird\nrest";
    for size in 1..text.len() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in text.chunks(size) {
            lines.push(chunk);
            while let Some(line) = lines.next().expect("short") {
                found.push(String::from_utf8(line.to_vec()).expect("text"));
            }
        }
        assert_eq!(
            found,
            ["first", "second line", "third"],
            "in chunks of {size}"
        );
    }
    let mut lines = Lines::default();
    lines.push(&vec![b'x'; LINE_BYTES_MAX + 1]);
    assert!(lines.next().is_err());
}

#[test]
fn watch_events_are_told_apart() {
    let line = |kind: &str, object: Value| {
        serde_json::to_vec(&json!({"type": kind, "object": object})).expect("JSON")
    };
    let pod = json!({"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "3"}});
    assert!(
        matches!(event(&line("ADDED", pod.clone())), Ok(WatchEvent::Added(object)) if object.name() == "a")
    );
    assert!(matches!(
        event(&line("DELETED", pod)),
        Ok(WatchEvent::Deleted(_))
    ));
    let mark = json!({"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}});
    assert!(matches!(
        event(&line("BOOKMARK", mark)),
        Ok(WatchEvent::Bookmark { resource_version, initial_events_end: true }) if resource_version == "9"
    ));
    let gone = serde_json::to_value(Status::expired("too old")).expect("JSON");
    assert!(
        event(&line("ERROR", gone))
            .expect_err("an error")
            .is_expired()
    );
    assert!(event(&line("OTHER", json!({}))).is_err());
    assert!(event(b"{").is_err());
}

#[test]
fn addresses_that_are_not_https_are_refused() {
    for wrong in ["http://a:1", "a:1", "https://a/path", "https://a?x", ""] {
        assert!(
            matches!(authority(wrong), Err(HttpsError::Address(_))),
            "{wrong}"
        );
    }
    assert_eq!(authority("https://a:1/").expect("valid"), "a:1");
    assert_eq!(
        authority("https://[::1]:6443").expect("valid"),
        "[::1]:6443"
    );
}

/// What a test server does with a request.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers `200` with an object, or with a watch of two events.
    Serves,
    /// Answers `503`.
    Refuses,
    /// Closes the connection once it has read the request.
    Breaks,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ca() -> Ca {
    Ca::create("test", jiff::Timestamp::now()).expect("an authority")
}

async fn server(ca: &Ca, manner: Manner, alpn: &[&[u8]]) -> Server {
    let names = ServerNames {
        hosts: vec!["127.0.0.1".into()],
        cluster_domain: "cluster.local".into(),
        service_addresses: Vec::new(),
    };
    let credentials = ca
        .issue(&Profile::server_serving(&names), jiff::Timestamp::now())
        .expect("issues");
    let reloading = Reloading::new(&credentials).expect("valid");
    let config = tls::server_config(
        reloading,
        &[ca.certificate_pem()],
        ClientAuth::Optional,
        alpn,
    )
    .expect("valid");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let record = record.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                answer(request, manner, record.clone())
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Server {
        address,
        seen,
        task,
    }
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
    record: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .map(|value| value.to_str().expect("text").to_owned());
    let line = format!(
        "{:?} {} {} {}",
        request.version(),
        request.method(),
        request.uri().path(),
        token.as_deref().unwrap_or("-")
    );
    record.lock().expect("no panic").push(line);
    let watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    match manner {
        Manner::Breaks => Err(std::io::Error::other("broken on purpose")),
        Manner::Refuses => {
            let body = serde_json::to_vec(&Status::unavailable("no leader")).expect("encodes");
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(response)
        }
        Manner::Serves if watch => {
            let line = |kind: &str| json!({"type": kind, "object": {"kind": "Pod", "metadata": {"name": "a"}}});
            Ok(Response::new(Full::from(format!(
                "{}\n{}\n",
                line("ADDED"),
                line("MODIFIED")
            ))))
        }
        Manner::Serves => {
            let body = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}});
            Ok(Response::new(Full::from(body.to_string())))
        }
    }
}

fn api(ca: &Ca, servers: &[SocketAddr]) -> HttpsApi {
    let tls = tls::client_config(&[ca.certificate_pem()], None, &ALPN_HTTP).expect("valid");
    let servers = servers
        .iter()
        .map(|address| format!("https://{address}"))
        .collect();
    let mut config = HttpsConfig::new(servers, Arc::new(tls));
    config.bearer_token = Some("abc".into());
    HttpsApi::new(config).expect("valid")
}

fn count(server: &Server) -> usize {
    server.seen.lock().expect("no panic").len()
}

async fn get(api: &HttpsApi) -> Result<String, Status> {
    let mut get = request(Verb::Get);
    get.name = Some("a".into());
    Ok(api.call(get).await?.into_object()?.name().to_owned())
}

async fn create(api: &HttpsApi) -> Result<String, Status> {
    let mut create = request(Verb::Create);
    create.body = Some(json!({"kind": "Pod"}));
    Ok(api.call(create).await?.into_object()?.name().to_owned())
}

#[tokio::test]
async fn calls_and_watches_work_over_both_versions_of_http() {
    let ca = ca();
    for (alpn, version) in [(&ALPN_HTTP[..], "HTTP/2.0"), (&ALPN_HTTP[1..], "HTTP/1.1")] {
        let server = server(&ca, Manner::Serves, alpn).await;
        let api = api(&ca, &[server.address]);
        assert_eq!(get(&api).await.expect("answers"), "a");
        let watch = WatchParams {
            resource: PODS,
            ..WatchParams::default()
        };
        let events: Vec<_> = api.watch(watch).await.expect("begins").collect().await;
        assert_eq!(events.len(), 2);
        assert!(events.iter().all(Result::is_ok));
        let seen = server.seen.lock().expect("no panic").clone();
        assert_eq!(
            seen[0],
            format!("{version} GET /api/v1/namespaces/default/pods/a Bearer abc")
        );
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_left_for_the_next_one_for_good() {
    let ca = ca();
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = gone.local_addr().expect("bound");
    drop(gone);
    let live = server(&ca, Manner::Serves, &ALPN_HTTP).await;
    let api = api(&ca, &[address, live.address]);
    // Nothing was sent, so even a write may go on.
    assert_eq!(create(&api).await.expect("answers"), "a");
    assert_eq!(api.preferred.load(Ordering::Relaxed), 1);
    assert_eq!(get(&api).await.expect("answers"), "a");
    assert_eq!(count(&live), 2);
}

#[tokio::test]
async fn what_only_reads_goes_on_where_a_write_is_in_doubt() {
    let ca = ca();
    for manner in [Manner::Breaks, Manner::Refuses] {
        let (bad, good) = (
            server(&ca, manner, &ALPN_HTTP).await,
            server(&ca, Manner::Serves, &ALPN_HTTP).await,
        );
        let servers = [bad.address, good.address];
        assert_eq!(get(&api(&ca, &servers)).await.expect("answers"), "a");
        let (before, after) = (
            count(&good),
            create(&api(&ca, &servers)).await.expect_err("in doubt"),
        );
        assert_eq!(
            count(&good),
            before,
            "a write that a server has seen is not sent to another"
        );
        let code = if matches!(manner, Manner::Breaks) {
            504
        } else {
            503
        };
        assert_eq!(after.code, code, "{after}");
    }
}

#[tokio::test]
async fn without_any_server_the_error_tells_which_and_why() {
    let ca = ca();
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = gone.local_addr().expect("bound");
    drop(gone);
    let status = get(&api(&ca, &[address])).await.expect_err("nobody there");
    assert_eq!(status.code, 503);
    assert!(status.message.contains(&address.to_string()), "{status}");
    assert!(status.message.contains("refused"), "{status}");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_asked() {
    let (ours, theirs) = (ca(), ca());
    let server = server(&theirs, Manner::Serves, &ALPN_HTTP).await;
    assert_eq!(
        get(&api(&ours, &[server.address]))
            .await
            .expect_err("not trusted")
            .code,
        503
    );
    assert_eq!(count(&server), 0);
}

#[tokio::test]
async fn a_kubeconfig_leads_to_the_server() {
    let ca = ca();
    let server = server(&ca, Manner::Serves, &ALPN_HTTP).await;
    let credentials = ca
        .issue(&Profile::admin(), jiff::Timestamp::now())
        .expect("issues");
    let url = format!("https://{}", server.address);
    let file = Kubeconfig::new("kontiki", &url, ca.certificate_pem(), "admin", &credentials);
    let api = HttpsApi::new(HttpsConfig::from_kubeconfig(&file).expect("complete")).expect("valid");
    assert_eq!(get(&api).await.expect("answers"), "a");
    let mut without = file;
    without.current_context = "other".into();
    let error = HttpsConfig::from_kubeconfig(&without).expect_err("no such context");
    assert!(error.to_string().contains("other"), "{error}");
}
