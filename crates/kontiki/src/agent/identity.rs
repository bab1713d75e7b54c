//! The node's certificates: got with a join token, renewed in time.

use crate::config::AgentConfig;
use anyhow::{Context, Result, bail};
use kontiki_nodelink::channel;
use kontiki_nodelink::proto::node_link_client::NodeLinkClient;
use kontiki_nodelink::proto::{ClusterFacts, JoinReply, JoinRequest, RenewRequest};
use kontiki_pki::{
    CertificateRequest, Credentials, JoinToken, PrivateKey, Profile, read_file, tls, write_private,
    write_public,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// What is known of the cluster, kept so that the agent can start while no
/// server is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub cluster_domain: String,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: String,
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    #[serde(rename = "serviceCIDR")]
    pub service_cidr: String,
}

impl From<ClusterFacts> for Facts {
    fn from(facts: ClusterFacts) -> Self {
        Self {
            cluster_domain: facts.cluster_domain,
            cluster_dns: facts.cluster_dns,
            cluster_cidr: facts.cluster_cidr,
            service_cidr: facts.service_cidr,
        }
    }
}

/// The node's certificates and what it knows of its cluster.
pub struct Identity {
    directory: PathBuf,
    node_name: String,
    hosts: Vec<String>,
    authorities: String,
    client: Arc<tls::Reloading>,
    client_credentials: parking_lot::Mutex<Credentials>,
    /// What is known of the cluster.
    pub facts: Facts,
    /// `host:port` of the servers.
    pub servers: Vec<String>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RENEWAL_CHECK: Duration = Duration::from_secs(3600);

impl Identity {
    /// Reads the certificates, or gets them with the join token.
    pub async fn obtain(config: &AgentConfig, address: IpAddr) -> Result<Self> {
        let directory = config.data_dir.join("pki");
        if !directory.join("client.crt").exists() {
            join(config, address, &directory).await?;
        }
        let credentials = Credentials::load(&directory.join("client"))?;
        if credentials.days_left(jiff::Timestamp::now())? < 0 {
            bail!(
                "this node's certificate in {} has expired; remove that folder and join again with a new token",
                directory.display()
            );
        }
        let facts = serde_json::from_str(&read_file(&directory.join("cluster.json"))?)
            .with_context(|| {
                format!(
                    "{}/cluster.json is damaged; remove that folder and join again",
                    directory.display()
                )
            })?;
        let mut servers = config.servers.clone();
        servers.extend(
            read_file(&directory.join("servers"))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned),
        );
        servers.sort();
        servers.dedup();
        Ok(Self {
            authorities: read_file(&directory.join("ca.crt"))?,
            client: tls::Reloading::new(&credentials)?,
            client_credentials: parking_lot::Mutex::new(credentials),
            node_name: config.node_name.clone(),
            hosts: vec![config.node_name.clone(), address.to_string()],
            directory,
            facts,
            servers,
        })
    }

    /// How this node talks to servers.
    pub fn tls(&self) -> Result<Arc<rustls::ClientConfig>> {
        let config = tls::client_config(&[&self.authorities], Some(self.client.clone()), &[b"h2"])?;
        Ok(Arc::new(config))
    }

    /// Renews the certificates before they end.
    pub async fn keep(self: Arc<Self>, cancel: CancellationToken) {
        loop {
            let due = self
                .client_credentials
                .lock()
                .needs_renewal(jiff::Timestamp::now())
                .unwrap_or(true);
            if due && let Err(error) = self.renew().await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the node's certificates could not be renewed yet"
                );
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RENEWAL_CHECK) => {}
            }
        }
    }

    async fn renew(&self) -> Result<()> {
        let wanted = Wanted::new(&self.node_name, &self.hosts)?;
        let mut last = None;
        for server in &self.servers {
            let endpoint = endpoint(server)?;
            let reply = match channel::connect(endpoint, self.tls()?).await {
                Ok(channel) => {
                    let request = RenewRequest {
                        client_csr: wanted.client_csr.clone(),
                        serving_csr: wanted.serving_csr.clone(),
                    };
                    NodeLinkClient::new(channel).renew(request).await
                }
                Err(error) => {
                    last = Some(anyhow::Error::from(error).context(server.clone()));
                    continue;
                }
            };
            match reply {
                Ok(reply) => {
                    let credentials = wanted.store(&self.directory, &reply.into_inner())?;
                    self.client.replace(&credentials)?;
                    *self.client_credentials.lock() = credentials;
                    tracing::info!("the node's certificates were renewed");
                    return Ok(());
                }
                Err(status) => last = Some(anyhow::anyhow!("{server}: {}", status.message())),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no server is known")))
    }
}

/// Keys and requests for the two certificates of a node.
struct Wanted {
    client_key: PrivateKey,
    serving_key: PrivateKey,
    client_csr: String,
    serving_csr: String,
}

impl Wanted {
    fn new(node_name: &str, hosts: &[String]) -> Result<Self> {
        let (client_key, serving_key) = (PrivateKey::generate()?, PrivateKey::generate()?);
        let client_csr = CertificateRequest::create(&Profile::node_client(node_name), &client_key)?;
        let serving_csr =
            CertificateRequest::create(&Profile::node_serving(node_name, hosts), &serving_key)?;
        Ok(Self {
            client_key,
            serving_key,
            client_csr,
            serving_csr,
        })
    }

    /// Writes what the server answered; the client certificate last, because it
    /// is what tells a node that has joined from one that has not.
    fn store(self, directory: &std::path::Path, reply: &JoinReply) -> Result<Credentials> {
        std::fs::create_dir_all(directory)?;
        write_public(&directory.join("ca.crt"), &reply.authorities)?;
        write_public(&directory.join("servers"), &reply.servers.join("\n"))?;
        if let Some(facts) = reply.facts.clone() {
            write_public(
                &directory.join("cluster.json"),
                &serde_json::to_string(&Facts::from(facts))?,
            )?;
        }
        write_private(&directory.join("serving.key"), self.serving_key.to_pem())?;
        write_public(&directory.join("serving.crt"), &reply.serving_certificate)?;
        let credentials = Credentials {
            chain_pem: reply.client_certificate.clone(),
            key: self.client_key,
        };
        credentials.store(&directory.join("client"))?;
        Ok(credentials)
    }
}

fn endpoint(server: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .with_context(|| format!("{server:?} is not an address of the form host:port"))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CONNECT_TIMEOUT))
}

/// Tries every server until one lets the node in.
async fn join(config: &AgentConfig, address: IpAddr, directory: &std::path::Path) -> Result<()> {
    let token = config.join_token()?.context(
        "this node has not joined a cluster yet and has no token; create one with `kontiki token create` and set tokenFile",
    )?;
    let token: JoinToken = token.parse()?;
    let hosts = vec![config.node_name.clone(), address.to_string()];
    loop {
        let mut last = None;
        for server in &config.servers {
            match join_at(server, &token, &config.node_name, &hosts, directory).await {
                Ok(()) => {
                    tracing::info!(server, node = config.node_name, "joined the cluster");
                    return Ok(());
                }
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Later(error)) => last = Some(error),
            }
        }
        let error = last.map(|error| format!("{error:#}")).unwrap_or_default();
        tracing::warn!(error, "no server lets this node join yet, will try again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

enum Refusal {
    Final(anyhow::Error),
    Later(anyhow::Error),
}

async fn join_at(
    server: &str,
    token: &JoinToken,
    node_name: &str,
    hosts: &[String],
    directory: &std::path::Path,
) -> Result<(), Refusal> {
    let last = |error: anyhow::Error| Refusal::Final(error);
    let (tls, _) =
        tls::pinned_client_config(token.pin(), &[b"h2"]).map_err(|error| last(error.into()))?;
    let wanted = Wanted::new(node_name, hosts).map_err(last)?;
    let channel = channel::connect(endpoint(server).map_err(last)?, Arc::new(tls))
        .await
        .map_err(|error| {
            Refusal::Later(anyhow::Error::from(error).context(format!("cannot reach {server}")))
        })?;
    let request = JoinRequest {
        token: token.bootstrap().to_bearer(),
        node_name: node_name.to_owned(),
        client_csr: wanted.client_csr.clone(),
        serving_csr: wanted.serving_csr.clone(),
    };
    let reply = match NodeLinkClient::new(channel).join(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => {
            let error = anyhow::anyhow!("{server} refused this node: {}", status.message());
            return Err(match status.code() {
                tonic::Code::Unauthenticated
                | tonic::Code::PermissionDenied
                | tonic::Code::InvalidArgument => Refusal::Final(error),
                _ => Refusal::Later(error),
            });
        }
    };
    wanted
        .store(directory, &reply)
        .map(drop)
        .map_err(Refusal::Final)
}
