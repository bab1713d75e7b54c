//! Custom resources over the API's router.

use super::{call, started, typed};
use bytes::Bytes;
use http::StatusCode;
use kontiki_apiserver::ApiServer;
use kontiki_apiserver::custom::WebhookCaller;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &str = "application/merge-patch+json";

fn version(name: &str, is_stored: bool, schema: Value) -> Value {
    json!({
        "name": name, "served": true, "storage": is_stored,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": schema,
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}},
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    })
}

fn definition(versions: Value, conversion: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": versions, "conversion": conversion,
        },
    })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "color": {"type": "string", "default": "red"},
        },
        "x-kubernetes-validations": [
            {"rule": "self.replicas <= 5 || self.color == 'blue'", "message": "too many"}],
    })
}

async fn with_widgets(server: &ApiServer) {
    let body = definition(
        json!([version("v1", true, schema())]),
        json!({"strategy": "None"}),
    );
    let (code, body) = call(server, "POST", DEFINITIONS, Some(body)).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn objects_can_be_made_as_soon_as_their_definition_is_acknowledged() {
    let server = started().await;
    with_widgets(&server).await;
    let body = widget("one", json!({"extra": 1}));
    let (code, made) = call(&server, "POST", WIDGETS, Some(body)).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["spec"], json!({"replicas": 1, "color": "red"}));
    let (code, refused) = call(
        &server,
        "POST",
        WIDGETS,
        Some(widget("two", json!({"replicas": 7}))),
    )
    .await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        refused["message"],
        "Widget.example.com \"two\" is invalid: spec: Invalid value: too many"
    );
    let path = format!("{WIDGETS}?fieldSelector=spec.color%3Dred");
    let (_, list) = call(&server, "GET", &path, None).await;
    assert_eq!(list["kind"], "WidgetList");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let path = format!("{WIDGETS}?fieldSelector=spec.color%3Dblue");
    let (_, list) = call(&server, "GET", &path, None).await;
    assert_eq!(list["items"], json!([]));
    let (_, resources) = call(&server, "GET", "/apis/example.com/v1", None).await;
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|resource| resource["name"].as_str())
        .collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    let (code, _) = call(&server, "GET", "/openapi/v3/apis/example.com/v1", None).await;
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test]
async fn status_and_scale_are_apart_from_the_object() {
    let server = started().await;
    with_widgets(&server).await;
    let path = format!("{WIDGETS}/one");
    call(&server, "POST", WIDGETS, Some(widget("one", json!({})))).await;
    let patch = r#"{"spec":{"replicas":3},"status":{"replicas":9}}"#;
    let (_, changed) = typed(&server, "PATCH", &path, MERGE, patch).await;
    assert_eq!(changed["metadata"]["generation"], 2, "{changed}");
    assert_eq!(changed["status"], Value::Null);
    let status = format!("{path}/status");
    let (_, changed) = typed(&server, "PATCH", &status, MERGE, patch).await;
    assert_eq!(changed["metadata"]["generation"], 2, "{changed}");
    assert_eq!(changed["status"]["replicas"], 9);
    let scale = format!("{path}/scale");
    let patch = r#"{"spec":{"replicas":2}}"#;
    let (code, scaled) = typed(&server, "PATCH", &scale, MERGE, patch).await;
    assert_eq!(code, StatusCode::OK, "{scaled}");
    assert_eq!(scaled["kind"], "Scale");
    assert_eq!(scaled["status"]["replicas"], 9);
    let (_, read) = call(&server, "GET", &path, None).await;
    assert_eq!(read["spec"]["replicas"], 2);
    let strategic = "application/strategic-merge-patch+json";
    let (code, _) = typed(&server, "PATCH", &path, strategic, "{}").await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_definition_that_goes_takes_its_objects_along() {
    let server = started().await;
    with_widgets(&server).await;
    call(&server, "POST", WIDGETS, Some(widget("one", json!({})))).await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let (code, going) = call(&server, "DELETE", &path, None).await;
    assert_eq!(code, StatusCode::OK, "{going}");
    assert_eq!(
        going["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    let gone = async {
        while call(&server, "GET", &path, None).await.0 != StatusCode::NOT_FOUND {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("the definition goes");
    let (code, text) = call(&server, "GET", WIDGETS, None).await;
    assert_eq!(
        (code, text),
        (StatusCode::NOT_FOUND, json!("404 page not found\n"))
    );
    with_widgets(&server).await;
    let (_, list) = call(&server, "GET", WIDGETS, None).await;
    assert_eq!(list["items"], json!([]));
}

/// Renames `spec.replicas` of v1 to `spec.count` of v2, and back.
struct Renaming;

#[async_trait::async_trait]
impl WebhookCaller for Renaming {
    async fn call(&self, client: &Value, body: Bytes, _: Duration) -> Result<Bytes, String> {
        assert_eq!(client["url"], "https://example.com/convert");
        let review: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let wanted = review["request"]["desiredAPIVersion"].clone();
        let (from, to) = if wanted == "example.com/v2" {
            ("replicas", "count")
        } else {
            ("count", "replicas")
        };
        let mut objects = review["request"]["objects"].clone();
        for object in objects.as_array_mut().into_iter().flatten() {
            object["apiVersion"] = wanted.clone();
            let spec = object["spec"].as_object_mut().ok_or("no spec")?;
            let value = spec.remove(from).unwrap_or(Value::Null);
            spec.insert(to.to_owned(), value);
        }
        let answer = json!({"response": {
            "uid": review["request"]["uid"], "result": {"status": "Success"},
            "convertedObjects": objects}});
        Ok(answer.to_string().into())
    }
}

#[tokio::test]
async fn a_webhook_converts_between_versions() {
    let server = started().await;
    server.registry().set_webhooks(Arc::new(Renaming));
    let second = json!({"type": "object", "properties": {
        "count": {"type": "integer"}, "color": {"type": "string", "default": "red"}}});
    let mut second = version("v2", false, second);
    second["subresources"] = json!({"status": {}});
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": "https://example.com/convert"},
        "conversionReviewVersions": ["v1"]}});
    let body = definition(json!([version("v1", true, schema()), second]), conversion);
    let (code, body) = call(&server, "POST", DEFINITIONS, Some(body)).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    call(
        &server,
        "POST",
        WIDGETS,
        Some(widget("one", json!({"replicas": 4}))),
    )
    .await;
    let v2 = "/apis/example.com/v2/namespaces/default/widgets";
    let (_, list) = call(&server, "GET", v2, None).await;
    assert_eq!(list["items"][0]["spec"]["count"], 4, "{list}");
    let path = format!("{v2}/one");
    let (code, changed) = typed(&server, "PATCH", &path, MERGE, r#"{"spec":{"count":5}}"#).await;
    assert_eq!(code, StatusCode::OK, "{changed}");
    assert_eq!(changed["apiVersion"], "example.com/v2");
    let (_, read) = call(&server, "GET", &format!("{WIDGETS}/one"), None).await;
    assert_eq!(read["spec"]["replicas"], 5, "{read}");
    assert_eq!(read["apiVersion"], "example.com/v1");
}
