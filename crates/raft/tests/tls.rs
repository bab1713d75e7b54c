//! Peers over real sockets and mutual TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kontiki_mvcc::MemoryEngine;
use kontiki_raft::{InitialMember, PeerTls, ReplicatedConfig, ReplicatedStore, StartError};
use kontiki_store::{KeyRange, Op, PutRequest, RangeRequest, Store, TxnRequest};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// TLS of a peer that this authority signed.
    fn peer(&self) -> PeerTls {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![certificate.der().clone()];
        let private = || PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private())
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private())
            .unwrap();
        PeerTls {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }
}

fn free_address() -> String {
    format!(
        "127.0.0.1:{}",
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    )
}

async fn start(configs: Vec<ReplicatedConfig>) -> Vec<ReplicatedStore> {
    let mut stores = Vec::new();
    for config in configs {
        let engine = Arc::new(MemoryEngine::new());
        stores.push(
            ReplicatedStore::start(config, engine, &mut Registry::default())
                .await
                .unwrap(),
        );
    }
    stores
}

fn configs(dir: &std::path::Path, authority: &Authority) -> Vec<ReplicatedConfig> {
    let member = |name: &str| InitialMember {
        name: name.into(),
        peer_address: free_address(),
    };
    let initial: Vec<InitialMember> = ["a", "b", "c"].map(member).into();
    let config = |member: &InitialMember| {
        let mut config =
            ReplicatedConfig::new(dir.join(&member.name), &member.name, initial.clone());
        config.tls = Some(authority.peer());
        config
    };
    initial.iter().map(config).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_members_replicate_over_mutual_tls_on_real_disks() {
    let dir = tempfile::tempdir().unwrap();
    let stores = start(configs(dir.path(), &Authority::new())).await;
    let put = PutRequest {
        key: "key".into(),
        value: "value".into(),
        ..PutRequest::default()
    };
    let txn = TxnRequest {
        success: vec![Op::Put(put)],
        ..TxnRequest::default()
    };
    let written = tokio::time::timeout(Duration::from_secs(60), async {
        while stores[0].txn(txn.clone()).await.is_err() {}
    });
    written.await.expect("a quorum over TLS");
    for store in &stores {
        let range = RangeRequest {
            range: KeyRange::one("key"),
            ..RangeRequest::default()
        };
        let found = store.range(range).await.unwrap();
        assert_eq!(found.kvs.len(), 1);
    }
    for store in &stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_data_directory_is_used_by_one_process_only() {
    let dir = tempfile::tempdir().unwrap();
    let member = || InitialMember {
        name: "a".into(),
        peer_address: free_address(),
    };
    let config = || ReplicatedConfig::new(dir.path(), "a", vec![member()]);
    let first = start(vec![config()]).await;
    let engine = Arc::new(MemoryEngine::new());
    let second = ReplicatedStore::start(config(), engine, &mut Registry::default()).await;
    assert!(matches!(second.map(drop), Err(StartError::Locked { .. })));
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_with_a_certificate_of_another_authority_is_not_heard() {
    let dir = tempfile::tempdir().unwrap();
    let mut configs = configs(dir.path(), &Authority::new());
    configs[2].tls = Some(Authority::new().peer());
    let stores = start(configs).await;
    let mut status = stores[0].status();
    let explained = status.wait_for(|status| {
        status
            .errors
            .iter()
            .any(|error| error.contains("waiting for c"))
    });
    drop(
        tokio::time::timeout(Duration::from_secs(60), explained)
            .await
            .expect("the wait is explained"),
    );
    assert_eq!(stores[0].status().borrow().leader_id, 0);
}
