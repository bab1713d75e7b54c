//! Client certificates: common name is the user, organizations are the groups.

use super::{Authenticated, Authenticator, AuthnError};
use crate::UserInfo;
use async_trait::async_trait;
use http::request::Parts;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Extra key under which a certificate's fingerprint is known to webhooks and audit.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// The attribute of a subject that carries a user's UID.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// The certificate authorities that client certificates are judged by.
#[derive(Clone)]
pub struct ClientTrust {
    cluster: Arc<dyn ClientCertVerifier>,
    front_proxy: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientTrust {
    /// From DER certificates of the cluster's CAs and of the front proxy's.
    ///
    /// # Errors
    /// If a certificate cannot be a trust anchor.
    pub fn new(
        cluster: &[CertificateDer<'static>],
        front_proxy: &[CertificateDer<'static>],
    ) -> Result<Self, AuthnError> {
        Ok(Self {
            cluster: verifier(cluster)?,
            front_proxy: if front_proxy.is_empty() {
                None
            } else {
                Some(verifier(front_proxy)?)
            },
        })
    }
}

fn verifier(roots: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, AuthnError> {
    let bad = |error: &dyn std::fmt::Display| {
        AuthnError::Unavailable(format!("a client CA cannot be used: {error}"))
    };
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| bad(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| bad(&error))?;
    Ok(verifier)
}

/// The certificate that a connection's client proved to hold, judged once per connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Common name of the subject.
    pub common_name: String,
    /// Organizations of the subject, in their order.
    pub organizations: Vec<String>,
    /// UID attribute of the subject, if it has one.
    pub uid: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// Whether the cluster's CA vouches for it.
    pub is_cluster_client: bool,
    /// Whether the front proxy's CA vouches for it.
    pub is_front_proxy: bool,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid. Connections outlive certificates, so every
    /// request looks at it.
    pub not_after: Timestamp,
}

impl PeerCertificate {
    /// Judges the chain that TLS received, leaf first.
    ///
    /// # Errors
    /// If it is empty, malformed, or no known CA vouches for it at `now`.
    pub fn verify(
        chain: &[CertificateDer<'_>],
        trust: &ClientTrust,
        now: Timestamp,
    ) -> Result<Self, AuthnError> {
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or_else(|| AuthnError::Invalid("the certificate chain is empty".into()))?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(
            u64::try_from(now.as_second()).unwrap_or_default(),
        ));
        let vouched = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, intermediates, at)
        };
        let cluster = vouched(&trust.cluster);
        let is_front_proxy = trust
            .front_proxy
            .as_ref()
            .is_some_and(|verifier| vouched(verifier).is_ok());
        if let Err(error) = &cluster
            && !is_front_proxy
        {
            return Err(AuthnError::Invalid(format!("client certificate: {error}")));
        }
        Self::parse(leaf, cluster.is_ok(), is_front_proxy)
    }

    fn parse(
        leaf: &CertificateDer<'_>,
        is_cluster_client: bool,
        is_front_proxy: bool,
    ) -> Result<Self, AuthnError> {
        let malformed =
            |what: String| AuthnError::Invalid(format!("malformed client certificate: {what}"));
        let (_, certificate) =
            X509Certificate::from_der(leaf).map_err(|error| malformed(error.to_string()))?;
        let time = |seconds: i64| {
            Timestamp::from_second(seconds).map_err(|error| malformed(error.to_string()))
        };
        let subject = certificate.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().map(str::to_owned).unwrap_or_default()
        };
        Ok(Self {
            common_name: subject
                .iter_common_name()
                .last()
                .map(text)
                .unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            uid: subject
                .iter_attributes()
                .filter(|attribute| attribute.attr_type().to_id_string() == UID_OID)
                .map(text)
                .next()
                .unwrap_or_default(),
            fingerprint: hex(ring::digest::digest(&ring::digest::SHA256, leaf).as_ref()),
            is_cluster_client,
            is_front_proxy,
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
        })
    }

    /// Whether it is valid at a time.
    #[must_use]
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The user that it names.
    #[must_use]
    pub fn user(&self) -> UserInfo {
        let mut user = UserInfo {
            name: self.common_name.clone(),
            uid: self.uid.clone(),
            groups: self.organizations.clone(),
            ..UserInfo::default()
        };
        user.extra.insert(
            CREDENTIAL_ID.to_owned(),
            vec![format!("X509SHA256={}", self.fingerprint)],
        );
        user
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Accepts the certificates that the cluster's CA vouches for.
#[derive(Clone, Copy, Debug, Default)]
pub struct X509;

#[async_trait]
impl Authenticator for X509 {
    async fn authenticate(
        &self,
        _parts: &Parts,
        peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        let Some(peer) = peer.filter(|peer| peer.is_cluster_client) else {
            return Ok(None);
        };
        if !peer.is_current(Timestamp::now()) {
            return Err(AuthnError::Invalid(format!(
                "the client certificate of \"{}\" has expired or is not yet valid",
                peer.common_name
            )));
        }
        if peer.common_name.is_empty() {
            return Ok(None);
        }
        Ok(Some(peer.user().into()))
    }
}
