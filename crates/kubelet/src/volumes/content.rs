//! The files of volumes that come from API objects.

use crate::env::{SourceKind, Sources, data, keys};
use crate::fields::{self, FieldError, Placement};
use crate::spec::PodExt;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, ServiceAccountTokenProjection,
    Volume,
};
use std::collections::BTreeMap;

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// The files of a volume by their path in it.
pub type Files = BTreeMap<String, File>;

/// Why the files of a volume cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContentError {
    /// An object that must be there is not.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key that must be there is not.
    #[error("references non-existent {kind} key: {key}")]
    Key {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A path that leads out of the volume.
    #[error("invalid path {0:?} in a volume: it must be relative and must not contain '..'")]
    Path(String),
    /// A field that does not exist.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No token.
    #[error("failed to fetch token: {0}")]
    Token(String),
    /// A source that this kubelet does not know.
    #[error("volume source {0} is not supported")]
    Unsupported(&'static str),
}

/// The tokens of a volume, fetched before its files are computed, by the path
/// at which they lie.
pub type Tokens = BTreeMap<String, String>;

const DEFAULT_MODE: i32 = 0o644;

struct Builder<'a> {
    pod: &'a Pod,
    sources: &'a dyn Sources,
    placement: &'a Placement,
    files: Files,
}

/// The files of a volume; `None` if it does not consist of files from API objects.
///
/// # Errors
/// If something that is not optional cannot be found.
pub fn files(
    pod: &Pod,
    volume: &Volume,
    sources: &dyn Sources,
    placement: &Placement,
    tokens: &Tokens,
) -> Result<Option<Files>, ContentError> {
    let mut builder = Builder {
        pod,
        sources,
        placement,
        files: Files::new(),
    };
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        builder.object(
            SourceKind::ConfigMap,
            &source.name,
            source.items.as_deref(),
            source.optional,
            mode,
        )?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        builder.object(
            SourceKind::Secret,
            name,
            source.items.as_deref(),
            source.optional,
            mode,
        )?;
    } else if let Some(source) = &volume.downward_api {
        builder.downward(
            source.items.as_deref(),
            source.default_mode.unwrap_or(DEFAULT_MODE),
        )?;
    } else if let Some(source) = &volume.projected {
        builder.projected(source, tokens)?;
    } else {
        return Ok(None);
    }
    Ok(Some(builder.files))
}

/// The tokens that a volume needs.
pub fn tokens(volume: &Volume) -> impl Iterator<Item = &ServiceAccountTokenProjection> {
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    sources.filter_map(|source| source.service_account_token.as_ref())
}

impl Builder<'_> {
    fn put(&mut self, path: &str, data: Vec<u8>, mode: i32) -> Result<(), ContentError> {
        let bad = path.is_empty()
            || path.starts_with('/')
            || path.split('/').any(|part| part == ".." || part.is_empty());
        if bad || path.starts_with("..") {
            return Err(ContentError::Path(path.to_owned()));
        }
        let mode = u32::try_from(mode).unwrap_or(0o644) & 0o7777;
        self.files.insert(path.to_owned(), File { data, mode });
        Ok(())
    }

    fn object(
        &mut self,
        kind: SourceKind,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<(), ContentError> {
        let optional = optional == Some(true);
        let Some(object) = kind.find(self.sources, self.pod.namespace(), name) else {
            let missing = ContentError::Missing {
                kind: kind.resource(),
                name: name.to_owned(),
            };
            return if optional { Ok(()) } else { Err(missing) };
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            for key in keys(kind, &object) {
                if let Some(data) = data(kind, &object, &key) {
                    self.put(&key, data, mode)?;
                }
            }
            return Ok(());
        };
        for item in items {
            match data(kind, &object, &item.key) {
                Some(data) => self.put(&item.path, data, item.mode.unwrap_or(mode))?,
                None if optional => {}
                None => {
                    let kind = if kind == SourceKind::Secret {
                        "secret"
                    } else {
                        "config"
                    };
                    return Err(ContentError::Key {
                        kind,
                        key: item.key.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn downward(
        &mut self,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: i32,
    ) -> Result<(), ContentError> {
        for item in items.unwrap_or_default() {
            let text = if let Some(field) = &item.field_ref {
                fields::field(self.pod, &field.field_path, self.placement)?
            } else if let Some(resource) = &item.resource_field_ref {
                fields::resource(self.pod, "", resource, self.placement)?
            } else {
                continue;
            };
            self.put(&item.path, text.into_bytes(), item.mode.unwrap_or(mode))?;
        }
        Ok(())
    }

    fn projected(
        &mut self,
        source: &ProjectedVolumeSource,
        tokens: &Tokens,
    ) -> Result<(), ContentError> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for source in source.sources.iter().flatten() {
            if let Some(source) = &source.config_map {
                self.object(
                    SourceKind::ConfigMap,
                    &source.name,
                    source.items.as_deref(),
                    source.optional,
                    mode,
                )?;
            } else if let Some(source) = &source.secret {
                self.object(
                    SourceKind::Secret,
                    &source.name,
                    source.items.as_deref(),
                    source.optional,
                    mode,
                )?;
            } else if let Some(source) = &source.downward_api {
                self.downward(source.items.as_deref(), mode)?;
            } else if let Some(source) = &source.service_account_token {
                let token = tokens.get(&source.path);
                let token =
                    token.ok_or_else(|| ContentError::Token("it was not requested".to_owned()))?;
                self.put(
                    &source.path,
                    token.clone().into_bytes(),
                    self.token_mode(mode),
                )?;
            } else if source.cluster_trust_bundle.is_some() {
                return Err(ContentError::Unsupported("clusterTrustBundle"));
            } else if source.pod_certificate.is_some() {
                return Err(ContentError::Unsupported("podCertificate"));
            }
        }
        Ok(())
    }

    /// A token is for its owner alone, unless a group or another user must read it.
    fn token_mode(&self, default: i32) -> i32 {
        let context = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.security_context.as_ref());
        if context.is_some_and(|context| context.fs_group.is_some()) {
            0o640
        } else {
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_object::{Object, SharedObject};
    use serde_json::{Value, json};
    use std::sync::Arc;

    struct Two;

    impl Sources for Two {
        fn config_map(&self, _: &str, name: &str) -> Option<SharedObject> {
            let object =
                json!({"metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"b": "/w=="}});
            (name == "c").then(|| Arc::new(Object::from_value(object).expect("a map")))
        }

        fn secret(&self, _: &str, name: &str) -> Option<SharedObject> {
            let object = json!({"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}});
            (name == "s").then(|| Arc::new(Object::from_value(object).expect("a map")))
        }

        fn services(&self, _: &str) -> Vec<SharedObject> {
            Vec::new()
        }
    }

    fn shown(volume: Value) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}}))
            .expect("a pod");
        let mut volume = volume;
        volume["name"] = json!("v");
        let volume: Volume = serde_json::from_value(volume).expect("a volume");
        let tokens = Tokens::from([("token".to_owned(), "jwt".to_owned())]);
        let files = files(&pod, &volume, &Two, &Placement::default(), &tokens)
            .map_err(|error| error.to_string())?;
        let Some(files) = files else {
            return Ok("none".to_owned());
        };
        let words = files
            .iter()
            .map(|(path, file)| format!("{path}={} {:o}", file.data.escape_ascii(), file.mode));
        Ok(words.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn files_come_from_objects_fields_and_tokens() {
        for (volume, expected) in [
            (json!({"emptyDir": {}}), "none"),
            (json!({"configMap": {"name": "c"}}), "a=1 644, b=\\xff 644"),
            (
                json!({"configMap": {"name": "c", "defaultMode": 256, "items": [{"key": "a", "path": "x/y", "mode": 511}]}}),
                "x/y=1 777",
            ),
            (json!({"configMap": {"name": "none", "optional": true}}), ""),
            (
                json!({"secret": {"secretName": "s", "defaultMode": 256}}),
                "k=secret 400",
            ),
            (
                json!({"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
                "name=p 644",
            ),
            (
                json!({"projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "c", "items": [{"key": "a", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}}),
                "ca.crt=1 644, namespace=n 644, token=jwt 644",
            ),
        ] {
            assert_eq!(shown(volume.clone()).as_deref(), Ok(expected), "{volume}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (volume, expected) in [
            (
                json!({"configMap": {"name": "x"}}),
                "configmap \"x\" not found",
            ),
            (
                json!({"secret": {"secretName": "x"}}),
                "secret \"x\" not found",
            ),
            (
                json!({"configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}}),
                "references non-existent config key: z",
            ),
            (
                json!({"configMap": {"name": "c", "items": [{"key": "a", "path": "../z"}]}}),
                "invalid path \"../z\" in a volume: it must be relative and must not contain '..'",
            ),
        ] {
            assert_eq!(shown(volume.clone()), Err(expected.to_owned()), "{volume}");
        }
    }
}
