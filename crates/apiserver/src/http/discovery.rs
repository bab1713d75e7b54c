//! What is served, told: discovery (one document a group, or all at once),
//! OpenAPI, the issuer of tokens, and the index of paths.

use super::handler::Call;
use super::health::plain;
use super::negotiate::{Shape, negotiate};
use crate::server::Inner;
use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Method, Response, StatusCode};
use kontiki_kinds::{Kind, Subresource};
use kontiki_object::{Status, Value};
use kontiki_schema::Schema;
use kontiki_schema::openapi::{
    self, ResourceForOpenApi, SchemaSource, SubresourceForOpenApi, V2_PROTOBUF,
};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Documents that are costly to make and asked for often.
#[derive(Default)]
pub struct Documents {
    made: Mutex<Made>,
    /// One is made at a time: who asks for the same meanwhile finds it made.
    making: tokio::sync::Mutex<()>,
}

/// The documents of one state of the catalog.
#[derive(Default)]
struct Made {
    state: u64,
    documents: BTreeMap<String, Document>,
}

/// A document, packed: there are megabytes of them, and few ask for them twice.
#[derive(Clone)]
struct Document {
    packed: Bytes,
    hash: String,
}

impl Document {
    fn new(bytes: &[u8]) -> Self {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
        let mut packed = packed.expect("writing to memory succeeds");
        packed.shrink_to_fit();
        Self {
            packed: packed.into(),
            hash: openapi::hash(bytes),
        }
    }

    fn tell(&self, call: &Call, media_type: &str, caching: &'static str) -> Response<Body> {
        tagged(call, &self.hash, || self.bytes(), media_type, caching)
    }

    fn bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        let read = ZlibDecoder::new(&self.packed[..]).read_to_end(&mut bytes);
        read.expect("what was packed here unpacks");
        bytes.into()
    }
}

impl Documents {
    async fn get(
        &self,
        inner: &Arc<Inner>,
        name: &str,
        make: impl FnOnce(&Inner) -> Vec<u8> + Send + 'static,
    ) -> Result<Document, Status> {
        if let Some(found) = self.find(inner, name) {
            return Ok(found);
        }
        let _making = self.making.lock().await;
        if let Some(found) = self.find(inner, name) {
            return Ok(found);
        }
        let state = inner.registry.catalog().state();
        let made = on_a_thread(inner.clone(), make).await?;
        let mut all = self.made.lock();
        // What was made of an older state is told once and not kept.
        if all.state == state {
            all.documents.insert(name.to_owned(), made.clone());
        }
        Ok(made)
    }

    fn find(&self, inner: &Inner, name: &str) -> Option<Document> {
        let state = inner.registry.catalog().state();
        let mut made = self.made.lock();
        if made.state != state {
            *made = Made {
                state,
                documents: BTreeMap::new(),
            };
        }
        made.documents.get(name).cloned()
    }
}

/// Makes a document on a thread of its own: that takes longer than a task should run
/// without a pause.
async fn on_a_thread(
    inner: Arc<Inner>,
    make: impl FnOnce(&Inner) -> Vec<u8> + Send + 'static,
) -> Result<Document, Status> {
    let failed = || Status::internal("the document could not be made");
    let (made, awaited) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("openapi".into())
        .spawn(move || {
            let _ = made.send(Document::new(&make(&inner)));
        })
        .map_err(|_| failed())?;
    awaited.await.map_err(|_| failed())
}

/// Answers paths that are about no resource.
pub async fn answer(call: &Call) -> Response<Body> {
    // Definitions that were acknowledged are in what is told.
    if matches!(call.info.path.get(..5), Some("/apis" | "/open")) {
        call.inner.custom.caught_up().await;
    }
    if call.parts.method != Method::GET {
        return call.encoder.status(&crate::subresource::not_allowed());
    }
    let path = call.info.path.as_str();
    let trimmed = path
        .strip_suffix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(path);
    let parts: Vec<&str> = trimmed.split('/').skip(1).collect();
    match &parts[..] {
        [""] => call
            .encoder
            .value(StatusCode::OK, &json!({"paths": paths(&call.inner)})),
        ["api"] => roots(call, true),
        ["apis"] => roots(call, false),
        ["api", "v1"] => resources(call, "", "v1"),
        ["apis", group] => group_document(call, group),
        ["apis", group, version] => resources(call, group, version),
        ["openapi", "v2"] => told(call, openapi_v2(call).await),
        ["openapi", "v3"] => told(call, openapi_index(call).await),
        ["openapi", "v3", "api", "v1"] => told(call, openapi_v3(call, "", "v1").await),
        ["openapi", "v3", "apis", group, version] => {
            told(call, openapi_v3(call, group, version).await)
        }
        [".well-known", "openid-configuration"] => openid_configuration(call),
        ["openid", "v1", "jwks"] => {
            let keys = call.inner.config.token_keys.jwks();
            let bytes = serde_json::to_vec(&keys).unwrap_or_default();
            call.encoder
                .respond(StatusCode::OK, "application/jwk-set+json", bytes.into())
        }
        ["api" | "apis", ..] => call.encoder.status(&Status::no_such_path()),
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn kinds(inner: &Inner) -> Vec<Arc<Kind>> {
    inner.registry.catalog().kinds().iter().cloned().collect()
}

/// Groups with their versions, in the order of discovery, core left out.
fn groups(inner: &Inner) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for kind in kinds(inner).iter().filter(|kind| !kind.group.is_empty()) {
        let version = kind.version.to_string();
        match groups.iter_mut().find(|(group, _)| *group == kind.group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version),
            None => groups.push((kind.group.to_string(), vec![version])),
        }
    }
    groups
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn roots(call: &Call, is_core: bool) -> Response<Body> {
    let Some(agreed) = negotiate(&call.parts.headers, |shape| {
        matches!(shape, Shape::Discovery(_))
    }) else {
        return call.encoder.status(&super::handler::not_acceptable());
    };
    if matches!(agreed.shape, Shape::Discovery(_)) {
        aggregated(call, is_core)
    } else if is_core {
        let address = call.inner.config.advertise_address.to_string();
        call.encoder.value(
            StatusCode::OK,
            &json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
            }),
        )
    } else {
        let groups = groups(&call.inner);
        let groups: Vec<Value> = groups
            .iter()
            .map(|(group, versions)| group_value(group, versions))
            .collect();
        call.encoder.value(
            StatusCode::OK,
            &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
        )
    }
}

fn group_document(call: &Call, group: &str) -> Response<Body> {
    let groups = groups(&call.inner);
    let Some((group, versions)) = groups.iter().find(|(own, _)| own == group) else {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    let mut value = group_value(group, versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    call.encoder.value(StatusCode::OK, &value)
}

fn resources(call: &Call, group: &str, version: &str) -> Response<Body> {
    let all = kinds(&call.inner);
    let own: Vec<&Arc<Kind>> = all
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    if own.is_empty() {
        let knows_group = all.iter().any(|kind| kind.group == group);
        return if knows_group {
            call.encoder.status(&Status::no_such_path())
        } else {
            plain(StatusCode::NOT_FOUND, "404 page not found\n")
        };
    }
    let resources: Vec<Value> = own.iter().flat_map(|kind| resource_values(kind)).collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    call.encoder.value(StatusCode::OK, &list)
}

fn resource_values(kind: &Kind) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural, "singularName": kind.singular,
        "namespaced": kind.namespaced, "kind": kind.kind, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        own["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        own["categories"] = json!(kind.categories);
    }
    if let Some(hash) = kind.storage_version_hash() {
        own["storageVersionHash"] = hash.into();
    }
    let mut all = vec![own];
    all.extend(kind.subresources.iter().map(|sub| {
        let mut value = json!({
            "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
            "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sub.verbs,
        });
        let is_core = sub.group.is_empty() && kind.group.is_empty();
        if !sub.version.is_empty() && !is_core {
            if !sub.group.is_empty() {
                value["group"] = sub.group.clone().into();
            }
            value["version"] = sub.version.clone().into();
        }
        value
    }));
    all
}

fn own_kind(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn discovered(kind: &Kind) -> Value {
    let sub_value = |sub: &Subresource| {
        if kind.custom.is_some() && sub.version.is_empty() {
            return json!({
                "subresource": sub.name, "responseKind": own_kind(kind), "verbs": sub.verbs,
            });
        }
        json!({
            "subresource": sub.name,
            "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
            "verbs": sub.verbs,
        })
    };
    let mut value = json!({
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if kind.custom.is_some() {
        value["responseKind"] = own_kind(kind);
    }
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        value["subresources"] = kind.subresources.iter().map(sub_value).collect();
    }
    value
}

fn aggregated(call: &Call, is_core: bool) -> Response<Body> {
    let all = kinds(&call.inner);
    let version_value = |group: &str, version: &str| {
        let own = all
            .iter()
            .filter(|kind| kind.group == group && kind.version == version);
        let resources: Vec<Value> = own.map(|kind| discovered(kind)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let items: Vec<Value> = if is_core {
        vec![json!({"metadata": {}, "versions": [version_value("", "v1")]})]
    } else {
        let groups = groups(&call.inner);
        let groups = groups.iter().map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| version_value(group, version))
                .collect();
            json!({"metadata": {"name": group}, "versions": versions})
        });
        groups.collect()
    };
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items,
    });
    let bytes = serde_json::to_vec(&list).unwrap_or_default();
    let hash = openapi::hash(&bytes);
    tagged(call, &hash, || bytes.into(), AGGREGATED, "public")
}

/// A document with its tag; 304 if the client has it.
fn tagged(
    call: &Call,
    hash: &str,
    bytes: impl FnOnce() -> Bytes,
    media_type: &str,
    caching: &'static str,
) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let is_known = call
        .parts
        .headers
        .get(IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        call.encoder
            .respond(StatusCode::NOT_MODIFIED, media_type, Bytes::new())
    } else {
        call.encoder.respond(StatusCode::OK, media_type, bytes())
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn for_openapi(kind: &Kind) -> Option<ResourceForOpenApi> {
    let texts =
        |verbs: &[std::borrow::Cow<'static, str>]| verbs.iter().map(ToString::to_string).collect();
    let schema = match &kind.custom {
        Some(custom) => SchemaSource::Custom {
            schema: custom.schema().clone(),
            list_kind: kind.list_kind.to_string(),
        },
        None => SchemaSource::BuiltIn(Schema::get().type_by_name(&kind.schema)?),
    };
    let subresources = kind.subresources.iter().map(|sub| {
        let own = sub.version.is_empty();
        SubresourceForOpenApi {
            name: sub.name.to_string(),
            group: if own {
                kind.group.to_string()
            } else {
                sub.group.to_string()
            },
            version: if own {
                kind.version.to_string()
            } else {
                sub.version.to_string()
            },
            kind: sub.kind.to_string(),
            verbs: if crate::connect::is_stream(&sub.name) {
                vec!["connect".to_owned()]
            } else {
                texts(&sub.verbs)
            },
        }
    });
    Some(ResourceForOpenApi {
        group: kind.group.to_string(),
        version: kind.version.to_string(),
        resource: kind.plural.to_string(),
        kind: kind.kind.to_string(),
        namespaced: kind.namespaced,
        verbs: texts(&kind.verbs),
        schema,
        subresources: subresources.collect(),
    })
}

fn described(inner: &Inner) -> Vec<ResourceForOpenApi> {
    kinds(inner)
        .iter()
        .filter_map(|kind| for_openapi(kind))
        .collect()
}

/// Whether the client can read JSON, or a document of this name in protobuf.
fn reads(call: &Call, protobuf: &str) -> bool {
    let mut accepts = call
        .parts
        .headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.split(';').next().unwrap_or_default().trim())
        .filter(|value| !value.is_empty())
        .peekable();
    accepts.peek().is_none()
        || accepts.any(|value| {
            matches!(value, "application/json" | "application/*" | "*/*")
                || (!protobuf.is_empty() && value.contains(protobuf))
        })
}

fn told(call: &Call, answer: Result<Response<Body>, Status>) -> Response<Body> {
    answer.unwrap_or_else(|status| call.encoder.status(&status))
}

/// A bare code, with what the answer depends on.
fn bare(code: StatusCode, vary: &[&'static str]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    for name in vary {
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static(name));
    }
    response
}

const SPEC_V2: &str = "proto-openapi.spec.v2";

async fn openapi_v2(call: &Call) -> Result<Response<Body>, Status> {
    if !reads(call, SPEC_V2) {
        let vary = &["Accept-Encoding", "Accept"];
        return Ok(bare(StatusCode::NOT_ACCEPTABLE, vary));
    }
    let accepts = call.parts.headers.get_all(ACCEPT).iter();
    let wants_protobuf = accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(SPEC_V2));
    let inner = &call.inner;
    if wants_protobuf {
        let render = |inner: &Inner| openapi::render_v2_protobuf(&described(inner));
        let document = inner.documents.get(inner, "v2.protobuf", render).await?;
        return Ok(document.tell(call, V2_PROTOBUF, "no-cache, private"));
    }
    let render = |inner: &Inner| openapi::render_v2(&described(inner));
    let document = inner.documents.get(inner, "v2", render).await?;
    let json = "application/json";
    Ok(document.tell(call, json, "no-cache, private"))
}

async fn document_v3(inner: &Arc<Inner>, group: &str, version: &str) -> Result<Document, Status> {
    let name = format!("v3/{group}/{version}");
    let (group, version) = (group.to_owned(), version.to_owned());
    let render = move |inner: &Inner| {
        let own: Vec<ResourceForOpenApi> = described(inner)
            .into_iter()
            .filter(|resource| resource.group == group && resource.version == version)
            .collect();
        openapi::render_v3(&own, &group, &version)
    };
    inner.documents.get(inner, &name, render).await
}

async fn openapi_v3(call: &Call, group: &str, version: &str) -> Result<Response<Body>, Status> {
    let catalog = call.inner.registry.catalog();
    if !catalog.has_group_version(group, version) {
        return Ok(bare(StatusCode::NOT_FOUND, &[]));
    }
    if !reads(call, "") {
        return Ok(bare(StatusCode::NOT_ACCEPTABLE, &["Accept"]));
    }
    let document = document_v3(&call.inner, group, version).await?;
    // Whoever asks by the right hash may keep the answer for ever.
    let caching = if call.query.get("hash") == document.hash {
        "public, immutable"
    } else {
        "no-cache, private"
    };
    Ok(document.tell(call, "application/json", caching))
}

async fn openapi_index(call: &Call) -> Result<Response<Body>, Status> {
    let inner = &call.inner;
    let core = document_v3(inner, "", "v1").await?.hash;
    let mut documents = vec![("api/v1".to_owned(), core)];
    for (group, versions) in groups(inner) {
        for version in versions {
            let hash = document_v3(inner, &group, &version).await?.hash;
            documents.push((format!("apis/{group}/{version}"), hash));
        }
    }
    let pairs = documents.iter();
    let bytes = openapi::render_index(pairs.map(|(path, hash)| (path.as_str(), hash.as_str())));
    let hash = openapi::hash(&bytes);
    let json = "application/json";
    Ok(tagged(
        call,
        &hash,
        || bytes.into(),
        json,
        "no-cache, private",
    ))
}

fn openid_configuration(call: &Call) -> Response<Body> {
    let config = &call.inner.config;
    let jwks = format!("https://{}/openid/v1/jwks", config.advertise_address);
    let document = kontiki_auth::token::openid_configuration(
        config.token_issuer.issuer(),
        &jwks,
        &config.token_keys,
    );
    let bytes = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = call
        .encoder
        .respond(StatusCode::OK, "application/json", bytes.into());
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn paths(inner: &Arc<Inner>) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, versions) in groups(inner) {
        paths.extend(
            versions
                .iter()
                .map(|version| format!("/apis/{group}/{version}")),
        );
        paths.push(format!("/apis/{group}"));
    }
    paths.extend(super::health::check_paths(inner));
    paths.sort();
    paths
}
