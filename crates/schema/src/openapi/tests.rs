use std::collections::BTreeSet;

use super::*;
use crate::Schema;

/// Every kind that has a list, with made-up plural names.
fn resources() -> Vec<ResourceForOpenApi> {
    let verbs = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    let schema = Schema::get();
    let mut all: Vec<ResourceForOpenApi> = schema
        .kinds()
        .filter(|(kind, _)| {
            schema
                .type_for(kind.group, kind.version, &format!("{}List", kind.kind))
                .is_some()
        })
        .map(|(kind, ty)| ResourceForOpenApi {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            resource: format!("{}s", kind.kind.to_lowercase()),
            kind: kind.kind.to_owned(),
            namespaced: ty.field("status").is_some(),
            verbs: verbs.map(str::to_owned).to_vec(),
            schema: SchemaSource::BuiltIn(ty),
            subresources: vec![SubresourceForOpenApi {
                name: "status".to_owned(),
                group: kind.group.to_owned(),
                version: kind.version.to_owned(),
                kind: kind.kind.to_owned(),
                verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
            }],
        })
        .collect();
    all.push(ResourceForOpenApi {
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        resource: "widgets".to_owned(),
        kind: "Widget".to_owned(),
        namespaced: true,
        verbs: verbs.map(str::to_owned).to_vec(),
        schema: SchemaSource::Custom {
            schema: json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1}}}}}),
            list_kind: "WidgetList".to_owned(),
        },
        subresources: Vec::new(),
    });
    all
}

fn references(part: &Value, out: &mut BTreeSet<String>) {
    match part {
        Value::Object(members) => {
            out.extend(
                members
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            members.values().for_each(|value| references(value, out));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        _ => {}
    }
}

fn assert_closed(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        // Names have no `/`, so a reference is a pointer.
        assert!(
            document.pointer(&reference[1..]).is_some(),
            "{reference} leads nowhere"
        );
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_id_is_used_once() {
    let all = resources();
    for (group, version) in [
        ("", "v1"),
        ("apps", "v1"),
        ("example.com", "v1"),
        ("resource.k8s.io", "v1beta2"),
    ] {
        let document: Value =
            serde_json::from_slice(&render_v3(&all, group, version)).expect("JSON");
        assert_closed(&document);
        let mut ids = BTreeSet::new();
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item
                .as_object()
                .expect("an item")
                .values()
                .filter_map(|one| one.get("operationId"))
            {
                assert!(ids.insert(operation.to_string()), "{operation} twice");
            }
        }
        assert!(!ids.is_empty());
    }
}

#[test]
fn the_older_document_is_closed_and_its_protobuf_is_well_formed() {
    let all = resources();
    let document: Value = serde_json::from_slice(&render_v2(&all)).expect("JSON");
    assert_eq!(
        document,
        v2::document(&all, &Docs::unpack()),
        "text and tree"
    );
    assert_closed(&document);
    assert!(
        document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["$ref"].is_string()
    );
    let bytes = render_v2_protobuf(&all);
    let mut reader = crate::protobuf::wire::Reader::new(&bytes);
    let mut tags = Vec::new();
    while let Some(member) = reader.next().expect("well formed") {
        tags.push(member.tag);
    }
    assert_eq!(tags, [1, 2, 8, 9, 12, 13]);
}

#[test]
fn a_custom_type_shows_its_schema_and_its_list() {
    let document: Value =
        serde_json::from_slice(&render_v3(&resources(), "example.com", "v1")).expect("JSON");
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"]["default"],
        1
    );
    assert_eq!(
        schemas["com.example.v1.WidgetList"]["required"],
        json!(["items"])
    );
    assert!(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
    let item = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"];
    assert_eq!(
        item["get"]["operationId"],
        "readExampleComV1NamespacedWidget"
    );
    assert!(
        item["patch"]["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_none()
    );
}

#[test]
fn hashes_tell_documents_apart() {
    assert_eq!(hash(b"a").len(), 128);
    assert_ne!(hash(b"a"), hash(b"b"));
    let hash = hash(b"a");
    let index: Value =
        serde_json::from_slice(&render_index([("api/v1", hash.as_str())].into_iter()))
            .expect("JSON");
    assert_eq!(
        index["paths"]["api/v1"]["serverRelativeURL"],
        format!("/openapi/v3/api/v1?hash={hash}")
    );
}
