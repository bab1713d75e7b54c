//! `/livez`, `/readyz`, `/healthz`, `/metrics`, `/version`.

mod checks;

use super::handler::Call;
use crate::server::{HealthCheck, Inner};
use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use prometheus_client::encoding::text;
use serde_json::json;
use std::sync::Arc;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// Whether a path is about health.
pub fn is_health(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz"].iter().any(|root| {
        path == *root
            || path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// The paths of single checks.
pub fn check_paths(inner: &Arc<Inner>) -> Vec<String> {
    let roots = ["healthz", "livez", "readyz"].into_iter();
    roots
        .flat_map(|root| {
            let checks = checks::checks(inner, root).into_iter();
            checks.map(move |(name, _)| format!("/{root}/{name}"))
        })
        .collect()
}

/// A plain text.
pub fn plain(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// Single checks answer without a word about sniffing, as upstream's do.
fn unsniffed(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().remove(NOSNIFF);
    response
}

/// Answers the paths of this module; `None` for others.
pub async fn answer(call: &Call) -> Option<Response<Body>> {
    let path = call.info.path.as_str();
    match path {
        "/metrics" => return Some(metrics(&call.inner)),
        "/version" | "/version/" if call.parts.method != http::Method::GET => {
            return Some(call.encoder.status(&crate::subresource::not_allowed()));
        }
        "/version" | "/version/" => return Some(version(call)),
        _ if !is_health(path) => return None,
        _ => {}
    }
    let mut parts = path[1..].splitn(2, '/');
    let root = parts.next().unwrap_or_default();
    let one = parts.next();
    let checks = checks::checks(&call.inner, root);
    if let Some(name) = one {
        let Some((_, check)) = checks.iter().find(|(own, _)| own == name) else {
            return Some(plain(StatusCode::NOT_FOUND, "404 page not found\n"));
        };
        return Some(match check() {
            Ok(()) => unsniffed(plain(StatusCode::OK, "ok")),
            Err(error) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("internal server error: {error}\n"),
            ),
        });
    }
    Some(all(call, root, &checks))
}

fn all(call: &Call, root: &str, checks: &[(String, HealthCheck)]) -> Response<Body> {
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for (name, check) in checks {
        if excluded.contains(&name.as_str()) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check() {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(error) => {
                tracing::warn!(check = %name, %error, "a health check failed");
                failed = true;
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    let unknown: Vec<&str> = excluded
        .into_iter()
        .filter(|name| !checks.iter().any(|(own, _)| own == name))
        .collect();
    if !unknown.is_empty() {
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {unknown:?}\n"
        ));
    }
    if failed {
        lines.push_str(&format!("{root} check failed\n"));
        return plain(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if call.query.find("verbose").is_some() {
        lines.push_str(&format!("{root} check passed\n"));
        return plain(StatusCode::OK, lines);
    }
    plain(StatusCode::OK, "ok")
}

fn version(call: &Call) -> Response<Body> {
    let version = &call.inner.config.version;
    call.encoder.value(
        StatusCode::OK,
        &json!({
            "major": "1",
            "minor": "36",
            "emulationMajor": "1",
            "emulationMinor": "36",
            "minCompatibilityMajor": "1",
            "minCompatibilityMinor": "35",
            "gitVersion": format!("v1.36.2+kontiki.{version}"),
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, architecture()),
        }),
    )
}

/// The architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn metrics(inner: &Inner) -> Response<Body> {
    let mut body = String::new();
    if text::encode(&mut body, &inner.metrics_registry.read()).is_err() {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written\n",
        );
    }
    for (prefix, count) in inner.registry.cache().object_counts() {
        let resource = prefix
            .trim_start_matches("/registry/")
            .trim_end_matches('/');
        let line = format!("apiserver_storage_objects{{resource=\"{resource}\"}} {count}\n");
        let end = body.len() - "# EOF\n".len().min(body.len());
        body.insert_str(end, &line);
    }
    let mut response = plain(StatusCode::OK, body);
    let media_type =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
