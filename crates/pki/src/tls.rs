//! rustls configurations.

use crate::authority::{bundle, pin};
use crate::{Credentials, PkiError};
use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::sync::Arc;

/// HTTP/2 first, as gRPC needs it, then HTTP/1.1.
pub const ALPN_HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// gRPC alone.
pub const ALPN_H2: [&[u8]; 1] = [b"h2"];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn tls(error: impl fmt::Display) -> PkiError {
    PkiError::Tls(error.to_string())
}

/// Credentials that can be renewed while connections are being made.
///
/// Both sides of TLS take their certificate from here at every handshake.
pub struct Reloading {
    current: ArcSwap<CertifiedKey>,
}

impl Reloading {
    /// Starts with these.
    ///
    /// # Errors
    /// If they are malformed.
    pub fn new(credentials: &Credentials) -> Result<Arc<Self>, PkiError> {
        Ok(Arc::new(Self {
            current: ArcSwap::new(credentials.certified_key()?),
        }))
    }

    /// New handshakes use these from now on.
    ///
    /// # Errors
    /// If they are malformed; then the present ones stay.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), PkiError> {
        self.current.store(credentials.certified_key()?);
        Ok(())
    }
}

impl fmt::Debug for Reloading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloading(..)")
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for Reloading {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Whether clients of a server must hold a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They may; who holds none can present a token.
    Optional,
    /// They must.
    Required,
}

/// Trust anchors from PEM texts; each may hold several certificates.
///
/// # Errors
/// If one is malformed or there is none.
pub fn roots(authorities_pem: &[&str]) -> Result<Arc<RootCertStore>, PkiError> {
    let mut store = RootCertStore::empty();
    for pem in authorities_pem {
        for certificate in bundle(pem)? {
            store.add(certificate).map_err(tls)?;
        }
    }
    Ok(Arc::new(store))
}

/// A server that accepts client certificates of the given authorities only.
///
/// # Errors
/// If the authorities are malformed.
pub fn server_config(
    credentials: Arc<Reloading>,
    client_authorities_pem: &[&str],
    client_auth: ClientAuth,
    alpn: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(roots(client_authorities_pem)?, provider());
    if client_auth == ClientAuth::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_client_cert_verifier(verifier.build().map_err(tls)?)
        .with_cert_resolver(credentials);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A client that trusts the given authorities.
///
/// # Errors
/// If the authorities are malformed.
pub fn client_config(
    authorities_pem: &[&str],
    credentials: Option<Arc<Reloading>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots(authorities_pem)?);
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(credentials),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A client of a server that others run: it trusts the given certificates,
/// authorities or not. Many such servers sign their own certificate and hand
/// that out as the authority, which Go's clients accept.
///
/// # Errors
/// If the certificates are malformed. None at all is no error: then nobody is
/// trusted.
pub fn serving_client_config(trusted_pem: &str, alpn: &[&[u8]]) -> Result<ClientConfig, PkiError> {
    let trusted = if trusted_pem.trim().is_empty() {
        Vec::new()
    } else {
        bundle(trusted_pem)?
    };
    let verifier = Arc::new(Verifier(Arc::new(Trusted { trusted })));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Decides whether a server's certificate is believed.
trait Judge: fmt::Debug + Send + Sync {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error>;
}

/// Certificates as the judge says; signatures as always.
#[derive(Debug)]
struct Verifier<J>(Arc<J>);

impl<J: Judge> ServerCertVerifier for Verifier<J> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .judge(leaf, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Believes servers whose certificate is good under a trusted one, or is one.
#[derive(Debug)]
struct Trusted {
    trusted: Vec<CertificateDer<'static>>,
}

impl Judge for Trusted {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.iter().any(|own| **own == **leaf) {
            // It vouches for itself: no authority can say more than its bytes.
            check_validity(leaf, now)?;
            let parsed = rustls::server::ParsedCertificate::try_from(leaf)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.trusted.iter().cloned());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|_| rustls::CertificateError::UnknownIssuer)?;
        verifier.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)
    }
}

/// Whether a certificate is valid now.
fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| rustls::CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(rustls::CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(rustls::CertificateError::Expired.into());
    }
    Ok(())
}

/// A client that knows nothing of a cluster but the pin of its CA.
///
/// The CA's certificate is taken from the server's chain if its hash is the
/// pin, and the server's certificate must then be good under it.
///
/// # Errors
/// If TLS cannot be configured.
pub fn pinned_client_config(
    authority_pin: &str,
    alpn: &[&[u8]],
) -> Result<(ClientConfig, Arc<PinnedAuthority>), PkiError> {
    let verifier = Arc::new(PinnedAuthority {
        pin: authority_pin.to_owned(),
        found: ArcSwap::from_pointee(None),
    });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier(verifier.clone())))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok((config, verifier))
}

/// Finds the CA of a cluster by its pin.
#[derive(Debug)]
pub struct PinnedAuthority {
    pin: String,
    found: ArcSwap<Option<CertificateDer<'static>>>,
}

impl PinnedAuthority {
    /// The CA's certificate in PEM form, after the first good handshake.
    #[must_use]
    pub fn certificate_pem(&self) -> Option<String> {
        (**self.found.load())
            .as_ref()
            .map(|der| crate::key::pem("CERTIFICATE", der))
    }
}

impl Judge for PinnedAuthority {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| pin(certificate) == self.pin)
            .ok_or_else(|| {
                Error::General(
                    "the server's certificate authority is not the one that the join token names"
                        .into(),
                )
            })?
            .clone()
            .into_owned();
        let mut store = RootCertStore::empty();
        store.add(authority.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified =
            verifier.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)?;
        self.found.store(Arc::new(Some(authority)));
        Ok(verified)
    }
}
