//! Operations: one verb on one path.

use serde_json::{Map, Value, json};

use super::parameters;
use crate::docs::Docs;

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const MEDIA: [&str; 3] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
];
const STREAMS: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// What operations on one path have in common.
pub(super) struct Subject<'a> {
    pub docs: &'a Docs,
    /// The tag: `apps_v1`.
    pub tag: &'a str,
    /// `AppsV1`.
    pub id: &'a str,
    /// `Namespaced` or nothing.
    pub scope: &'a str,
    /// The kind in ids and texts.
    pub kind: &'a str,
    /// `Status`, `Scale` and so on, or nothing.
    pub suffix: &'a str,
    /// What the texts call a subresource: `status`.
    pub subresource: &'a str,
    /// The schema that is read and written.
    pub schema: &'a str,
    /// Whether it is custom: no protobuf, no strategic merge.
    pub custom: bool,
    /// Group, version and kind of what is read and written.
    pub gvk: [&'a str; 3],
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn content(media: impl Iterator<Item = &'static str>, schema: &Value) -> Value {
    media
        .map(|media| (media.to_owned(), json!({"schema": schema})))
        .collect::<Map<_, _>>()
        .into()
}

fn responses(codes: &[(&str, &str)], content: &Value) -> Value {
    let mut responses = Map::new();
    for (code, description) in codes {
        responses.insert(
            (*code).to_owned(),
            json!({"description": description, "content": content}),
        );
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(responses)
}

impl Subject<'_> {
    fn media(&self) -> impl Iterator<Item = &'static str> {
        let custom = self.custom;
        MEDIA
            .into_iter()
            .filter(move |media| !(custom && media.contains("protobuf")))
    }

    fn of(&self, description: String, verb: &str, action: &str, responses: Value) -> Value {
        let [group, version, kind] = self.gvk;
        json!({
            "tags": [self.tag],
            "description": description,
            "operationId": format!("{verb}{}{}{}{}", self.id, self.scope, self.kind, self.suffix),
            "responses": responses,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        })
    }

    fn specified(&self, verb: &str) -> String {
        if self.subresource.is_empty() {
            format!("{verb} the specified {}", self.kind)
        } else {
            format!("{verb} {} of the specified {}", self.subresource, self.kind)
        }
    }

    fn body(&self) -> Value {
        json!({"content": {"*/*": {"schema": reference(self.schema)}}, "required": true})
    }

    pub fn read(&self) -> Value {
        let content = content(self.media(), &reference(self.schema));
        self.of(
            self.specified("read"),
            "read",
            "get",
            responses(&[("200", "OK")], &content),
        )
    }

    pub fn list(&self, list_schema: &str, everywhere: bool) -> Value {
        let streams = STREAMS
            .into_iter()
            .filter(|media| !(self.custom && media.contains("protobuf")));
        let content = content(self.media().chain(streams), &reference(list_schema));
        let description = format!("list or watch objects of kind {}", self.kind);
        let mut operation = self.of(
            description,
            "list",
            "list",
            responses(&[("200", "OK")], &content),
        );
        if everywhere {
            operation["operationId"] =
                json!(format!("list{}{}ForAllNamespaces", self.id, self.kind));
        } else {
            operation["parameters"] = json!(parameters::list(self.docs));
        }
        operation
    }

    pub fn create(&self) -> Value {
        let content = content(self.media(), &reference(self.schema));
        let description = match self.subresource {
            "" => format!("create {} {}", article(self.kind), self.kind),
            subresource => format!(
                "create {subresource} of {} {}",
                article(self.kind),
                self.kind
            ),
        };
        let codes = [("200", "OK"), ("201", "Created"), ("202", "Accepted")];
        let mut operation = self.of(description, "create", "post", responses(&codes, &content));
        operation["requestBody"] = self.body();
        if self.subresource.is_empty() {
            operation["parameters"] = json!(parameters::write(self.docs));
        }
        operation
    }

    pub fn replace(&self) -> Value {
        let content = content(self.media(), &reference(self.schema));
        let codes = [("200", "OK"), ("201", "Created")];
        let mut operation = self.of(
            self.specified("replace"),
            "replace",
            "put",
            responses(&codes, &content),
        );
        operation["requestBody"] = self.body();
        operation["parameters"] = json!(parameters::write(self.docs));
        operation
    }

    pub fn patch(&self) -> Value {
        let answer = content(self.media(), &reference(self.schema));
        let codes = [("200", "OK"), ("201", "Created")];
        let codes = if self.custom { &codes[..1] } else { &codes[..] };
        let mut operation = self.of(
            self.specified("partially update"),
            "patch",
            "patch",
            responses(codes, &answer),
        );
        let kinds = [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        let strategic = (!self.custom).then_some("application/strategic-merge-patch+json");
        let body = content(kinds.into_iter().chain(strategic), &reference(PATCH));
        operation["requestBody"] = json!({"content": body, "required": true});
        operation["parameters"] = json!(parameters::patch(self.docs));
        operation
    }

    pub fn delete(&self) -> Value {
        let content = content(self.media(), &reference(STATUS));
        let description = format!("delete {} {}", article(self.kind), self.kind);
        let codes = [("200", "OK"), ("202", "Accepted")];
        let mut operation = self.of(description, "delete", "delete", responses(&codes, &content));
        operation["requestBody"] =
            json!({"content": {"*/*": {"schema": reference(DELETE_OPTIONS)}}});
        operation["parameters"] = json!(parameters::delete(self.docs));
        operation
    }

    pub fn delete_collection(&self) -> Value {
        let content = content(self.media(), &reference(STATUS));
        let description = format!("delete collection of {}", self.kind);
        let mut operation = self.of(
            description,
            "delete",
            "deletecollection",
            responses(&[("200", "OK")], &content),
        );
        operation["operationId"] = json!(format!(
            "delete{}Collection{}{}",
            self.id, self.scope, self.kind
        ));
        operation["requestBody"] =
            json!({"content": {"*/*": {"schema": reference(DELETE_OPTIONS)}}});
        operation["parameters"] = json!(parameters::delete_collection(self.docs));
        operation
    }

    /// The deprecated way to watch; `many` for a whole list.
    pub fn watch(&self, many: bool, everywhere: bool) -> Value {
        let content = content(self.media().chain(STREAMS), &reference(WATCH_EVENT));
        let (description, action, list) = if many {
            (
                format!(
                    "watch individual changes to a list of {}. deprecated: use the 'watch' parameter with a list operation instead.",
                    self.kind
                ),
                "watchlist",
                "List",
            )
        } else {
            (
                format!(
                    "watch changes to an object of kind {}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
                    self.kind
                ),
                "watch",
                "",
            )
        };
        let mut operation = self.of(
            description,
            "watch",
            action,
            responses(&[("200", "OK")], &content),
        );
        let all = if everywhere { "ForAllNamespaces" } else { "" };
        operation["operationId"] = json!(format!(
            "watch{}{}{}{list}{all}",
            self.id, self.scope, self.kind
        ));
        operation
    }

    /// A stream, by one HTTP method.
    pub fn connect(&self, method: &str) -> Value {
        let upper = method.to_uppercase();
        let answer = json!({"200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}, "401": {"description": "Unauthorized"}});
        let description = format!(
            "connect {upper} requests to {} of {}",
            self.subresource, self.kind
        );
        let mut operation = self.of(description, "connect", "connect", answer);
        let capital = format!("{}{}", &upper[..1], &method[1..]);
        operation["operationId"] = json!(format!(
            "connect{}{capital}{}{}{}",
            self.id, self.scope, self.kind, self.suffix
        ));
        operation
    }
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) {
        "an"
    } else {
        "a"
    }
}
