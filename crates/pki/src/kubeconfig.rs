//! kubeconfig files, with certificates and keys inside them.

use crate::{Credentials, PkiError};
use base64::Engine;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The fields of a kubeconfig that one server and one user need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Kubeconfig {
    pub api_version: String,
    pub kind: String,
    pub clusters: Vec<NamedCluster>,
    pub contexts: Vec<NamedContext>,
    #[serde(rename = "current-context")]
    pub current_context: String,
    pub users: Vec<NamedUser>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct NamedCluster {
    pub name: String,
    pub cluster: Cluster,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Cluster {
    pub certificate_authority_data: String,
    pub server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct NamedContext {
    pub name: String,
    pub context: Context,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Context {
    pub cluster: String,
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct NamedUser {
    pub name: String,
    pub user: User,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct User {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_key_data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User(..)")
    }
}

impl Kubeconfig {
    /// For one server and one user who holds a certificate.
    #[must_use]
    pub fn new(
        cluster: &str,
        server: &str,
        authority_pem: &str,
        user: &str,
        credentials: &Credentials,
    ) -> Self {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let context = format!("{user}@{cluster}");
        Self {
            api_version: "v1".into(),
            kind: "Config".into(),
            clusters: vec![NamedCluster {
                name: cluster.into(),
                cluster: Cluster {
                    certificate_authority_data: encode(authority_pem),
                    server: server.into(),
                },
            }],
            contexts: vec![NamedContext {
                name: context.clone(),
                context: Context {
                    cluster: cluster.into(),
                    user: user.into(),
                    namespace: String::new(),
                },
            }],
            current_context: context,
            users: vec![NamedUser {
                name: user.into(),
                user: User {
                    client_certificate_data: encode(&credentials.chain_pem),
                    client_key_data: encode(credentials.key.to_pem()),
                    token: String::new(),
                },
            }],
        }
    }

    /// As YAML. It holds the user's key: write it with [`crate::write_private`].
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).expect("a kubeconfig always encodes")
    }

    /// Reads YAML (or JSON).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn from_yaml(text: &str) -> Result<Self, PkiError> {
        // The parser's message could quote a key, so it says only where.
        serde_yaml_ng::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            PkiError::Bundle(format!("not a kubeconfig, see line {line}"))
        })
    }
}
