//! A server with a store in memory, and clients of many identities.

use kontiki_apiserver::admission::AdmissionConfig;
use kontiki_apiserver::cache::CacheLimits;
use kontiki_apiserver::{ApiServer, Config, NoNodes, NodeDialer};
use kontiki_auth::authn;
use kontiki_auth::authz::{self, PrivilegedGroups};
use kontiki_auth::rbac::{Policy, Rbac};
use kontiki_auth::token::{TokenIssuer, TokenKeys};
use kontiki_auth::user::MASTERS;
use kontiki_auth::{Authorizer, UserInfo};
use kontiki_client::{ApiRequest, Client, PatchKind, ResourceClient, Verb, WriteOptions};
use kontiki_mvcc::LocalStore;
use kontiki_object::{GroupVersionResource, Object, SharedObject, Status};
use kontiki_pki::PrivateKey;
use kontiki_store::Store;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub struct World {
    pub server: ApiServer,
    pub rbac: Arc<Rbac>,
    cancel: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// A resource by group, version and name, as `apps/v1/deployments` or `v1/pods`.
pub fn resource(path: &str) -> GroupVersionResource {
    let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    let [group, version, resource] = match &parts[..] {
        [version, resource] => [String::new(), version.clone(), resource.clone()],
        [group, version, resource] => [group.clone(), version.clone(), resource.clone()],
        _ => panic!("{path} is no resource"),
    };
    GroupVersionResource {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
    }
}

impl World {
    /// With the namespaces `default`, `kube-system` and `kube-node-lease`.
    pub async fn start() -> Self {
        Self::start_with(Arc::new(NoNodes)).await
    }

    /// With a way to nodes.
    pub async fn start_with(dialer: Arc<dyn NodeDialer>) -> Self {
        Self::start_of(dialer, AdmissionConfig::default()).await
    }

    /// With other plugins than the default ones.
    pub async fn start_switched(admission: AdmissionConfig) -> Self {
        Self::start_of(Arc::new(NoNodes), admission).await
    }

    async fn start_of(dialer: Arc<dyn NodeDialer>, admission: AdmissionConfig) -> Self {
        let world = Self::on(LocalStore::in_memory(), dialer, admission);
        for name in ["default", "kube-system", "kube-node-lease"] {
            let namespace = json!({"metadata": {"name": name}});
            world.admin().make("v1/namespaces", namespace).await;
        }
        world
    }

    /// One more server of the same cluster.
    pub fn another(&self) -> Self {
        let config = &self.server.inner().config;
        let (store, dialer) = (config.store.clone(), config.dialer.clone());
        Self::on(store, dialer, config.admission.clone())
    }

    /// With nothing in it but what the store holds.
    fn on(store: Arc<dyn Store>, dialer: Arc<dyn NodeDialer>, admission: AdmissionConfig) -> Self {
        let key = PrivateKey::generate().expect("the system has random numbers");
        let rbac = Rbac::new(Policy::default());
        let authorizer: Arc<dyn Authorizer> = Arc::new(authz::Union::new(vec![
            Arc::new(PrivilegedGroups::default()),
            rbac.clone(),
        ]));
        let config = Config {
            store,
            authenticator: Arc::new(authn::InProcess),
            authorizer,
            rbac: rbac.clone(),
            token_issuer: Arc::new(
                TokenIssuer::new("https://issuer", key.to_pem()).expect("a key"),
            ),
            token_keys: Arc::new(TokenKeys::from_pem(&key.public_key_pem()).expect("a key")),
            api_audiences: vec!["https://issuer".to_owned()],
            dialer,
            service_cidr: "10.96.0.0/12".parse().expect("a net"),
            node_ports: 30000..=32767,
            advertise_address: "127.0.0.1:6443".parse().expect("an address"),
            client_ca_pem: String::new(),
            identity: "test".to_owned(),
            version: "0".to_owned(),
            cache: CacheLimits::default(),
            max_requests_inflight: 400,
            admission,
            max_mutating_requests_inflight: 200,
            request_timeout: Duration::from_secs(60),
        };
        let server = ApiServer::new(config, Arc::default());
        let cancel = CancellationToken::new();
        let (feed, stop) = (server.clone(), cancel.clone());
        tokio::spawn(async move { feed.run(stop).await });
        Self {
            server,
            rbac,
            cancel,
        }
    }

    /// Somebody who may do everything, except what admission refuses.
    pub fn admin(&self) -> As {
        self.mighty("admin", &[])
    }

    /// The same under another name and in further groups.
    pub fn mighty(&self, name: &str, groups: &[&str]) -> As {
        let groups: Vec<&str> = groups.iter().copied().chain([MASTERS]).collect();
        self.user(&UserInfo::new(name, &groups))
    }

    /// Puts roles and bindings in force that give each user some rules.
    pub fn grant(&self, grants: &[(&str, Value)]) {
        let object = |value: Value| Object::from_value(value).expect("a map");
        let roles: Vec<Object> = grants
            .iter()
            .map(|(user, rules)| object(json!({"metadata": {"name": user}, "rules": rules})))
            .collect();
        let bindings: Vec<Object> = grants
            .iter()
            .map(|(user, _)| {
                object(json!({
                    "metadata": {"name": user},
                    "roleRef": {"kind": "ClusterRole", "name": user},
                    "subjects": [{"kind": "User", "name": user}],
                }))
            })
            .collect();
        self.rbac.replace(Policy::build(&roles, &bindings, [], []));
    }

    /// A user with just the given groups.
    pub fn user(&self, user: &UserInfo) -> As {
        As(Client::new(self.server.api(user.clone()), "test"))
    }
}

/// A client under some identity.
#[derive(Clone)]
pub struct As(pub Client);

impl As {
    fn scoped(&self, path: &str, object: &Value) -> ResourceClient {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        self.0.scoped(&resource(path), namespace)
    }

    /// Creates an object, or fails the test.
    pub async fn make(&self, path: &str, object: Value) -> SharedObject {
        match self.create(path, object.clone()).await {
            Ok(made) => made,
            Err(status) => panic!("{status}: {object}"),
        }
    }

    pub async fn create(&self, path: &str, object: Value) -> Result<SharedObject, Status> {
        self.scoped(path, &object).create(object).await
    }

    pub async fn create_sub(
        &self,
        path: &str,
        subresource: &'static str,
        object: Value,
    ) -> Result<SharedObject, Status> {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let target = self.scoped(path, &object);
        target.create_sub(&name, subresource, object).await
    }

    pub async fn patch(&self, path: &str, key: &str, patch: Value) -> Result<SharedObject, Status> {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let target = self.0.scoped(&resource(path), namespace);
        target.patch(name, PatchKind::Merge, patch).await
    }

    /// Applies an object server-side, and takes over what others own.
    pub async fn apply(&self, path: &str, object: Value) -> Result<SharedObject, Status> {
        let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let request = ApiRequest {
            verb: Verb::Patch(PatchKind::Apply),
            resource: resource(path),
            namespace: text("namespace"),
            name: text("name"),
            subresource: None,
            write: WriteOptions {
                field_manager: "applier".to_owned(),
                force: true,
                dry_run: false,
            },
            body: Some(object),
            list: Default::default(),
            delete: Default::default(),
        };
        let answer = self.0.api().call(request).await?;
        answer.into_object()
    }

    pub async fn patch_status(
        &self,
        path: &str,
        key: &str,
        patch: Value,
    ) -> Result<SharedObject, Status> {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let target = self.0.scoped(&resource(path), namespace);
        target.patch_status(name, PatchKind::Merge, patch).await
    }

    pub async fn delete(&self, path: &str, key: &str) -> Result<(), Status> {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let target = self.0.scoped(&resource(path), namespace);
        target.delete(name, Default::default()).await
    }

    pub async fn get(&self, path: &str, key: &str) -> SharedObject {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let target = self.0.scoped(&resource(path), namespace);
        target.get(name).await.expect("it is there")
    }
}

/// The message of a refusal with status 403; anything else fails the test.
pub fn refusal<T>(outcome: Result<T, Status>) -> String {
    match outcome {
        Ok(_) => panic!("it was let through"),
        Err(status) => {
            assert_eq!(
                (status.code, &*status.reason),
                (403, "Forbidden"),
                "{status}"
            );
            status.message
        }
    }
}
