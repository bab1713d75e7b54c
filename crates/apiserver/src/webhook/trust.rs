//! Whom webhooks are believed to be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_pki::PkiError;
use rustls::ClientConfig;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn system() -> &'static str {
    static PEM: OnceLock<String> = OnceLock::new();
    PEM.get_or_init(|| {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let files = named.into_iter().chain(SYSTEM.map(PathBuf::from));
        files
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .next()
            .unwrap_or_default()
    })
}

/// TLS for a `caBundle`, as configurations carry it; the system's authorities
/// if it is empty.
///
/// # Errors
/// If it holds no certificates.
pub(super) fn client_config(ca_bundle: &str) -> Result<Arc<ClientConfig>, String> {
    let decoded = STANDARD
        .decode(ca_bundle)
        .map_err(|error| format!("the caBundle is not base64: {error}"))?;
    let own = String::from_utf8_lossy(&decoded);
    let pem = if own.is_empty() { system() } else { &own };
    let config: Result<ClientConfig, PkiError> =
        kontiki_pki::tls::serving_client_config(pem, &[b"h2", b"http/1.1"]);
    match config {
        Ok(config) => Ok(Arc::new(config)),
        Err(error) => Err(format!("unable to load root certificates: {error}")),
    }
}
