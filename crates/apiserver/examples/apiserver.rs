//! One API server with a store in memory, for trying things: it makes its own
//! certificates and writes a kubeconfig whose user is in `system:masters`.
//!
//! ```sh
//! cargo run -p kontiki-apiserver --example apiserver -- 127.0.0.1:16443 /tmp/kubeconfig
//! ```

use jiff::Timestamp;
use kontiki_apiserver::cache::CacheLimits;
use kontiki_apiserver::http::{ServeConfig, serve};
use kontiki_apiserver::{ApiServer, Config, NoNodes};
use kontiki_auth::authn::{ClientTrust, OrAnonymous, X509};
use kontiki_auth::authz::{PrivilegedGroups, Union as Authorizers};
use kontiki_auth::policy::bootstrap_policy;
use kontiki_auth::rbac::{Policy, Rbac};
use kontiki_auth::token::{TokenIssuer, TokenKeys};
use kontiki_mvcc::LocalStore;
use kontiki_pki::kubeconfig::Kubeconfig;
use kontiki_pki::tls::{ClientAuth, Reloading, server_config};
use kontiki_pki::{ClusterSecrets, Profile, ServerNames, write_private};
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ISSUER: &str = "https://kubernetes.default.svc";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().ok_or("give an address")?.parse()?;
    let kubeconfig = arguments.next().ok_or("give a path for the kubeconfig")?;
    let user = arguments
        .next()
        .unwrap_or_else(|| "corpus-admin".to_owned());
    let now = Timestamp::now();
    let secrets = ClusterSecrets::create(now)?;
    let names = ServerNames {
        hosts: vec![address.ip().to_string(), "localhost".to_owned()],
        cluster_domain: "cluster.local".to_owned(),
        service_addresses: vec!["10.96.0.1".parse()?],
    };
    let serving = secrets
        .cluster
        .issue(&Profile::server_serving(&names), now)?;
    let client = secrets
        .cluster
        .issue(&Profile::client(&user, &["system:masters"]), now)?;
    let authority = secrets.cluster.certificate_pem();
    let server_url = format!("https://{address}");
    let config = Kubeconfig::new("kontiki", &server_url, authority, &user, &client);
    write_private(Path::new(&kubeconfig), &config.to_yaml())?;
    let trust = ClientTrust::new(&[secrets.cluster.certificate().clone()], &[])?;
    let tls = server_config(
        Reloading::new(&serving)?,
        &[authority],
        ClientAuth::Optional,
        &[b"h2", b"http/1.1"],
    )?;
    let policy = bootstrap_policy();
    let of = |resource: &str| {
        let own = policy
            .iter()
            .filter(move |item| item.resource.resource == resource);
        own.map(|item| &item.object).collect::<Vec<_>>()
    };
    let rbac = Rbac::new(Policy::build(
        of("clusterroles").into_iter(),
        of("clusterrolebindings").into_iter(),
        of("roles").into_iter(),
        of("rolebindings").into_iter(),
    ));
    let key = &secrets.service_account_key;
    let server = ApiServer::new(
        Config {
            store: LocalStore::in_memory(),
            authenticator: Arc::new(OrAnonymous(Arc::new(X509))),
            authorizer: Arc::new(Authorizers::new(vec![
                Arc::new(PrivilegedGroups::default()),
                rbac.clone(),
            ])),
            rbac,
            token_issuer: Arc::new(TokenIssuer::new(ISSUER, key.to_pem())?),
            token_keys: Arc::new(TokenKeys::from_pem(&key.public_key_pem())?),
            api_audiences: vec![ISSUER.to_owned()],
            dialer: Arc::new(NoNodes),
            service_cidr: "10.96.0.0/12".parse()?,
            node_ports: 30000..=32767,
            advertise_address: address,
            client_ca_pem: authority.to_owned(),
            identity: "example".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cache: CacheLimits::default(),
            max_requests_inflight: 400,
            admission: Default::default(),
            max_mutating_requests_inflight: 200,
            request_timeout: Duration::from_secs(60),
        },
        Arc::default(),
    );
    let cancel = CancellationToken::new();
    let (feed, first) = (server.clone(), server.clone());
    let token = cancel.clone();
    tokio::spawn(async move { feed.run(token).await });
    let token = cancel.clone();
    tokio::spawn(async move { first.bootstrap(token).await });
    let listener = tokio::net::TcpListener::bind(address).await?;
    let config = ServeConfig {
        tls: Arc::new(tls),
        trust,
        grpc: None,
    };
    serve(server, listener, config, cancel).await?;
    Ok(())
}
