//! The interface to the API server, independent of the transport.

use async_trait::async_trait;
use futures::stream::BoxStream;
use kontiki_object::{GroupVersionResource, SharedObject, Status, Value};
use std::borrow::Cow;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the API's own and say it all")]
pub enum Verb {
    Get,
    List,
    Create,
    Update,
    Patch(PatchKind),
    Delete,
    DeleteCollection,
}

/// The four patch formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, with merge keys.
    StrategicMerge,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::StrategicMerge => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// What selects and pages a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListParams {
    /// Label selector in its string form; empty for everything.
    pub label_selector: String,
    /// Field selector in its string form; empty for everything.
    pub field_selector: String,
    /// At most this many; 0 for all.
    pub limit: u32,
    /// Where the previous page ended.
    pub continue_token: String,
    /// Empty: the newest; `0`: whatever is cached; else see `resource_version_match`.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
}

/// What selects a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchParams {
    /// The resource.
    pub resource: GroupVersionResource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector in its string form.
    pub label_selector: String,
    /// Field selector in its string form.
    pub field_selector: String,
    /// The version after which events are wanted; empty: start with the present state.
    pub resource_version: String,
    /// Deliver the present state as `ADDED` events, then a bookmark that says so.
    pub send_initial_events: bool,
    /// Deliver bookmarks.
    pub bookmarks: bool,
    /// End the watch after this many seconds; 0 for the server's choice.
    pub timeout_seconds: u32,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// The object appeared (or came to match the selectors).
    Added(SharedObject),
    /// The object changed.
    Modified(SharedObject),
    /// The object is gone (or ceased to match); its last state.
    Deleted(SharedObject),
    /// Everything up to this version has been delivered.
    Bookmark {
        /// The version.
        resource_version: String,
        /// Whether this bookmark ends the initial events.
        initial_events_end: bool,
    },
}

/// The events of a watch. An error is the last item; 410 means "list again".
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Status>>;

/// Conditions under which a deletion is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The object must have this UID.
    pub uid: Option<String>,
    /// The object must be at this version.
    pub resource_version: Option<String>,
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationPolicy {
    /// Dependents are kept and lose their owner reference.
    Orphan,
    /// Dependents are deleted afterwards by the garbage collector.
    Background,
    /// The object stays until its blocking dependents are gone.
    Foreground,
}

/// How a deletion is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds of grace; `None` for the kind's default.
    pub grace_period_seconds: Option<i64>,
    /// Conditions.
    pub preconditions: Preconditions,
    /// What becomes of dependents; `None` for the kind's default.
    pub propagation_policy: Option<PropagationPolicy>,
}

/// Options of creates, updates and patches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Who owns the written fields; empty: derived from the user agent.
    pub field_manager: String,
    /// For server-side apply: take fields over from other managers.
    pub force: bool,
    /// Do everything but store it.
    pub dry_run: bool,
}

/// One request for one resource.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// What to do.
    pub verb: Verb,
    /// With what.
    pub resource: GroupVersionResource,
    /// In which namespace; `None` for cluster-scoped resources or all namespaces.
    pub namespace: Option<String>,
    /// On which object.
    pub name: Option<String>,
    /// On which of its subresources.
    pub subresource: Option<Cow<'static, str>>,
    /// The object or patch.
    pub body: Option<Value>,
    /// For lists and delete-collections.
    pub list: ListParams,
    /// For writes.
    pub write: WriteOptions,
    /// For deletions.
    pub delete: DeleteOptions,
}

/// What a request answers.
#[derive(Clone, Debug)]
pub enum ApiResponse {
    /// One object; for some deletions a `Status` object.
    Object(SharedObject),
    /// A list.
    List {
        /// Its objects, each with `apiVersion` and `kind`.
        items: Vec<SharedObject>,
        /// The version at which it holds.
        resource_version: String,
        /// Where the next page starts; empty if this was the last.
        continue_token: String,
    },
}

impl ApiResponse {
    /// The object, or an internal error if it is a list.
    ///
    /// # Errors
    /// If the answer is a list.
    pub fn into_object(self) -> Result<SharedObject, Status> {
        match self {
            Self::Object(object) => Ok(object),
            Self::List { .. } => Err(Status::internal(
                "the server answered a list where one object was asked for",
            )),
        }
    }
}

/// A way to the API server.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// Carries out one request.
    async fn call(&self, request: ApiRequest) -> Result<ApiResponse, Status>;

    /// Opens a watch.
    async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status>;
}
