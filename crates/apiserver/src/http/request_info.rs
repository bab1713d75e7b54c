//! What a method and a path mean.

use super::query::{Query, decode};
use http::Method;

/// A request as authorization and dispatch see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource; else about [`RequestInfo::path`].
    pub is_resource: bool,
    /// The verb.
    pub verb: String,
    /// The path.
    pub path: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Object name.
    pub name: String,
    /// What follows the subresource (for proxies).
    pub rest: String,
    /// Whether the path has the deprecated `watch` part.
    pub is_legacy_watch: bool,
    /// Whether the path ends after the deprecated `watch` part.
    pub names_nothing: bool,
}

fn verb_of(method: &Method, has_name: bool, is_watch: bool) -> String {
    match method.as_str() {
        "GET" | "HEAD" if is_watch => "watch",
        "GET" | "HEAD" if has_name => "get",
        "GET" | "HEAD" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if has_name => "delete",
        "DELETE" => "deletecollection",
        other => return other.to_lowercase(),
    }
    .to_owned()
}

impl RequestInfo {
    /// Reads a method, a path and a query.
    #[must_use]
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let other = Self {
            verb: method.as_str().to_lowercase(),
            path: path.to_owned(),
            ..Self::default()
        };
        let trimmed = path.trim_matches('/');
        let parts: Vec<String> = trimmed.split('/').map(|part| decode(part, false)).collect();
        let mut parts: &[String] = &parts;
        let (group, version) = match parts {
            [api, version, rest @ ..] if api == "api" && !rest.is_empty() => {
                parts = rest;
                (String::new(), version.clone())
            }
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => {
                parts = rest;
                (group.clone(), version.clone())
            }
            _ => return other,
        };
        let mut info = Self {
            is_resource: true,
            path: path.to_owned(),
            group,
            version,
            ..Self::default()
        };
        if parts.first().is_some_and(|part| part == "watch") {
            info.is_legacy_watch = true;
            parts = &parts[1..];
            info.names_nothing = parts.is_empty();
        }
        match parts {
            [namespaces, namespace, rest @ ..]
                if namespaces == "namespaces"
                    && !rest.is_empty()
                    && !matches!(rest[0].as_str(), "status" | "finalize") =>
            {
                info.namespace.clone_from(namespace);
                parts = rest;
            }
            [namespaces, namespace, ..] if namespaces == "namespaces" => {
                info.namespace.clone_from(namespace);
            }
            _ => {}
        }
        let at = |index: usize| parts.get(index).cloned().unwrap_or_default();
        info.resource = at(0);
        info.name = at(1);
        info.subresource = at(2);
        info.rest = parts
            .get(3..)
            .map(|rest| rest.join("/"))
            .unwrap_or_default();
        let is_watch = info.is_legacy_watch
            || (info.subresource.is_empty() && *method == Method::GET && query.is_set("watch"));
        info.verb = verb_of(method, !info.name.is_empty(), is_watch);
        info
    }

    /// Whether the request stays open for long: watches and streams.
    #[must_use]
    pub fn is_long_running(&self) -> bool {
        self.is_resource
            && (self.verb == "watch"
                || matches!(
                    &*self.subresource,
                    "log" | "exec" | "attach" | "portforward" | "proxy"
                ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        type Row = (&'static str, &'static str, [&'static str; 7]);
        let rows: [Row; 9] = [
            (
                "GET",
                "/api/v1/pods",
                ["list", "", "v1", "", "pods", "", ""],
            ),
            (
                "GET",
                "/api/v1/pods?watch=1",
                ["watch", "", "v1", "", "pods", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/log",
                ["get", "", "v1", "a", "pods", "b", "log"],
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/status",
                ["update", "", "v1", "a", "namespaces", "a", "status"],
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                ["get", "", "v1", "a", "namespaces", "a", ""],
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                ["deletecollection", "apps", "v1", "a", "deployments", "", ""],
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/a/deployments",
                ["create", "apps", "v1", "a", "deployments", "", ""],
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                ["patch", "apps", "v1", "a", "deployments", "d", "scale"],
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/a/pods/b",
                ["watch", "", "v1", "a", "pods", "b", ""],
            ),
        ];
        for (method, url, expected) in rows {
            let (path, query) = url
                .split_once('?')
                .map_or((url, None), |(p, q)| (p, Some(q)));
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let info = RequestInfo::parse(&method, path, &Query::parse(query));
            let got = [
                &*info.verb,
                &info.group,
                &info.version,
                &info.namespace,
                &info.resource,
                &info.name,
                &info.subresource,
            ];
            assert_eq!(got, expected, "{url}");
        }
        let version = RequestInfo::parse(&Method::GET, "/version", &Query::default());
        assert!(!version.is_resource);
    }
}
