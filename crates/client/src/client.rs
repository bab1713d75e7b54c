//! Convenient handles on an [`Api`].

use crate::{
    Api, ApiRequest, ApiResponse, DeleteOptions, ListParams, PatchKind, Verb, WatchParams,
    WatchStream, WriteOptions,
};
use kontiki_object::{GroupVersionResource, SharedObject, Status, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// A handle on the API server for one component.
#[derive(Clone)]
pub struct Client {
    api: Arc<dyn Api>,
    field_manager: Cow<'static, str>,
}

impl Client {
    /// A handle whose writes are owned by `field_manager`.
    pub fn new(api: Arc<dyn Api>, field_manager: impl Into<Cow<'static, str>>) -> Self {
        Self {
            api,
            field_manager: field_manager.into(),
        }
    }

    /// The transport.
    #[must_use]
    pub fn api(&self) -> &Arc<dyn Api> {
        &self.api
    }

    /// A cluster-scoped resource, or a namespaced one across all namespaces.
    #[must_use]
    pub fn resource(&self, resource: &GroupVersionResource) -> ResourceClient {
        ResourceClient {
            client: self.clone(),
            resource: resource.clone(),
            namespace: None,
        }
    }

    /// A namespaced resource in one namespace.
    #[must_use]
    pub fn namespaced(&self, resource: &GroupVersionResource, namespace: &str) -> ResourceClient {
        ResourceClient {
            client: self.clone(),
            resource: resource.clone(),
            namespace: Some(namespace.to_owned()),
        }
    }

    /// The resource, in `namespace` unless that is empty: what code that serves
    /// both scopes needs.
    #[must_use]
    pub fn scoped(&self, resource: &GroupVersionResource, namespace: &str) -> ResourceClient {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        ResourceClient {
            client: self.clone(),
            resource: resource.clone(),
            namespace,
        }
    }
}

/// A handle on one resource.
#[derive(Clone)]
pub struct ResourceClient {
    client: Client,
    resource: GroupVersionResource,
    namespace: Option<String>,
}

impl ResourceClient {
    fn request(&self, verb: Verb, name: Option<&str>) -> ApiRequest {
        ApiRequest {
            verb,
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: name.map(str::to_owned),
            subresource: None,
            body: None,
            list: ListParams::default(),
            write: WriteOptions {
                field_manager: self.client.field_manager.to_string(),
                ..WriteOptions::default()
            },
            delete: DeleteOptions::default(),
        }
    }

    async fn write(
        &self,
        verb: Verb,
        name: Option<&str>,
        subresource: Option<&'static str>,
        body: Value,
    ) -> Result<SharedObject, Status> {
        let mut request = self.request(verb, name);
        request.subresource = subresource.map(Cow::Borrowed);
        request.body = Some(body);
        self.client.api.call(request).await?.into_object()
    }

    /// Reads one object.
    ///
    /// # Errors
    /// Whatever the server answers; 404 if it does not exist.
    pub async fn get(&self, name: &str) -> Result<SharedObject, Status> {
        self.client
            .api
            .call(self.request(Verb::Get, Some(name)))
            .await?
            .into_object()
    }

    /// Reads one object; `None` if it does not exist.
    ///
    /// # Errors
    /// Whatever the server answers, but for 404.
    pub async fn get_opt(&self, name: &str) -> Result<Option<SharedObject>, Status> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Reads a list: the items and the version at which it holds.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn list(&self, list: ListParams) -> Result<(Vec<SharedObject>, String), Status> {
        let (items, resource_version, _) = self.list_page(list).await?;
        Ok((items, resource_version))
    }

    /// Reads a page of a list: the items, the version at which it holds, and
    /// where the next page starts, which is empty after the last.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn list_page(
        &self,
        list: ListParams,
    ) -> Result<(Vec<SharedObject>, String, String), Status> {
        let mut request = self.request(Verb::List, None);
        request.list = list;
        match self.client.api.call(request).await? {
            ApiResponse::List {
                items,
                resource_version,
                continue_token,
            } => Ok((items, resource_version, continue_token)),
            ApiResponse::Object(_) => Err(Status::internal(
                "the server answered an object where a list was asked for",
            )),
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn create(&self, object: Value) -> Result<SharedObject, Status> {
        self.write(Verb::Create, None, None, object).await
    }

    /// Creates something below an object, for instance an eviction or a token.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn create_sub(
        &self,
        name: &str,
        subresource: &'static str,
        object: Value,
    ) -> Result<SharedObject, Status> {
        self.write(Verb::Create, Some(name), Some(subresource), object)
            .await
    }

    /// Replaces an object; its `resourceVersion` guards the write.
    ///
    /// # Errors
    /// Whatever the server answers; 409 if it changed meanwhile.
    pub async fn update(&self, name: &str, object: Value) -> Result<SharedObject, Status> {
        self.write(Verb::Update, Some(name), None, object).await
    }

    /// Replaces an object's status.
    ///
    /// # Errors
    /// Whatever the server answers; 409 if it changed meanwhile.
    pub async fn update_status(&self, name: &str, object: Value) -> Result<SharedObject, Status> {
        self.write(Verb::Update, Some(name), Some("status"), object)
            .await
    }

    /// Replaces a subresource of an object, for instance an approval.
    ///
    /// # Errors
    /// Whatever the server answers; 409 if it changed meanwhile.
    pub async fn update_sub(
        &self,
        name: &str,
        subresource: &'static str,
        object: Value,
    ) -> Result<SharedObject, Status> {
        self.write(Verb::Update, Some(name), Some(subresource), object)
            .await
    }

    /// Patches an object.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn patch(
        &self,
        name: &str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<SharedObject, Status> {
        self.write(Verb::Patch(kind), Some(name), None, patch).await
    }

    /// Patches an object's status.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn patch_status(
        &self,
        name: &str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<SharedObject, Status> {
        self.write(Verb::Patch(kind), Some(name), Some("status"), patch)
            .await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn delete(&self, name: &str, options: DeleteOptions) -> Result<(), Status> {
        let mut request = self.request(Verb::Delete, Some(name));
        request.delete = options;
        self.client.api.call(request).await.map(drop)
    }

    /// Deletes every object that `list` selects.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn delete_collection(
        &self,
        list: ListParams,
        options: DeleteOptions,
    ) -> Result<(), Status> {
        let mut request = self.request(Verb::DeleteCollection, None);
        request.list = list;
        request.delete = options;
        self.client.api.call(request).await.map(drop)
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// Whatever the server answers; 410 if the version is gone.
    pub async fn watch(&self, mut params: WatchParams) -> Result<WatchStream, Status> {
        params.resource = self.resource.clone();
        params.namespace = self.namespace.clone();
        self.client.api.watch(params).await
    }
}
