//! What `NodeLink` needs from a server.

use super::certificates::SERVERS_GROUP;
use crate::config::ServerConfig;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kontiki_apiserver::ApiServer;
use kontiki_auth::authn::{BootstrapTokens, TokenAuthenticator};
use kontiki_auth::user::{BOOTSTRAPPERS, NODE_PREFIX, NODES};
use kontiki_auth::{PeerCertificate, UserInfo};
use kontiki_client::{Api, Client, Clock};
use kontiki_kubelet::{Heartbeat, LeaseHeartbeat};
use kontiki_nodelink::proto::{ClusterFacts, JoinReply, JoinRequest, RenewRequest};
use kontiki_nodelink::server::{Backend, Caller};
use kontiki_object::Status;
use kontiki_pki::{Authority, CertificateRequest, SigningPolicy, Usages};
use std::sync::Arc;
use tokio::sync::watch;

const CERTIFICATE_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365);
/// What bootstrap tokens are asked for: the API server's own audience.
const AUDIENCES: [&str; 1] = ["https://kubernetes.default.svc"];

/// The server that `NodeLink` lives in.
pub struct NodeBackend {
    config: ServerConfig,
    api: ApiServer,
    bootstrap: Arc<BootstrapTokens>,
    authority: Authority,
    servers: watch::Receiver<Vec<String>>,
}

impl NodeBackend {
    /// For a server that runs.
    pub fn new(
        config: ServerConfig,
        api: ApiServer,
        bootstrap: Arc<BootstrapTokens>,
        authority: Authority,
    ) -> Self {
        // Members do not change while the process runs.
        let servers = watch::channel(config.api_addresses()).1;
        Self {
            config,
            api,
            bootstrap,
            authority,
            servers,
        }
    }

    /// Signs a node's two requests, if they are for that node and nothing else.
    fn sign(&self, node: &str, client_csr: &str, serving_csr: &str) -> Result<JoinReply, Status> {
        let now = Timestamp::now();
        let one = |csr: &str, usages: Usages| -> Result<String, Status> {
            let request = CertificateRequest::from_pem(csr).map_err(|error| {
                Status::bad_request(format!("the certificate request cannot be read: {error}"))
            })?;
            if request.common_name != format!("{NODE_PREFIX}{node}")
                || request.organizations != [NODES]
            {
                return Err(Status::failure(
                    403,
                    "Forbidden",
                    format!(
                        "a node's certificate has the common name {NODE_PREFIX}{node} and the organization {NODES}"
                    ),
                ));
            }
            let policy = SigningPolicy {
                usages,
                lifetime: CERTIFICATE_LIFETIME,
            };
            self.authority
                .sign(&request, &policy, now)
                .map_err(Status::internal)
        };
        Ok(JoinReply {
            client_certificate: one(client_csr, Usages::CLIENT)?,
            serving_certificate: one(serving_csr, Usages::SERVER)?,
            authorities: self.authority.certificate_pem().to_owned(),
            servers: self.servers.borrow().clone(),
            facts: Some(self.facts()),
        })
    }
}

/// Names of nodes are DNS subdomains, as those of Node objects.
fn is_node_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[async_trait]
impl Backend for NodeBackend {
    fn caller(&self, extensions: &http::Extensions) -> Caller {
        let Some(peer) = extensions.get::<Arc<PeerCertificate>>() else {
            return Caller::Other;
        };
        if !peer.is_cluster_client || !peer.is_current(Timestamp::now()) {
            return Caller::Other;
        }
        if peer
            .organizations
            .iter()
            .any(|group| group == SERVERS_GROUP)
        {
            return Caller::Server;
        }
        match peer.user().node_name() {
            Some(node) => Caller::Node(node.to_owned()),
            None => Caller::Other,
        }
    }

    fn api(&self, node: &str) -> Arc<dyn Api> {
        self.api
            .api(UserInfo::new(format!("{NODE_PREFIX}{node}"), &[NODES]).with_authenticated_group())
    }

    fn network_api(&self) -> Arc<dyn Api> {
        self.api
            .api(UserInfo::new("system:kube-proxy", &[]).with_authenticated_group())
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinReply, Status> {
        let audiences = AUDIENCES.map(str::to_owned);
        let found = self
            .bootstrap
            .authenticate_token(&request.token, &audiences)
            .await;
        let user = match found {
            Ok(Some(found)) => found.user,
            Ok(None) => return Err(Status::unauthorized()),
            Err(kontiki_auth::AuthnError::Invalid(why)) => {
                tracing::info!(node = request.node_name, why, "a node was not let in");
                return Err(Status::failure(
                    401,
                    "Unauthorized",
                    "the join token is unknown, expired or revoked",
                ));
            }
            Err(error) => return Err(Status::unavailable(error.to_string())),
        };
        if !user.is_in(BOOTSTRAPPERS) {
            return Err(Status::failure(
                403,
                "Forbidden",
                "the token does not allow nodes to join",
            ));
        }
        if !is_node_name(&request.node_name) {
            return Err(Status::bad_request(format!(
                "{:?} is no node name: it must be a DNS subdomain in lower case",
                request.node_name
            )));
        }
        tracing::info!(node = request.node_name, token = user.name, "a node joins");
        self.sign(
            &request.node_name,
            &request.client_csr,
            &request.serving_csr,
        )
    }

    async fn renew(&self, node: &str, request: RenewRequest) -> Result<JoinReply, Status> {
        self.sign(node, &request.client_csr, &request.serving_csr)
    }

    async fn heartbeat(&self, node: &str) {
        let client = Client::new(self.api(node), "kubelet");
        if let Err(status) = LeaseHeartbeat::new(client, Clock::system())
            .beat(node)
            .await
        {
            tracing::debug!(node, %status, "a node's lease was not renewed");
        }
    }

    fn facts(&self) -> ClusterFacts {
        ClusterFacts {
            cluster_domain: self.config.cluster_domain.clone(),
            cluster_dns: self.config.dns_address().to_string(),
            cluster_cidr: self.config.cluster_cidr.to_string(),
            service_cidr: self.config.service_cidr.to_string(),
        }
    }

    fn name(&self) -> String {
        self.config.name.clone()
    }

    fn servers(&self) -> watch::Receiver<Vec<String>> {
        self.servers.clone()
    }
}
