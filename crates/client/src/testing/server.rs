//! What a request does to the content.

use super::{Change, State};
use crate::{ApiRequest, ApiResponse, ListParams, PatchKind, PropagationPolicy, Verb};
use kontiki_object::{
    FieldSelector, GroupVersionResource, LabelSelector, Object, SharedObject, Status, Value,
};
use serde_json::json;
use std::sync::Arc;

pub(super) struct Server<'a> {
    pub state: &'a mut State,
    pub now: String,
}

pub(super) fn describe(request: &ApiRequest) -> String {
    let verb = match request.verb {
        Verb::Get => "get",
        Verb::List => "list",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch(_) => "patch",
        Verb::Delete => "delete",
        Verb::DeleteCollection => "deletecollection",
    };
    let subresource = request.subresource.as_deref();
    let subresource = subresource.map_or_else(String::new, |sub| format!("/{sub}"));
    let body_name = request.body.as_ref().map(|body| {
        let name = &body["metadata"]["name"];
        name.as_str().unwrap_or_default().to_owned()
    });
    let name = request.name.clone().or(body_name).unwrap_or_default();
    let key = key_of(request.namespace.as_deref(), &name);
    format!("{verb} {}{subresource} {key}", request.resource.resource)
}

fn key_of(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        None | Some("") => name.to_owned(),
        Some(namespace) => format!("{namespace}/{name}"),
    }
}

pub(super) fn label_selector(text: &str) -> Result<LabelSelector, Status> {
    if text.is_empty() {
        return Ok(LabelSelector::everything());
    }
    LabelSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))
}

pub(super) fn field_selector(text: &str) -> Result<FieldSelector, Status> {
    FieldSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))
}

pub(super) fn field(object: &Object, path: &str) -> String {
    let path: Vec<&str> = path.split('.').collect();
    match object.get(&path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

impl Server<'_> {
    pub(super) fn call(&mut self, request: ApiRequest) -> Result<ApiResponse, Status> {
        let object = match request.verb {
            Verb::List => return self.list(&request),
            Verb::Get => self.find(&request)?,
            Verb::Create => match request.subresource.as_deref() {
                None => self.create(request)?,
                Some("eviction") => {
                    let found = self.find(&request)?;
                    self.delete(&request.resource, &found, &request)?
                }
                Some(_) => self.update(request)?,
            },
            Verb::Update => self.update(request)?,
            Verb::Patch(kind) => self.patch(kind, request)?,
            Verb::Delete => {
                let found = self.find(&request)?;
                self.delete(&request.resource, &found, &request)?
            }
            Verb::DeleteCollection => {
                for object in self.select(&request)? {
                    self.delete(&request.resource, &object, &request)?;
                }
                let done = serde_json::to_value(Status::success(None));
                let done = done.map_err(Status::internal)?;
                Arc::new(Object::from_value(done).expect("a Status is a map"))
            }
        };
        Ok(ApiResponse::Object(object))
    }

    fn missing(request: &ApiRequest) -> Status {
        let name = request.name.as_deref().unwrap_or_default();
        Status::not_found(&request.resource.group, &request.resource.resource, name)
    }

    fn find(&self, request: &ApiRequest) -> Result<SharedObject, Status> {
        let name = request.name.as_deref().unwrap_or_default();
        let key = key_of(request.namespace.as_deref(), name);
        let found = self.state.objects.get(&(request.resource.clone(), key));
        found.cloned().ok_or_else(|| Self::missing(request))
    }

    fn select(&self, request: &ApiRequest) -> Result<Vec<SharedObject>, Status> {
        let ListParams {
            label_selector: labels,
            field_selector: fields,
            ..
        } = &request.list;
        let (labels, fields) = (label_selector(labels)?, field_selector(fields)?);
        let objects = self.state.objects.iter();
        let selected = objects.filter(|((resource, _), object)| {
            let namespace = request.namespace.as_deref();
            *resource == request.resource
                && namespace.is_none_or(|namespace| namespace == object.namespace())
                && labels.matches(object)
                && fields.matches_with(|path| field(object, path))
        });
        Ok(selected.map(|(_, object)| object.clone()).collect())
    }

    fn list(&self, request: &ApiRequest) -> Result<ApiResponse, Status> {
        Ok(ApiResponse::List {
            items: self.select(request)?,
            resource_version: self.state.version.to_string(),
            continue_token: String::new(),
        })
    }

    fn create(&mut self, request: ApiRequest) -> Result<SharedObject, Status> {
        let mut tree = request.body.unwrap_or_default();
        if !tree.is_object() {
            return Err(Status::bad_request("the body is not an object"));
        }
        self.state.names += 1;
        let serial = self.state.names;
        let metadata = &mut tree["metadata"];
        if let Some(namespace) = &request.namespace {
            metadata["namespace"] = json!(namespace);
            self.refuse_in_ending_namespace(&request.resource, namespace)?;
        }
        if metadata["name"].as_str().is_none_or(str::is_empty) {
            let prefix = metadata["generateName"].as_str().unwrap_or_default();
            metadata["name"] = json!(format!("{prefix}{serial:05}"));
        }
        metadata["uid"] = json!(format!("uid-{serial}"));
        metadata["generation"] = json!(1);
        metadata["creationTimestamp"] = json!(self.now);
        if request.resource.resource == "namespaces" {
            tree["spec"]["finalizers"] = json!(["kubernetes"]);
            tree["status"]["phase"] = json!("Active");
        }
        let name = tree["metadata"]["name"].as_str().unwrap_or_default();
        let key = key_of(request.namespace.as_deref(), name);
        let key = (request.resource.clone(), key);
        if self.state.objects.contains_key(&key) {
            let resource = &request.resource;
            let taken = Status::already_exists(&resource.group, &resource.resource, name);
            return Err(taken);
        }
        Ok(self.put(&request.resource, tree, Change::Added))
    }

    fn refuse_in_ending_namespace(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
    ) -> Result<(), Status> {
        let namespaces = GroupVersionResource::new("", "v1", "namespaces");
        let found = self.state.objects.get(&(namespaces, namespace.to_owned()));
        if found.is_some_and(|found| found.is_terminating()) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            let mut status = Status::forbidden(&resource.group, &resource.resource, "", &why);
            if let Some(details) = &mut status.details {
                details.causes.push(kontiki_object::Cause {
                    reason: "NamespaceTerminating".into(),
                    message: format!("namespace {namespace} is being terminated"),
                    field: "metadata.namespace".into(),
                });
            }
            return Err(status);
        }
        Ok(())
    }

    fn put(
        &mut self,
        resource: &GroupVersionResource,
        mut tree: Value,
        change: fn(SharedObject) -> Change,
    ) -> SharedObject {
        self.state.version += 1;
        tree["metadata"]["resourceVersion"] = json!(self.state.version.to_string());
        let object = Arc::new(Object::from_value(tree).expect("the caller has a map"));
        let key = (resource.clone(), object.key());
        self.state.objects.insert(key, object.clone());
        let entry = (self.state.version, resource.clone(), change(object.clone()));
        self.state.history.push(entry);
        object
    }

    fn remove(&mut self, resource: &GroupVersionResource, object: &Object) -> SharedObject {
        self.state.version += 1;
        let mut tree = object.to_value();
        tree["metadata"]["resourceVersion"] = json!(self.state.version.to_string());
        let object = Arc::new(Object::from_value(tree).expect("it was a map"));
        self.state.objects.remove(&(resource.clone(), object.key()));
        let deleted = Change::Deleted(object.clone());
        let entry = (self.state.version, resource.clone(), deleted);
        self.state.history.push(entry);
        object
    }

    fn patch(&mut self, kind: PatchKind, mut request: ApiRequest) -> Result<SharedObject, Status> {
        if matches!(kind, PatchKind::Json) {
            return Err(Status::bad_request("JSON patches are not served here"));
        }
        let patch = request.body.take().unwrap_or_default();
        let found = match self.find(&request) {
            Err(_) if kind == PatchKind::Apply => {
                request.body = Some(patch);
                return self.create(request);
            }
            found => found?,
        };
        let wanted_uid = patch["metadata"]["uid"].as_str();
        if wanted_uid.is_some_and(|uid| uid != found.uid()) {
            let resource = &request.resource;
            let why = "the UID in the precondition does not match the UID in record";
            let status = Status::conflict(&resource.group, &resource.resource, found.name(), why);
            return Err(status);
        }
        let mut tree = found.to_value();
        merge(&mut tree, patch);
        request.body = Some(tree);
        self.update(request)
    }

    fn update(&mut self, request: ApiRequest) -> Result<SharedObject, Status> {
        let found = self.find(&request)?;
        let resource = &request.resource;
        let mut wanted = request.body.unwrap_or_default();
        let version = wanted["metadata"]["resourceVersion"].as_str();
        if version.is_some_and(|version| !version.is_empty() && version != found.resource_version())
        {
            let modified = Status::modified(&resource.group, &resource.resource, found.name());
            return Err(modified);
        }
        let old = found.to_value();
        let tree = match request.subresource.as_deref() {
            Some("status") => {
                let mut tree = old.clone();
                tree["status"] = wanted["status"].take();
                // Metadata is written along, as by a real server.
                tree["metadata"]["annotations"] = wanted["metadata"]["annotations"].take();
                tree
            }
            Some("finalize") => {
                let mut tree = old.clone();
                tree["spec"]["finalizers"] = wanted["spec"]["finalizers"].take();
                tree
            }
            _ => self.main_update(&old, wanted),
        };
        let tree = without_nulls(tree);
        if tree == without_nulls(old) {
            return Ok(found);
        }
        let object = self.put(resource, tree, Change::Modified);
        if is_finished(resource, &object) {
            return Ok(self.remove(resource, &object));
        }
        Ok(object)
    }

    fn main_update(&self, old: &Value, mut wanted: Value) -> Value {
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
        ] {
            wanted["metadata"][field] = old["metadata"][field].clone();
        }
        if old.get("status").is_some() {
            wanted["status"] = old["status"].clone();
        }
        if old["spec"] != wanted["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            wanted["metadata"]["generation"] = json!(generation + 1);
        }
        wanted
    }

    fn delete(
        &mut self,
        resource: &GroupVersionResource,
        object: &SharedObject,
        request: &ApiRequest,
    ) -> Result<SharedObject, Status> {
        let options = &request.delete;
        let wanted = &options.preconditions;
        let uid_differs = wanted.uid.as_ref().is_some_and(|uid| uid != object.uid());
        let version = wanted.resource_version.as_ref();
        if uid_differs || version.is_some_and(|version| version != object.resource_version()) {
            let why = "the precondition does not match the record";
            let status = Status::conflict(&resource.group, &resource.resource, object.name(), why);
            return Err(status);
        }
        let mut tree = object.to_value();
        let finalizer = match options.propagation_policy {
            Some(PropagationPolicy::Foreground) => Some("foregroundDeletion"),
            Some(PropagationPolicy::Orphan) => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer
            && !object.finalizers().any(|known| known == finalizer)
        {
            let mut finalizers: Vec<&str> = object.finalizers().collect();
            finalizers.push(finalizer);
            tree["metadata"]["finalizers"] = json!(finalizers);
        }
        let runs = resource.resource == "pods" && object.str_at(&["spec", "nodeName"]).is_some();
        let phase = object.str_at(&["status", "phase"]);
        let runs = runs && !matches!(phase, Some("Succeeded" | "Failed"));
        let grace = options.grace_period_seconds.unwrap_or(30);
        if runs && grace > 0 {
            tree["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        } else {
            tree["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        if tree["metadata"]["deletionTimestamp"].is_null() {
            tree["metadata"]["deletionTimestamp"] = json!(self.now);
            if resource.resource == "namespaces" {
                tree["status"]["phase"] = json!("Terminating");
            }
        }
        let deleted = Object::from_value(tree.clone()).expect("it was a map");
        if is_finished(resource, &deleted) {
            return Ok(self.remove(resource, &deleted));
        }
        if tree == object.to_value() {
            return Ok(object.clone());
        }
        Ok(self.put(resource, tree, Change::Modified))
    }
}

/// Whether nothing keeps a terminating object any more.
fn is_finished(resource: &GroupVersionResource, object: &Object) -> bool {
    let grace = object.get(&["metadata", "deletionGracePeriodSeconds"]);
    let in_grace = grace.and_then(Value::as_i64).is_some_and(|grace| grace > 0);
    let content = object.get(&["spec", "finalizers"]);
    let content = content
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    let held = resource.resource == "namespaces" && content;
    object.is_terminating() && !in_grace && !held && object.finalizers().next().is_none()
}

/// RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().expect("it was made a map");
    for (field, value) in patch {
        if value.is_null() {
            target.remove(&field);
        } else {
            merge(target.entry(field).or_insert(Value::Null), value);
        }
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(field, value)| (field, without_nulls(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryApi;
    use crate::{Client, Clock, DeleteOptions, resources};

    fn client() -> Client {
        Client::new(Arc::new(MemoryApi::new(Clock::system())), "test")
    }

    #[tokio::test]
    async fn a_stale_version_conflicts_and_a_finalizer_holds_an_object() {
        let maps = client().namespaced(&resources::CONFIG_MAPS, "n");
        let tree = json!({"metadata": {"name": "a", "finalizers": ["x/y"]}, "data": {"k": "1"}});
        let first = maps.create(tree).await.expect("created");
        let mut change = first.to_value();
        change["data"]["k"] = json!("2");
        maps.update("a", change.clone()).await.expect("updated");
        change["data"]["k"] = json!("3");
        let error = maps.update("a", change).await.expect_err("stale");
        assert!(error.is_conflict());
        maps.delete("a", DeleteOptions::default())
            .await
            .expect("accepted");
        assert!(maps.get("a").await.expect("still there").is_terminating());
        let release = json!({"metadata": {"finalizers": null}});
        maps.patch("a", PatchKind::Merge, release)
            .await
            .expect("patched");
        assert!(maps.get("a").await.expect_err("gone").is_not_found());
    }

    #[tokio::test]
    async fn a_running_pod_is_deleted_gracefully() {
        let pods = client().namespaced(&resources::PODS, "n");
        let tree = json!({"metadata": {"generateName": "a-"}, "spec": {"nodeName": "x"}});
        let pod = pods.create(tree).await.expect("created");
        pods.delete(pod.name(), DeleteOptions::default())
            .await
            .expect("accepted");
        assert!(
            pods.get(pod.name())
                .await
                .expect("still there")
                .is_terminating()
        );
        let now = DeleteOptions {
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        pods.delete(pod.name(), now).await.expect("accepted");
        assert!(pods.get(pod.name()).await.expect_err("gone").is_not_found());
    }
}
