//! How authentication sees the objects that credentials are bound to.

use async_trait::async_trait;
use kontiki_client::Client;
use kontiki_object::{GroupVersionResource, SharedObject, Status};

/// Reads single objects, as fresh as the implementation can afford.
///
/// The API server answers from its watch cache; a client asks the server.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// One object; `None` if it does not exist. `namespace` is empty for cluster scope.
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<SharedObject>, Status>;
}

#[async_trait]
impl Lookup for Client {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<SharedObject>, Status> {
        self.scoped(resource, namespace).get_opt(name).await
    }
}
