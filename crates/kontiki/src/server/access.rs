//! Who may do what: the authenticators and authorizers of a server.

use anyhow::Result;
use async_trait::async_trait;
use kontiki_auth::authn::{
    self, Bearer, BootstrapTokens, ClientTrust, InProcess, OrAnonymous, RequestHeaders,
    ServiceAccountTokens, X509,
};
use kontiki_auth::authz::{self, PrivilegedGroups};
use kontiki_auth::node::{Graph, GraphCaches, NodeAuthorizer};
use kontiki_auth::rbac::{PolicyCaches, Rbac};
use kontiki_auth::token::{TokenIssuer, TokenKeys};
use kontiki_auth::{Authenticator, Authorizer, Lookup};
use kontiki_client::{Client, Informer, InformerConfig, ObjectCache, resources};
use kontiki_object::{GroupVersionResource, SharedObject, Status};
use kontiki_pki::ClusterSecrets;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

const VOLUME_ATTACHMENTS: GroupVersionResource =
    GroupVersionResource::new("storage.k8s.io", "v1", "volumeattachments");

/// Reads through a client that is there only once the API server is.
#[derive(Default)]
pub struct LateLookup(OnceLock<Client>);

#[async_trait]
impl Lookup for LateLookup {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<SharedObject>, Status> {
        match self.0.get() {
            Some(client) => client.get(resource, namespace, name).await,
            None => Err(Status::unavailable("the server is starting")),
        }
    }
}

/// What decides about requests.
pub struct Access {
    /// From a request to a user.
    pub authenticator: Arc<dyn Authenticator>,
    /// From a user and a wish to a decision.
    pub authorizer: Arc<dyn Authorizer>,
    /// Bearer tokens alone, for `TokenReview`s.
    pub bearer: Arc<Bearer>,
    /// Bootstrap tokens alone, for nodes that join.
    pub bootstrap: Arc<BootstrapTokens>,
    /// Signs service-account tokens.
    pub issuer: Arc<TokenIssuer>,
    /// Verifies them.
    pub keys: Arc<TokenKeys>,
    /// Judges client certificates.
    pub trust: ClientTrust,
    /// The role-based part.
    pub rbac: Arc<Rbac>,
    graph: Arc<Graph>,
    lookup: Arc<LateLookup>,
}

impl Access {
    /// For a cluster's secrets; decides nothing before [`Access::follow`].
    pub fn new(secrets: &ClusterSecrets, issuer_url: &str) -> Result<Self> {
        let lookup = Arc::new(LateLookup::default());
        let issuer = Arc::new(TokenIssuer::new(
            issuer_url,
            secrets.service_account_key.to_pem(),
        )?);
        let keys = Arc::new(TokenKeys::from_pem(&format!(
            "{}{}",
            secrets.service_account_key.public_key_pem(),
            secrets.old_service_account_keys
        ))?);
        let bootstrap = Arc::new(BootstrapTokens::new(lookup.clone()));
        let accounts = Arc::new(ServiceAccountTokens::new(
            keys.clone(),
            vec![issuer_url.to_owned()],
            lookup.clone(),
        ));
        let bearer = Arc::new(Bearer::new(
            vec![accounts, bootstrap.clone()],
            vec![issuer_url.to_owned()],
        ));
        let trust = ClientTrust::new(
            &[secrets.cluster.certificate().clone()],
            &[secrets.front_proxy.certificate().clone()],
        )?;
        let authenticator = Arc::new(OrAnonymous(Arc::new(authn::Union::new(vec![
            Arc::new(InProcess),
            Arc::new(RequestHeaders::default()),
            Arc::new(X509),
            bearer.clone(),
        ]))));
        let (rbac, graph) = (Arc::new(Rbac::default()), Arc::new(Graph::default()));
        let authorizer = Arc::new(authz::Union::new(vec![
            Arc::new(PrivilegedGroups::default()),
            Arc::new(NodeAuthorizer::new(graph.clone())),
            rbac.clone(),
        ]));
        Ok(Self {
            authenticator,
            authorizer,
            bearer,
            bootstrap,
            issuer,
            keys,
            trust,
            rbac,
            graph,
            lookup,
        })
    }

    /// Follows what decisions depend on.
    pub fn follow(&self, client: &Client, cancel: &CancellationToken) {
        let cache = |resource: GroupVersionResource| -> Arc<ObjectCache> {
            Informer::start(
                client.clone(),
                InformerConfig::all(resource),
                cancel.clone(),
            )
            .cache()
            .clone()
        };
        // Set once: the server follows once.
        let _ = self.lookup.0.set(client.clone());
        let policy = PolicyCaches {
            cluster_roles: cache(resources::CLUSTER_ROLES),
            cluster_role_bindings: cache(resources::CLUSTER_ROLE_BINDINGS),
            roles: cache(resources::ROLES),
            role_bindings: cache(resources::ROLE_BINDINGS),
        };
        tokio::spawn(self.rbac.clone().follow(policy, cancel.clone()));
        let graph = GraphCaches {
            pods: cache(resources::PODS),
            persistent_volumes: cache(resources::PERSISTENT_VOLUMES),
            volume_attachments: cache(VOLUME_ATTACHMENTS),
        };
        tokio::spawn(self.graph.clone().follow(graph, cancel.clone()));
    }
}
