//! Certificates from files, as etcd's flags name them.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use kontiki_etcd::CertificateDays;
use kontiki_pki::{Credentials, read_file, tls};
use kontiki_raft::PeerTls;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

const FILES_LOOKED_AT_EVERY: Duration = Duration::from_secs(30);

/// A certificate, its key, and who signs the other side's.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM; without it nobody's certificate is asked for.
    pub authority: Option<PathBuf>,
}

/// Of the certificate that is on the disk: it may have been replaced.
pub fn certificate_days(files: Option<TlsFiles>) -> CertificateDays {
    let days = |files: &TlsFiles| -> Result<i64> {
        let (chain, key) = (read_file(&files.certificate)?, read_file(&files.key)?);
        Ok(Credentials::from_pem(&chain, &key)?.days_left(Timestamp::now())?)
    };
    CertificateDays(
        files.map(|files| -> Arc<dyn Fn() -> Option<i64> + Send + Sync> {
            Arc::new(move || days(&files).ok())
        }),
    )
}

/// Read from the files now, and again whenever they have been replaced.
fn credentials(files: &TlsFiles) -> Result<Arc<tls::Reloading>> {
    let pem = Pem::read(files)?;
    let live = tls::Reloading::new(&pem.credentials()?)?;
    tokio::spawn(follow(files.clone(), pem, Arc::downgrade(&live)));
    Ok(live)
}

/// What is in the files.
#[derive(PartialEq, Eq)]
struct Pem {
    chain: String,
    key: String,
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self> {
        Ok(Self {
            chain: read_file(&files.certificate)?,
            key: read_file(&files.key)?,
        })
    }

    fn credentials(&self) -> Result<Credentials> {
        Ok(Credentials::from_pem(&self.chain, &self.key)?)
    }
}

/// Takes over new certificates until nobody shows them any more.
async fn follow(files: TlsFiles, mut shown: Pem, live: Weak<tls::Reloading>) {
    loop {
        tokio::time::sleep(FILES_LOOKED_AT_EVERY).await;
        let Some(live) = live.upgrade() else { return };
        let file = files.certificate.display();
        let found = match Pem::read(&files) {
            Ok(found) if found == shown => continue,
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "a certificate cannot be read again; the old one stays");
                continue;
            }
        };
        // The two files are not replaced at the same moment.
        let replaced = found
            .credentials()
            .and_then(|credentials| Ok(live.replace(&credentials)?));
        match replaced {
            Ok(()) => {
                tracing::info!(%file, "a new certificate is shown from now on");
                shown = found;
            }
            Err(error) => tracing::warn!(%file, %error, "the new certificate is not taken"),
        }
    }
}

pub fn client_tls(files: &TlsFiles, demand: bool) -> Result<Arc<rustls::ServerConfig>> {
    let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let config = match &files.authority {
        Some(authority) => {
            let auth = if demand {
                tls::ClientAuth::Required
            } else {
                tls::ClientAuth::Optional
            };
            tls::server_config(credentials(files)?, &[&read_file(authority)?], auth, &alpn)?
        }
        None if demand => bail!("--client-cert-auth needs --trusted-ca-file"),
        None => {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(credentials(files)?);
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            config
        }
    };
    Ok(Arc::new(config))
}

pub fn peer_tls(files: &TlsFiles) -> Result<PeerTls> {
    let authority = files
        .authority
        .as_ref()
        .context("peers show each other certificates: give --peer-trusted-ca-file")?;
    let authority = read_file(authority)?;
    let credentials = credentials(files)?;
    Ok(PeerTls {
        server: Arc::new(tls::server_config(
            credentials.clone(),
            &[&authority],
            tls::ClientAuth::Required,
            &tls::ALPN_H2,
        )?),
        client: Arc::new(tls::client_config(
            &[&authority],
            Some(credentials),
            &tls::ALPN_H2,
        )?),
    })
}
