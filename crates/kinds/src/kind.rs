//! What a kind is.

use crate::Tree;
use crate::custom::CustomForm;
use crate::strategy::{Plain, Strategy};
use crate::table::{Column, default_columns};
use base64::Engine as _;
use kontiki_object::Value;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A name that is static for built-in kinds and owned for custom ones.
pub type Text = Cow<'static, str>;

/// One served version of one resource.
#[derive(Clone)]
pub struct Kind {
    /// The group; empty for core.
    pub group: Text,
    /// The version.
    pub version: Text,
    /// The kind, for instance `Pod`.
    pub kind: Text,
    /// The kind of lists; empty if it cannot be listed.
    pub list_kind: Text,
    /// The resource's name in paths.
    pub plural: Text,
    /// The resource's name for one object.
    pub singular: Text,
    /// Names for people in a hurry.
    pub short_names: Vec<Text>,
    /// Sets of resources that it belongs to, for instance `all`.
    pub categories: Vec<Text>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs, sorted.
    pub verbs: Vec<Text>,
    /// The subresources, sorted by name.
    pub subresources: Vec<Subresource>,
    /// Where and how its objects are stored; `None` if they never are (reviews,
    /// bindings, component statuses).
    pub storage: Option<Storage>,
    /// The OpenAPI name of its type, for instance `io.k8s.api.core.v1.Pod`.
    pub schema: Text,
    /// The columns of its tables.
    pub columns: Vec<Column>,
    /// The conditions of a row, for instance that a pod has completed.
    pub row_conditions: fn(&Tree) -> Vec<Value>,
    /// What field selectors may name beside `metadata.name` and `metadata.namespace`.
    pub selectable_fields: Vec<SelectableField>,
    /// Fills in defaults; works on this version's form, before [`Kind::conversion`].
    pub defaults: fn(&mut Tree),
    /// How it differs from the stored form; `None` if it is the stored form.
    pub conversion: Option<Conversion>,
    /// What happens to its objects on writes; works on the stored form.
    pub strategy: Arc<dyn Strategy>,
    /// How long objects live after their last write, if not for ever.
    pub ttl_seconds: Option<u32>,
    /// What differs from built-in kinds; `None` for those.
    pub custom: Option<Arc<dyn CustomForm>>,
}

/// A part of a resource that has a path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// The last part of the path, for instance `status`.
    pub name: Text,
    /// The group of [`Subresource::kind`], empty if it is the resource's own
    /// (or core's: then the version is set).
    pub group: Text,
    /// The version of [`Subresource::kind`], empty if it is the resource's own.
    pub version: Text,
    /// The kind that is sent and answered.
    pub kind: Text,
    /// The verbs, sorted.
    pub verbs: Vec<Text>,
}

/// Where and how a kind's objects are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The keys' beginning without a slash at the end, for instance `/registry/pods`.
    pub key_prefix: Text,
    /// The `apiVersion` in which objects are written.
    pub api_version: Text,
    /// The `apiVersion` that `storageVersionHash` tells. It differs from
    /// `api_version` where upstream writes a form that it no longer serves.
    pub hashed_api_version: Text,
}

impl Storage {
    /// Stored below `key_prefix` as `api_version`.
    #[must_use]
    pub fn new(key_prefix: String, api_version: String) -> Self {
        Self {
            key_prefix: key_prefix.into(),
            api_version: api_version.clone().into(),
            hashed_api_version: api_version.into(),
        }
    }

    /// The key of an object; `namespace` is empty for cluster-scoped ones.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if namespace.is_empty() {
            format!("{}/{name}", self.key_prefix)
        } else {
            format!("{}/{namespace}/{name}", self.key_prefix)
        }
    }
}

/// A field that field selectors may name.
#[derive(Clone)]
pub struct SelectableField {
    /// The path, for instance `spec.nodeName`.
    pub path: Text,
    /// Its value as text.
    pub value: Arc<dyn Fn(&Tree) -> String + Send + Sync>,
}

/// The way between a served form and the stored form of one object.
#[derive(Clone, Copy)]
pub struct Conversion {
    /// From the served form to the stored form.
    pub to_stored: fn(&mut Tree),
    /// From the stored form to the served form.
    pub from_stored: fn(&mut Tree),
}

/// The verbs of a resource that is stored.
const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Static names.
#[must_use]
pub fn texts(names: &[&'static str]) -> Vec<Text> {
    names.iter().map(|name| Text::Borrowed(*name)).collect()
}

fn schema_of(group: &str, version: &str, kind: &str) -> String {
    match group {
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        "apiextensions.k8s.io" => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}")
        }
        "apiregistration.k8s.io" => {
            format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}")
        }
        _ => {
            let package = group.split('.').next().unwrap_or(group);
            format!("io.k8s.api.{package}.{version}.{kind}")
        }
    }
}

/// How the built-in kinds are written down: what most have in common, to be
/// completed with struct update syntax.
impl Kind {
    /// A stored kind whose objects live in namespaces.
    #[must_use]
    pub fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        let mut this = Self::virtual_kind(group, version, kind, plural);
        this.namespaced = true;
        this.list_kind = format!("{kind}List").into();
        this.verbs = texts(&VERBS);
        let prefix = format!("/registry/{plural}");
        this.storage = Some(Storage::new(prefix, this.api_version()));
        this
    }

    /// A stored kind whose objects live outside of namespaces.
    #[must_use]
    pub fn cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            namespaced: false,
            ..Self::namespaced(group, version, kind, plural)
        }
    }

    /// A cluster-scoped kind that is only created and never stored.
    #[must_use]
    pub fn virtual_kind(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            list_kind: Text::Borrowed(""),
            plural: plural.into(),
            singular: kind.to_lowercase().into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: false,
            verbs: texts(&["create"]),
            subresources: Vec::new(),
            storage: None,
            schema: schema_of(group, version, kind).into(),
            columns: default_columns(),
            row_conditions: |_| Vec::new(),
            selectable_fields: Vec::new(),
            defaults: |_| {},
            conversion: None,
            strategy: Arc::new(Plain),
            ttl_seconds: None,
            custom: None,
        }
    }

    /// The same kind, stored elsewhere.
    #[must_use]
    pub fn stored_at(mut self, key_prefix: &'static str) -> Self {
        if let Some(storage) = &mut self.storage {
            storage.key_prefix = key_prefix.into();
        }
        self
    }
}

impl Subresource {
    /// A subresource that is sent and answered as `kind`; `api_version` is
    /// empty if it is the resource's own.
    #[must_use]
    pub fn new(
        name: &'static str,
        api_version: &'static str,
        kind: &'static str,
        verbs: &[&'static str],
    ) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            name: name.into(),
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            verbs: texts(verbs),
        }
    }

    /// One that is read and written as the whole object, for instance `status`.
    #[must_use]
    pub fn of_object(name: &'static str, kind: &'static str) -> Self {
        Self::new(name, "", kind, &["get", "patch", "update"])
    }

    /// `status`.
    #[must_use]
    pub fn status(kind: &'static str) -> Self {
        Self::of_object("status", kind)
    }

    /// `scale`.
    #[must_use]
    pub fn scale() -> Self {
        let verbs = &["get", "patch", "update"];
        Self::new("scale", "autoscaling/v1", "Scale", verbs)
    }
}

impl SelectableField {
    /// A field that is selected by its text.
    #[must_use]
    pub fn new(path: &'static str, value: fn(&Tree) -> String) -> Self {
        Self {
            path: path.into(),
            value: Arc::new(value),
        }
    }
}

impl Kind {
    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` for core, `deployments.apps` otherwise.
    #[must_use]
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether a verb is served.
    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|served| served == verb)
    }

    /// A subresource by its name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// `storageVersionHash` of discovery documents: the first eight bytes of
    /// the SHA-256 of `group/version/kind` of the stored form.
    #[must_use]
    pub fn storage_version_hash(&self) -> Option<String> {
        let stored = &self.storage.as_ref()?.hashed_api_version;
        let (group, version) = stored.split_once('/').unwrap_or(("", stored));
        let hash = Sha256::digest(format!("{group}/{version}/{}", self.kind));
        Some(base64::engine::general_purpose::STANDARD.encode(&hash[..8]))
    }

    /// The value of a field that a field selector names; `None` if it must not be named.
    #[must_use]
    pub fn select(&self, object: &Tree, path: &str) -> Option<String> {
        let metadata = |name: &str| {
            let value = object.get("metadata").and_then(|meta| meta.get(name));
            Some(
                value
                    .and_then(|v| v.as_str())
                    .unwrap_or_default()
                    .to_owned(),
            )
        };
        match path {
            "metadata.name" => metadata("name"),
            "metadata.namespace" if self.namespaced => metadata("namespace"),
            _ => self
                .selectable_fields
                .iter()
                .find(|field| field.path == path)
                .map(|field| (field.value)(object)),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}
