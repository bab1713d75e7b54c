//! One request from its first byte to its answer.

use super::encode::{Encoder, accepts_gzip};
use super::negotiate::{Agreed, MEDIA_TYPES, negotiate};
use super::query::Query;
use super::request_info::RequestInfo;
use super::{discovery, health, resource};
use crate::dispatch;
use crate::error;
use crate::metrics::{DurationLabels, InflightLabels, RequestLabels};
use crate::registry::RequestContext;
use crate::server::Inner;
use crate::subresource::not_allowed;
use axum::body::Body;
use futures::FutureExt as _;
use http::header::{HeaderName, HeaderValue, USER_AGENT, WARNING, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kontiki_auth::PeerCertificate;
use kontiki_auth::authz::Attributes;
use kontiki_auth::impersonation;
use kontiki_auth::user::UserInfo;
use kontiki_object::{FieldSelector, LabelSelector, Status};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tracing::Instrument as _;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// One request, authenticated.
pub struct Call {
    /// The server.
    pub inner: Arc<Inner>,
    /// The head of the request.
    pub parts: Parts,
    /// The query.
    pub query: Query,
    /// What it means.
    pub info: RequestInfo,
    /// Who asks.
    pub context: RequestContext,
    /// How to write the answer.
    pub encoder: Encoder,
}

impl Call {
    /// The user agent.
    pub fn user_agent(&self) -> &str {
        let agent = self.parts.headers.get(USER_AGENT);
        agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default()
    }
}

/// Holds a place among the requests in flight.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(counter: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let before = counter.fetch_add(1, Ordering::AcqRel);
        let place = Self(counter.clone());
        (before < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Marks a response whose body goes on until somebody ends it.
#[derive(Clone, Copy, Debug)]
pub struct LongRunning;

/// Answers one request. A panic becomes a 500 and ends nothing else.
pub async fn handle(inner: Arc<Inner>, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    let audit_id = parts
        .headers
        .get(&AUDIT_ID)
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok());
    let span = tracing::info_span!(
        "request",
        method = %parts.method, path = %parts.uri.path(), code = tracing::field::Empty
    );
    if let Some(parent) = parts.headers.get("traceparent") {
        kontiki_telemetry::set_parent(&span, parent.to_str().unwrap_or_default());
    }
    let plain = plain_encoder(&parts, &query);
    let work = answer(inner.clone(), parts, body, query, info.clone());
    let mut response = match AssertUnwindSafe(work.instrument(span.clone()))
        .catch_unwind()
        .await
    {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(path = %info.path, "a request handler panicked");
            plain.status(&Status::internal(
                "this request caused apiserver to panic. Look in the logs for details",
            ))
        }
    };
    if let Some(id) = audit_id {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    if info.is_long_running() {
        response.extensions_mut().insert(LongRunning);
    }
    span.record("code", response.status().as_u16());
    observe(&inner, &info, response.status().as_u16(), started);
    response
}

fn observe(inner: &Inner, info: &RequestInfo, code: u16, started: Instant) {
    let labels = duration_labels(inner, info);
    inner
        .metrics
        .request_total
        .get_or_create(&RequestLabels {
            verb: labels.verb.clone(),
            group: labels.group.clone(),
            version: labels.version.clone(),
            resource: labels.resource.clone(),
            subresource: labels.subresource.clone(),
            scope: labels.scope.clone(),
            code,
        })
        .inc();
    if !info.is_long_running() {
        let histogram = inner
            .metrics
            .request_duration_seconds
            .get_or_create(&labels);
        histogram.observe(started.elapsed().as_secs_f64());
    }
}

/// Labels from names that are served only: what callers invent is not remembered.
fn duration_labels(inner: &Inner, info: &RequestInfo) -> DurationLabels {
    if !info.is_resource {
        return DurationLabels {
            verb: info.verb.to_uppercase(),
            ..DurationLabels::default()
        };
    }
    let catalog = inner.registry.catalog();
    if catalog
        .find(&info.group, &info.version, &info.resource)
        .is_none()
    {
        return DurationLabels {
            verb: "other".to_owned(),
            ..DurationLabels::default()
        };
    }
    let verb = match &*info.verb {
        "create" => "POST",
        "update" => "PUT",
        "deletecollection" => "DELETECOLLECTION",
        other => &other.to_uppercase(),
    };
    let scope = match (&*info.name, &*info.namespace) {
        ("", "") => "cluster",
        ("", _) => "namespace",
        _ => "resource",
    };
    DurationLabels {
        verb: verb.to_owned(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        scope: scope.to_owned(),
    }
}

/// How errors are told before more is known.
fn plain_encoder(parts: &Parts, query: &Query) -> Encoder {
    let agreed = negotiate(&parts.headers, |_| true).unwrap_or_default();
    Encoder {
        agreed: Agreed {
            format: agreed.format,
            ..Agreed::default()
        },
        pretty: query.is_set("pretty"),
        gzip: accepts_gzip(&parts.headers),
        include_object: query.get("includeObject").to_owned(),
    }
}

async fn answer(
    inner: Arc<Inner>,
    parts: Parts,
    body: Body,
    query: Query,
    info: RequestInfo,
) -> Response<Body> {
    let encoder = plain_encoder(&parts, &query);
    if info.names_nothing {
        let uri = parts.uri.to_string();
        let text = format!(
            "Internal Server Error: {uri:?}: failed to create RequestInfo: unable to determine kind and namespace from url, {uri}\n"
        );
        return health::plain(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    let is_known = matches!(
        parts.method,
        Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    );
    let is_health_head = parts.method == Method::HEAD && health::is_health(&info.path);
    if !is_known && !is_health_head {
        return encoder.status(&not_allowed());
    }
    let user = match authenticate(&inner, &parts, &info, &query).await {
        Ok(user) => Arc::new(user),
        Err(status) => return refusal(&encoder, &status),
    };
    let attributes = attributes(&user, &info, &query);
    if let Err(status) = dispatch::authorize(&inner, &attributes).await {
        return refusal(&encoder, &status);
    }
    let Some(_place) = place(&inner, &info, &user) else {
        let status = Status::too_many_requests("Too many requests, please try again later.", 1);
        return encoder.status(&status);
    };
    let call = Call {
        context: RequestContext::new(user, Timestamp::now()),
        inner: inner.clone(),
        parts,
        query,
        info,
        encoder,
    };
    if call.info.is_long_running() {
        return dispatch_call(call, body).await;
    }
    let encoder = call.encoder.clone();
    let timeout = inner.config.request_timeout;
    match tokio::time::timeout(timeout, dispatch_call(call, body)).await {
        Ok(response) => response,
        Err(_) => encoder.status(&Status::timeout(
            "request did not complete within the allotted timeout",
            0,
        )),
    }
}

/// What the authorizer refused, about the request or about an impersonation:
/// names in the answer come from the request, so nobody shall guess its type.
fn refusal(encoder: &Encoder, status: &Status) -> Response<Body> {
    let mut response = encoder.status(status);
    if status.code == 403 {
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

async fn authenticate(
    inner: &Inner,
    parts: &Parts,
    info: &RequestInfo,
    query: &Query,
) -> Result<UserInfo, Status> {
    let peer = parts.extensions.get::<Arc<PeerCertificate>>();
    let found = inner
        .config
        .authenticator
        .authenticate(parts, peer.map(AsRef::as_ref))
        .await;
    let found = found.map_err(|error| {
        tracing::debug!(%error, "credentials were not accepted");
        error::from_authn(&error)
    })?;
    let user = found.ok_or_else(Status::unauthorized)?.user;
    let user = user.with_authenticated_group();
    match impersonation::requested(&parts.headers)? {
        None => Ok(user),
        Some(claimed) => {
            let actor = Arc::new(user);
            let request = attributes(&actor, info, query);
            let authorizer = &*inner.config.authorizer;
            impersonation::impersonate(&actor, claimed, &request, authorizer).await
        }
    }
}

fn attributes(user: &Arc<UserInfo>, info: &RequestInfo, query: &Query) -> Attributes {
    let mut name = info.name.clone();
    let selects = matches!(&*info.verb, "list" | "watch" | "deletecollection");
    let field_selector = selects
        .then(|| FieldSelector::parse(query.get("fieldSelector")).ok())
        .flatten();
    if name.is_empty()
        && info.is_resource
        && let Some(selector) = &field_selector
        && let Some(only) = selector.requires("metadata.name")
    {
        only.clone_into(&mut name);
    }
    Attributes {
        user: user.clone(),
        verb: info.verb.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name,
        is_resource: info.is_resource,
        path: info.path.clone(),
        field_selector: field_selector.filter(|selector| !selector.is_everything()),
        label_selector: selects
            .then(|| LabelSelector::parse(query.get("labelSelector")).ok())
            .flatten()
            .filter(|selector| !selector.is_everything()),
    }
}

/// A place among the requests in flight; privileged users and long requests need none.
fn place(inner: &Inner, info: &RequestInfo, user: &UserInfo) -> Option<Option<Place>> {
    if info.is_long_running() || user.is_in(kontiki_auth::user::MASTERS) {
        return Some(None);
    }
    let reads = matches!(&*info.verb, "get" | "list" | "watch");
    let (counter, max, word) = if reads {
        (
            &inner.reading,
            inner.config.max_requests_inflight,
            "readOnly",
        )
    } else {
        (
            &inner.writing,
            inner.config.max_mutating_requests_inflight,
            "mutating",
        )
    };
    let place = Place::take(counter, max)?;
    let labels = InflightLabels {
        request_kind: word.to_owned(),
    };
    let now = i64::try_from(counter.load(Ordering::Acquire)).unwrap_or(i64::MAX);
    inner
        .metrics
        .current_inflight_requests
        .get_or_create(&labels)
        .set(now);
    Some(Some(place))
}

async fn dispatch_call(call: Call, body: Body) -> Response<Body> {
    if !call.info.is_resource {
        return match health::answer(&call).await {
            Some(response) => response,
            None => discovery::answer(&call).await,
        };
    }
    let encoder = call.encoder.clone();
    let (mut response, warnings) = resource::answer(call, body)
        .await
        .unwrap_or_else(|(status, warnings)| (encoder.status(&status), warnings));
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// 406 for lists and objects.
pub fn not_acceptable() -> Status {
    error::not_acceptable(&MEDIA_TYPES)
}
