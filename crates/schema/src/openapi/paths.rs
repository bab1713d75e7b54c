//! The paths of a group version.

use serde_json::{Map, Value, json};

use super::operations::{Subject, reference};
use super::{ResourceForOpenApi, SchemaSource, SubresourceForOpenApi, parameters};
use crate::docs::Docs;
use crate::table::Schema;

/// `/api/v1` or `/apis/apps/v1`.
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

/// `apps` for `apps`, `rbacAuthorization` for `rbac.authorization.k8s.io`.
fn camel(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let parts = group
        .trim_end_matches(".k8s.io")
        .split('.')
        .filter(|part| !part.is_empty());
    parts
        .enumerate()
        .map(|(at, part)| {
            if at == 0 {
                part.replace('-', "")
            } else {
                capital(&part.replace('-', ""))
            }
        })
        .collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// Every path of a group version.
pub(super) fn of_group_version(
    resources: &[&ResourceForOpenApi],
    group: &str,
    version: &str,
    docs: &Docs,
) -> Map<String, Value> {
    let tag = format!("{}_{version}", camel(group));
    let id = format!("{}{}", capital(&camel(group)), capital(version));
    let mut paths = Map::new();
    let builtin = resources
        .iter()
        .any(|resource| matches!(resource.schema, SchemaSource::BuiltIn(_)));
    if builtin {
        paths.insert(
            format!("{}/", root(group, version)),
            resource_list(&tag, &id),
        );
    }
    for resource in resources {
        let writer = Writer {
            resource,
            docs,
            tag: &tag,
            id: &id,
            root: root(group, version),
        };
        writer.write(&mut paths);
    }
    paths
}

fn resource_list(tag: &str, id: &str) -> Value {
    let list = json!({"schema": reference("io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList")});
    json!({"get": {
        "tags": [tag],
        "description": "get available resources",
        "operationId": format!("get{id}APIResources"),
        "responses": {
            "200": {"description": "OK", "content": {"application/json": list,
                "application/vnd.kubernetes.protobuf": list, "application/yaml": list}},
            "401": {"description": "Unauthorized"},
        },
    }})
}

struct Writer<'a> {
    resource: &'a ResourceForOpenApi,
    docs: &'a Docs,
    tag: &'a str,
    id: &'a str,
    root: String,
}

impl Writer<'_> {
    fn subject<'s>(&'s self, schema: &'s str) -> Subject<'s> {
        let resource = self.resource;
        Subject {
            docs: self.docs,
            tag: self.tag,
            id: self.id,
            scope: if resource.namespaced {
                "Namespaced"
            } else {
                ""
            },
            kind: &resource.kind,
            suffix: "",
            subresource: "",
            schema,
            custom: matches!(resource.schema, SchemaSource::Custom { .. }),
            gvk: [&resource.group, &resource.version, &resource.kind],
        }
    }

    fn write(&self, paths: &mut Map<String, Value>) {
        let resource = self.resource;
        let schema = resource.schema_name();
        let subject = self.subject(&schema);
        let scoped = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("{}{scoped}/{}", self.root, resource.resource);
        insert(
            paths,
            collection.clone(),
            self.collection(&subject),
            self.common(false),
        );
        let item = format!("{collection}/{{name}}");
        insert(paths, item.clone(), self.item(&subject), self.common(true));
        if resource.can("list") && resource.namespaced {
            let everywhere = operations([("get", Some(subject.list(&resource.list_name(), true)))]);
            let mut common = parameters::list(self.docs);
            common.push(parameters::pretty());
            insert(
                paths,
                format!("{}/{}", self.root, resource.resource),
                everywhere,
                sorted(common),
            );
        }
        if resource.can("watch") && !subject.custom {
            self.watches(paths, &subject, scoped);
        }
        for subresource in &resource.subresources {
            self.subresource(paths, &item, &schema, subresource);
        }
    }

    fn collection(&self, subject: &Subject<'_>) -> Map<String, Value> {
        let can = |verb: &str| self.resource.can(verb);
        operations([
            (
                "get",
                can("list").then(|| subject.list(&self.resource.list_name(), false)),
            ),
            ("post", can("create").then(|| subject.create())),
            (
                "delete",
                can("deletecollection").then(|| subject.delete_collection()),
            ),
        ])
    }

    fn item(&self, subject: &Subject<'_>) -> Map<String, Value> {
        let can = |verb: &str| self.resource.can(verb);
        operations([
            ("get", can("get").then(|| subject.read())),
            ("put", can("update").then(|| subject.replace())),
            ("delete", can("delete").then(|| subject.delete())),
            ("patch", can("patch").then(|| subject.patch())),
        ])
    }

    fn common(&self, named: bool) -> Vec<Value> {
        let mut common = Vec::new();
        if named {
            common.push(parameters::in_path(
                "name",
                &format!("name of the {}", self.resource.kind),
            ));
        }
        if self.resource.namespaced {
            common.push(parameters::namespace());
        }
        common.push(parameters::pretty());
        common
    }

    fn watches(&self, paths: &mut Map<String, Value>, subject: &Subject<'_>, scoped: &str) {
        let resource = self.resource;
        let mut write = |path: String, named: bool, namespaced: bool, operation: Value| {
            let mut common = parameters::list(self.docs);
            common.push(parameters::pretty());
            if named {
                common.push(parameters::in_path(
                    "name",
                    &format!("name of the {}", resource.kind),
                ));
            }
            if namespaced {
                common.push(parameters::namespace());
            }
            insert(
                paths,
                path,
                operations([("get", Some(operation))]),
                sorted(common),
            );
        };
        let watch = format!("{}/watch{scoped}/{}", self.root, resource.resource);
        if resource.can("list") {
            write(
                watch.clone(),
                false,
                resource.namespaced,
                subject.watch(true, false),
            );
        }
        if resource.can("get") {
            write(
                format!("{watch}/{{name}}"),
                true,
                resource.namespaced,
                subject.watch(false, false),
            );
        }
        if resource.can("list") && resource.namespaced {
            let everywhere = Subject {
                scope: "",
                ..self.subject(subject.schema)
            };
            write(
                format!("{}/watch/{}", self.root, resource.resource),
                false,
                false,
                everywhere.watch(true, true),
            );
        }
    }

    fn subresource(
        &self,
        paths: &mut Map<String, Value>,
        item: &str,
        own: &str,
        subresource: &SubresourceForOpenApi,
    ) {
        let other =
            Schema::get().type_for(&subresource.group, &subresource.version, &subresource.kind);
        let schema = match other {
            Some(ty) if subresource.kind != self.resource.kind => ty.name,
            _ => own,
        };
        let suffix = capital(&subresource.name);
        let subject = Subject {
            suffix: &suffix,
            subresource: &subresource.name,
            gvk: [&subresource.group, &subresource.version, &subresource.kind],
            ..self.subject(schema)
        };
        let can = |verb: &str| subresource.verbs.iter().any(|known| known == verb);
        let stream = subresource.kind.ends_with("Options");
        let methods: &[&'static str] = match subresource.name.as_str() {
            "proxy" => &["get", "put", "post", "delete", "options", "head", "patch"],
            _ => &["get", "post"],
        };
        let mut common = self.common(true);
        let operations = if stream {
            common.pop();
            common.extend(parameters::of_options(
                self.docs,
                &subresource.version,
                &subresource.kind,
            ));
            operations(
                methods
                    .iter()
                    .map(|method| (*method, Some(subject.connect(method)))),
            )
        } else {
            operations([
                ("get", can("get").then(|| subject.read())),
                ("put", can("update").then(|| subject.replace())),
                ("post", can("create").then(|| subject.create())),
                ("patch", can("patch").then(|| subject.patch())),
            ])
        };
        if can("create") && !stream {
            common.extend(parameters::write(self.docs));
        }
        let common = sorted(common);
        if subresource.name == "proxy" {
            let mut deeper = common.clone();
            deeper.push(parameters::in_path("path", "path to the resource"));
            let mut inner = operations.clone();
            for operation in inner.values_mut() {
                let id = operation["operationId"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                operation["operationId"] = json!(format!("{id}WithPath"));
            }
            insert(
                paths,
                format!("{item}/{}/{{path}}", subresource.name),
                inner,
                sorted(deeper),
            );
        }
        insert(
            paths,
            format!("{item}/{}", subresource.name),
            operations,
            common,
        );
    }
}

fn sorted(mut parameters: Vec<Value>) -> Vec<Value> {
    parameters.sort_by_key(|parameter| parameter["name"].as_str().unwrap_or_default().to_owned());
    parameters
}

fn operations<'m>(
    operations: impl IntoIterator<Item = (&'m str, Option<Value>)>,
) -> Map<String, Value> {
    operations
        .into_iter()
        .filter_map(|(method, operation)| Some((method.to_owned(), operation?)))
        .collect()
}

fn insert(
    paths: &mut Map<String, Value>,
    path: String,
    mut operations: Map<String, Value>,
    common: Vec<Value>,
) {
    if operations.is_empty() {
        return;
    }
    operations.insert("parameters".to_owned(), Value::Array(common));
    paths.insert(path, Value::Object(operations));
}
