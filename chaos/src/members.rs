//! Asking the store's members, over etcd's API, for what they see.

use anyhow::{Context, Result};
use kontiki_etcd::pb::etcdserverpb::StatusRequest;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_pki::{Credentials, read_file, tls};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use xtask::topology::{ETCD_PORT, Machine};

const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
const ANSWER_PATIENCE: Duration = Duration::from_millis(1_000);

/// What a member says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub member: u64,
    /// Who leads, as far as it knows; 0 for nobody.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// How far it has applied.
    pub revision: i64,
}

/// How to reach members: the credentials of the store's clients.
#[derive(Clone)]
pub struct Members {
    tls: Arc<rustls::ClientConfig>,
}

impl Members {
    /// With `ca.crt`, `client.crt` and `client.key` of a folder.
    ///
    /// # Errors
    /// If one is missing or malformed.
    pub fn new(dir: &Path) -> Result<Self> {
        let credentials = Credentials::load(&dir.join("client"))?;
        let authority = read_file(&dir.join("ca.crt"))?;
        let credentials = tls::Reloading::new(&credentials)?;
        let tls = tls::client_config(&[&authority], Some(credentials), &tls::ALPN_H2)?;
        Ok(Self { tls: Arc::new(tls) })
    }

    /// With these one shows oneself to the members.
    pub(crate) fn tls(&self) -> Arc<rustls::ClientConfig> {
        self.tls.clone()
    }

    /// A connection to one server's member.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn connect(&self, server: &Machine) -> Result<Member> {
        let endpoint = Endpoint::from_shared(format!("http://{}:{ETCD_PORT}", server.address))?
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(ANSWER_PATIENCE);
        let made = kontiki_nodelink::channel::connect(endpoint, self.tls.clone());
        let channel = tokio::time::timeout(ANSWER_PATIENCE, made)
            .await
            .with_context(|| format!("{} does not answer", server.name))?
            .with_context(|| format!("cannot reach the store of {}", server.name))?;
        Ok(Member(MaintenanceClient::new(channel)))
    }

    /// What one server's member says, over a connection of its own.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn view(&self, server: &Machine) -> Result<View> {
        self.connect(server).await?.view().await
    }
}

/// A connection to one member.
pub struct Member(MaintenanceClient<Channel>);

impl Member {
    /// What it says now.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn view(&mut self) -> Result<View> {
        let status = self.0.status(StatusRequest {}).await?.into_inner();
        let header = status.header.unwrap_or_default();
        Ok(View {
            member: header.member_id,
            leader: status.leader,
            term: status.raft_term,
            revision: header.revision,
        })
    }
}
