//! Requests as HTTP: a pure translation.

use crate::{
    ApiRequest, DeleteOptions, ListParams, PropagationPolicy, Verb, WatchParams, WriteOptions,
};
use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use kontiki_object::{Map, Status, Value};

/// What goes to whichever server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) method: Method,
    pub(super) path_and_query: PathAndQuery,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
    /// Whether it may be sent twice.
    pub(super) only_reads: bool,
}

/// A request's plan.
pub(super) fn plan(request: &ApiRequest) -> Result<Plan, Status> {
    let (method, content_type) = match request.verb {
        Verb::Get | Verb::List => (Method::GET, None),
        Verb::Create => (Method::POST, Some("application/json")),
        Verb::Update => (Method::PUT, Some("application/json")),
        Verb::Patch(kind) => (Method::PATCH, Some(kind.content_type())),
        Verb::Delete | Verb::DeleteCollection => (Method::DELETE, Some("application/json")),
    };
    let mut query = Query::default();
    match request.verb {
        Verb::Get => {}
        Verb::List | Verb::DeleteCollection => list(&mut query, &request.list),
        Verb::Create | Verb::Update | Verb::Patch(_) => write(&mut query, &request.write),
        Verb::Delete => query.flag("dryRun", "All", request.write.dry_run),
    }
    let body = match request.verb {
        Verb::Get | Verb::List => Bytes::new(),
        Verb::Delete | Verb::DeleteCollection => encode(&delete_options(&request.delete)),
        Verb::Create | Verb::Update | Verb::Patch(_) => {
            encode(request.body.as_ref().unwrap_or(&Value::Null))
        }
    };
    let path = path(
        &request.resource,
        request.namespace.as_deref(),
        request.name.as_deref(),
        request.subresource.as_deref(),
    )?;
    Ok(Plan {
        path_and_query: query.onto(path)?,
        content_type,
        body,
        only_reads: method == Method::GET,
        method,
    })
}

/// A watch's plan.
pub(super) fn watch_plan(params: &WatchParams) -> Result<Plan, Status> {
    let mut query = Query::default();
    query.flag("watch", "true", true);
    query.text("labelSelector", &params.label_selector);
    query.text("fieldSelector", &params.field_selector);
    query.text("resourceVersion", &params.resource_version);
    query.flag("sendInitialEvents", "true", params.send_initial_events);
    query.flag(
        "resourceVersionMatch",
        "NotOlderThan",
        params.send_initial_events,
    );
    query.flag(
        "allowWatchBookmarks",
        "true",
        params.bookmarks || params.send_initial_events,
    );
    if params.timeout_seconds > 0 {
        query.text("timeoutSeconds", &params.timeout_seconds.to_string());
    }
    Ok(Plan {
        method: Method::GET,
        path_and_query: query.onto(path(
            &params.resource,
            params.namespace.as_deref(),
            None,
            None,
        )?)?,
        content_type: None,
        body: Bytes::new(),
        only_reads: true,
    })
}

fn path(
    resource: &kontiki_object::GroupVersionResource,
    namespace: Option<&str>,
    name: Option<&str>,
    subresource: Option<&str>,
) -> Result<String, Status> {
    for part in [namespace, name].into_iter().flatten() {
        // Such a name would change which resource the path means.
        if part.is_empty() || part == "." || part == ".." || part.contains(['/', '%', '?', '#']) {
            return Err(Status::bad_request(format!("{part:?} is not a valid name")));
        }
    }
    let mut escaped = String::new();
    for character in resource.path(namespace, name, subresource).chars() {
        match character {
            '/' => escaped.push('/'),
            _ => escape(character, &mut escaped),
        }
    }
    Ok(escaped)
}

fn list(query: &mut Query, list: &ListParams) {
    query.text("labelSelector", &list.label_selector);
    query.text("fieldSelector", &list.field_selector);
    if list.limit > 0 {
        query.text("limit", &list.limit.to_string());
    }
    query.text("continue", &list.continue_token);
    query.text("resourceVersion", &list.resource_version);
    query.text("resourceVersionMatch", &list.resource_version_match);
}

fn write(query: &mut Query, write: &WriteOptions) {
    query.text("fieldManager", &write.field_manager);
    query.flag("force", "true", write.force);
    query.flag("dryRun", "All", write.dry_run);
}

fn delete_options(options: &DeleteOptions) -> Value {
    let mut tree = Map::new();
    tree.insert("kind".into(), "DeleteOptions".into());
    tree.insert("apiVersion".into(), "v1".into());
    if let Some(seconds) = options.grace_period_seconds {
        tree.insert("gracePeriodSeconds".into(), seconds.into());
    }
    let mut preconditions = Map::new();
    if let Some(uid) = &options.preconditions.uid {
        preconditions.insert("uid".into(), uid.as_str().into());
    }
    if let Some(version) = &options.preconditions.resource_version {
        preconditions.insert("resourceVersion".into(), version.as_str().into());
    }
    if !preconditions.is_empty() {
        tree.insert("preconditions".into(), Value::Object(preconditions));
    }
    if let Some(policy) = options.propagation_policy {
        let policy = match policy {
            PropagationPolicy::Orphan => "Orphan",
            PropagationPolicy::Background => "Background",
            PropagationPolicy::Foreground => "Foreground",
        };
        tree.insert("propagationPolicy".into(), policy.into());
    }
    Value::Object(tree)
}

fn encode(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a JSON tree always encodes"))
}

/// A query string under construction.
#[derive(Default)]
struct Query(String);

impl Query {
    /// Adds a parameter unless it is empty.
    fn text(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        value
            .chars()
            .for_each(|character| escape(character, &mut self.0));
    }

    fn flag(&mut self, name: &str, value: &str, given: bool) {
        self.text(name, if given { value } else { "" });
    }

    fn onto(self, mut path: String) -> Result<PathAndQuery, Status> {
        path.push_str(&self.0);
        PathAndQuery::try_from(path)
            .map_err(|error| Status::bad_request(format!("not a valid path: {error}")))
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn escape(character: char, into: &mut String) {
    if character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~') {
        into.push(character);
        return;
    }
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        into.push('%');
        for digit in [byte >> 4, byte & 15] {
            into.push(
                char::from_digit(u32::from(digit), 16)
                    .expect("below 16")
                    .to_ascii_uppercase(),
            );
        }
    }
}
