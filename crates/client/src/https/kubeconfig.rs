//! The API as a kubeconfig file describes it.

use super::{HttpsConfig, HttpsError};
use base64::Engine;
use kontiki_pki::kubeconfig::Kubeconfig;
use kontiki_pki::{Credentials, tls};
use std::path::Path;
use std::sync::Arc;

impl HttpsConfig {
    /// From a kubeconfig file's current context.
    ///
    /// # Errors
    /// If it cannot be read or lacks something; certificates must be inside it.
    pub fn from_kubeconfig_file(path: &Path) -> Result<Self, HttpsError> {
        let wrong = |source| HttpsError::Kubeconfig {
            path: path.to_owned(),
            source,
        };
        let text = kontiki_pki::read_file(path).map_err(wrong)?;
        Self::from_kubeconfig(&Kubeconfig::from_yaml(&text).map_err(wrong)?)
    }

    /// From a kubeconfig's current context.
    ///
    /// # Errors
    /// If it lacks something; certificates must be inside it.
    pub fn from_kubeconfig(config: &Kubeconfig) -> Result<Self, HttpsError> {
        let missing =
            |what: &str, name: &str| HttpsError::Incomplete(format!("{what} named {name:?}"));
        let context = config
            .contexts
            .iter()
            .find(|named| named.name == config.current_context)
            .map(|named| &named.context)
            .ok_or_else(|| missing("context", &config.current_context))?;
        let cluster = config
            .clusters
            .iter()
            .find(|named| named.name == context.cluster)
            .map(|named| &named.cluster)
            .ok_or_else(|| missing("cluster", &context.cluster))?;
        let user = config
            .users
            .iter()
            .find(|named| named.name == context.user)
            .map(|named| &named.user)
            .ok_or_else(|| missing("user", &context.user))?;
        let authority = decode(
            "certificate-authority-data",
            &cluster.certificate_authority_data,
        )?;
        let credentials = if user.client_certificate_data.is_empty() {
            None
        } else {
            let chain = decode("client-certificate-data", &user.client_certificate_data)?;
            let key = decode("client-key-data", &user.client_key_data)?;
            let credentials =
                Credentials::from_pem(&chain, &key).map_err(HttpsError::Credentials)?;
            Some(tls::Reloading::new(&credentials).map_err(HttpsError::Credentials)?)
        };
        let tls = tls::client_config(&[&authority], credentials, &tls::ALPN_HTTP)
            .map_err(HttpsError::Credentials)?;
        let mut https = Self::new(vec![cluster.server.clone()], Arc::new(tls));
        https.bearer_token = (!user.token.is_empty()).then(|| user.token.clone());
        Ok(https)
    }
}

fn decode(what: &str, data: &str) -> Result<String, HttpsError> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data.trim())
        .unwrap_or_default();
    match String::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(HttpsError::Incomplete(format!("valid {what}"))),
    }
}
