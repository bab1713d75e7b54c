//! The names by which the API knows kinds and resources.

use std::borrow::Cow;
use std::fmt;

/// An API group (empty for the core group) and a version in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersion {
    /// The group; empty for core.
    pub group: Cow<'static, str>,
    /// The version, for instance `v1`.
    pub version: Cow<'static, str>,
}

impl GroupVersion {
    /// From static names.
    #[must_use]
    pub const fn new(group: &'static str, version: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
        }
    }

    /// From an `apiVersion`, `v1` or `apps/v1`; `None` if it has two slashes.
    #[must_use]
    pub fn parse(api_version: &str) -> Option<Self> {
        let (group, version) = match api_version.split_once('/') {
            None => ("", api_version),
            Some((_, rest)) if rest.contains('/') => return None,
            Some(parts) => parts,
        };
        Some(Self {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
        })
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// A kind, as objects name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// The group; empty for core.
    pub group: Cow<'static, str>,
    /// The version.
    pub version: Cow<'static, str>,
    /// The kind, for instance `Pod`.
    pub kind: Cow<'static, str>,
}

impl GroupVersionKind {
    /// From static names.
    #[must_use]
    pub const fn new(group: &'static str, version: &'static str, kind: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
        }
    }

    /// The `apiVersion` of objects of this kind.
    #[must_use]
    pub fn api_version(&self) -> String {
        GroupVersion {
            group: self.group.clone(),
            version: self.version.clone(),
        }
        .to_string()
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

/// A resource, as paths name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionResource {
    /// The group; empty for core.
    pub group: Cow<'static, str>,
    /// The version.
    pub version: Cow<'static, str>,
    /// The plural name, for instance `pods`.
    pub resource: Cow<'static, str>,
}

impl GroupVersionResource {
    /// From static names.
    #[must_use]
    pub const fn new(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            resource: Cow::Borrowed(resource),
        }
    }

    /// The `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        GroupVersion {
            group: self.group.clone(),
            version: self.version.clone(),
        }
        .to_string()
    }

    /// `pods` for core, `deployments.apps` otherwise, as messages name resources.
    #[must_use]
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// The path below the server's root, with an optional namespace, name and subresource.
    #[must_use]
    pub fn path(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        for (word, value) in [
            ("namespaces/", namespace),
            ("", Some(&*self.resource)),
            ("", name),
            ("", subresource),
        ] {
            if let Some(value) = value {
                path.push('/');
                path.push_str(word);
                path.push_str(value);
            }
        }
        path
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Resource={}", self.api_version(), self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_api_conventions() {
        let pods = GroupVersionResource::new("", "v1", "pods");
        assert_eq!(
            pods.path(Some("a"), Some("b"), Some("log")),
            "/api/v1/namespaces/a/pods/b/log"
        );
        let nodes = GroupVersionResource::new("apps", "v1", "deployments");
        assert_eq!(nodes.path(None, None, None), "/apis/apps/v1/deployments");
        assert_eq!(nodes.group_resource(), "deployments.apps");
    }

    #[test]
    fn an_api_version_is_split_at_its_only_slash() {
        assert_eq!(GroupVersion::parse("v1"), Some(GroupVersion::new("", "v1")));
        assert_eq!(
            GroupVersion::parse("apps/v1"),
            Some(GroupVersion::new("apps", "v1"))
        );
        assert_eq!(GroupVersion::parse("a/b/c"), None);
    }
}
