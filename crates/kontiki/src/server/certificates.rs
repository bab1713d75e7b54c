//! The server's certificates, issued from the cluster's authorities at start.

use crate::config::ServerConfig;
use anyhow::{Context, Result};
use jiff::Timestamp;
use kontiki_etcd::CertificateDays;
use kontiki_pki::{ClusterSecrets, Credentials, Profile, ServerNames, tls};
use kontiki_raft::PeerTls;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a server proves itself with. Each is renewed in place before it ends.
pub struct Certificates {
    secrets: ClusterSecrets,
    serving: Renewed,
    member: Renewed,
    peer_client: Renewed,
}

/// One certificate: what it is for, and where TLS takes it from.
struct Renewed {
    profile: Profile,
    stem: std::path::PathBuf,
    live: Arc<tls::Reloading>,
    authority: Issuer,
}

#[derive(Clone, Copy)]
enum Issuer {
    Cluster,
    Store,
}

const RENEWAL_CHECK: Duration = Duration::from_secs(3600);
/// Groups by which servers know each other.
pub const SERVERS_GROUP: &str = "kontiki:servers";

impl Certificates {
    /// Reads the authorities, or makes them for a cluster of one; issues what is missing.
    pub fn obtain(config: &ServerConfig) -> Result<Self> {
        let dir = config.data_dir.join("pki");
        let now = Timestamp::now();
        let secrets = match ClusterSecrets::load(&dir)? {
            Some(secrets) => secrets,
            None if config.servers.len() == 1 => ClusterSecrets::load_or_create(&dir, now)?,
            None => anyhow::bail!(
                "the servers of a cluster share their authorities, and there are none in {dir}; run `kontiki pki init --dir \
                 {dir}` on one server and copy that folder to all others",
                dir = dir.display()
            ),
        };
        let own = config.own()?;
        let mut hosts = vec![own.address.clone(), own.name.clone()];
        hosts.extend(config.extra_names.iter().cloned());
        let names = ServerNames {
            hosts: hosts.clone(),
            cluster_domain: config.cluster_domain.clone(),
            service_addresses: vec![IpAddr::V4(config.service_address())],
        };
        let client = Profile::client(&format!("{SERVERS_GROUP}:{}", own.name), &[SERVERS_GROUP]);
        let issue = |name: &str, profile: Profile, authority: Issuer| -> Result<Renewed> {
            let stem = config.data_dir.join("certs").join(name);
            let issuer = authority.of(&secrets);
            let credentials = issuer
                .ensure(&stem, &profile, now)
                .with_context(|| format!("cannot issue the certificate {name}"))?;
            Ok(Renewed {
                profile,
                stem,
                live: tls::Reloading::new(&credentials)?,
                authority,
            })
        };
        std::fs::create_dir_all(config.data_dir.join("certs"))?;
        Ok(Self {
            serving: issue(
                "apiserver",
                Profile::server_serving(&names),
                Issuer::Cluster,
            )?,
            member: issue(
                "store",
                Profile::store_member(&own.name, &hosts),
                Issuer::Store,
            )?,
            peer_client: issue("server-client", client, Issuer::Cluster)?,
            secrets,
        })
    }

    /// The authorities.
    pub fn secrets(&self) -> &ClusterSecrets {
        &self.secrets
    }

    /// How the API is served: clients may show a certificate.
    pub fn api(&self) -> Result<Arc<rustls::ServerConfig>> {
        let authorities = [
            self.secrets.cluster.certificate_pem(),
            self.secrets.front_proxy.certificate_pem(),
        ];
        let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
        Ok(Arc::new(tls::server_config(
            self.serving.live.clone(),
            &authorities,
            tls::ClientAuth::Optional,
            &alpn,
        )?))
    }

    /// How the etcd API is served: clients must show a certificate of the store's.
    pub fn etcd(&self) -> Result<Arc<rustls::ServerConfig>> {
        let authorities = [self.secrets.store.certificate_pem()];
        let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
        Ok(Arc::new(tls::server_config(
            self.member.live.clone(),
            &authorities,
            tls::ClientAuth::Required,
            &alpn,
        )?))
    }

    /// How long the certificate is good that etcd's clients are shown.
    pub fn store_days(&self) -> CertificateDays {
        let stem = self.member.stem.clone();
        let days = move || {
            Credentials::load(&stem)
                .ok()?
                .days_left(Timestamp::now())
                .ok()
        };
        CertificateDays(Some(Arc::new(days)))
    }

    /// How the store's peers talk.
    pub fn peers(&self) -> Result<PeerTls> {
        let authorities = [self.secrets.store.certificate_pem()];
        Ok(PeerTls {
            server: Arc::new(tls::server_config(
                self.member.live.clone(),
                &authorities,
                tls::ClientAuth::Required,
                &[b"h2"],
            )?),
            client: Arc::new(tls::client_config(
                &authorities,
                Some(self.member.live.clone()),
                &[b"h2"],
            )?),
        })
    }

    /// How this server calls others.
    pub fn to_servers(&self) -> Result<Arc<rustls::ClientConfig>> {
        let authorities = [self.secrets.cluster.certificate_pem()];
        Ok(Arc::new(tls::client_config(
            &authorities,
            Some(self.peer_client.live.clone()),
            &[b"h2"],
        )?))
    }

    /// Renews what nears its end.
    pub async fn keep(self: Arc<Self>, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RENEWAL_CHECK) => {}
            }
            for one in [&self.serving, &self.member, &self.peer_client] {
                let issuer = one.authority.of(&self.secrets);
                let renewed = issuer.ensure(&one.stem, &one.profile, Timestamp::now());
                if let Err(error) = renewed.and_then(|credentials| one.live.replace(&credentials)) {
                    tracing::error!(certificate = %one.stem.display(), %error, "a certificate could not be renewed");
                }
            }
        }
    }
}

impl Issuer {
    fn of(self, secrets: &ClusterSecrets) -> &kontiki_pki::Authority {
        match self {
            Self::Cluster => &secrets.cluster,
            Self::Store => &secrets.store,
        }
    }
}
