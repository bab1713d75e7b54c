use super::*;
use crate::tls::{
    ALPN_HTTP, ClientAuth, Reloading, client_config, pinned_client_config, server_config,
};
use crate::{BootstrapToken, ClusterSecrets, JoinToken, ServerNames, kubeconfig::Kubeconfig};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateSigningRequestDer, ServerName};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn now() -> Timestamp {
    Timestamp::now()
}

fn authority(name: &str) -> Authority {
    Authority::create(name, now()).expect("can be made")
}

/// Shakes hands in memory; gives the server's view of the client.
fn handshake(
    client: ClientConfig,
    server: ServerConfig,
    name: &str,
) -> Result<Option<Vec<CertificateDer<'static>>>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        server.read_tls(&mut &wire[..]).expect("memory");
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).expect("memory");
        client.read_tls(&mut &wire[..]).expect("memory");
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().map(|chain| {
        chain
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect()
    }))
}

fn serving(authority: &Authority, client_auth: ClientAuth) -> ServerConfig {
    let names = ServerNames {
        hosts: vec!["node-1".into(), "192.0.2.1".into()],
        cluster_domain: "cluster.local".into(),
        service_addresses: vec!["10.96.0.1".parse().expect("an address")],
    };
    let credentials = authority
        .issue(&Profile::server_serving(&names), now())
        .expect("can be issued");
    let credentials = Reloading::new(&credentials).expect("well-formed");
    let trusted = [authority.certificate_pem()];
    server_config(credentials, &trusted, client_auth, &ALPN_HTTP).expect("well-formed")
}

fn client(authority: &Authority, profile: Option<(&Authority, &Profile)>) -> ClientConfig {
    let credentials = profile.map(|(issuer, profile)| {
        Reloading::new(&issuer.issue(profile, now()).expect("can be issued")).expect("well-formed")
    });
    client_config(&[authority.certificate_pem()], credentials, &ALPN_HTTP).expect("well-formed")
}

#[test]
fn a_server_is_known_by_every_name_it_has() {
    let ca = authority("kubernetes");
    for name in [
        "kubernetes",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "node-1",
        "10.96.0.1",
        "192.0.2.1",
        "127.0.0.1",
    ] {
        let result = handshake(client(&ca, None), serving(&ca, ClientAuth::Optional), name);
        assert_eq!(result.expect(name), None);
    }
    for name in ["node-2", "192.0.2.2"] {
        let result = handshake(client(&ca, None), serving(&ca, ClientAuth::Optional), name);
        assert!(result.is_err(), "{name} is not in the certificate");
    }
}

#[test]
fn a_client_is_named_by_its_certificate() {
    let ca = authority("kubernetes");
    let profile = Profile::client("jane", &["dev", "ops", "ünïcode"]);
    let chain = handshake(
        client(&ca, Some((&ca, &profile))),
        serving(&ca, ClientAuth::Required),
        "localhost",
    )
    .expect("trusted")
    .expect("sent a certificate");
    let (leaf, _) = parse(&chain[0]).expect("well-formed");
    let organizations: Vec<_> = leaf
        .subject()
        .iter_organization()
        .map(|o| o.as_str().expect("text"))
        .collect();
    assert_eq!(organizations, ["dev", "ops", "ünïcode"]);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (ca, store) = (authority("kubernetes"), authority("store"));
    let profile = Profile::admin();
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let stranger = client(&ca, Some((&store, &profile)));
        assert!(handshake(stranger, serving(&ca, auth), "localhost").is_err());
    }
    let nobody = client(&ca, None);
    assert!(handshake(nobody, serving(&ca, ClientAuth::Required), "localhost").is_err());
    let deceived = client(&store, None);
    assert!(handshake(deceived, serving(&ca, ClientAuth::Optional), "localhost").is_err());
}

#[test]
fn a_server_certificate_is_no_client_certificate() {
    let ca = authority("kubernetes");
    let profile = Profile::node_serving("n", &[]);
    let wrong = client(&ca, Some((&ca, &profile)));
    assert!(handshake(wrong, serving(&ca, ClientAuth::Required), "localhost").is_err());
}

#[test]
fn a_pin_finds_the_authority_and_no_other() {
    let ca = authority("kubernetes");
    let (config, found) = pinned_client_config(&ca.pin(), &ALPN_HTTP).expect("well-formed");
    handshake(config, serving(&ca, ClientAuth::Optional), "localhost").expect("trusted");
    let pem = found.certificate_pem().expect("found");
    assert_eq!(
        certificates(&pem).expect("well-formed")[0],
        *ca.certificate()
    );

    let other = authority("kubernetes");
    let (config, found) = pinned_client_config(&other.pin(), &ALPN_HTTP).expect("well-formed");
    assert!(handshake(config, serving(&ca, ClientAuth::Optional), "localhost").is_err());
    assert_eq!(found.certificate_pem(), None);
}

#[test]
fn renewed_credentials_are_used_by_the_next_handshake() {
    let ca = authority("kubernetes");
    let issue = |name: &str| {
        ca.issue(&Profile::client(name, &[]), now())
            .expect("issued")
    };
    let holder = Reloading::new(&issue("first")).expect("well-formed");
    let seen = || {
        let config =
            client_config(&[ca.certificate_pem()], Some(holder.clone()), &[]).expect("well-formed");
        let chain = handshake(config, serving(&ca, ClientAuth::Required), "localhost");
        let chain = chain.expect("trusted").expect("sent");
        parse(&chain[0]).expect("well-formed").1
    };
    assert_eq!(seen(), "CN=first");
    holder.replace(&issue("second")).expect("well-formed");
    assert_eq!(seen(), "CN=second");
}

#[test]
fn a_request_is_signed_with_its_own_names_and_the_signers_usages() {
    let ca = authority("kubernetes");
    let key = PrivateKey::generate().expect("random numbers");
    let profile = Profile::node_client("n1").hosts(&["n1".into(), "192.0.2.7".into()]);
    let pem = CertificateRequest::create(&profile, &key).expect("can be signed");
    let request = CertificateRequest::from_pem(&pem).expect("well-formed");
    assert_eq!(request.common_name, "system:node:n1");
    assert_eq!(request.organizations, ["system:nodes"]);
    assert_eq!(request.dns_names, ["n1"]);
    assert_eq!(request.ip_addresses, profile.ip_addresses);
    let policy = SigningPolicy {
        usages: Usages::parse(["digital signature", "client auth"]).expect("known"),
        lifetime: SignedDuration::from_hours(1),
    };
    let signed = ca.sign(&request, &policy, now()).expect("signed");
    let credentials = Credentials::from_pem(&signed, key.to_pem()).expect("they match");
    assert_eq!(credentials.days_left(now()).expect("well-formed"), 0);
    let holder = Reloading::new(&credentials).expect("well-formed");
    let config = client_config(&[ca.certificate_pem()], Some(holder), &[]).expect("well-formed");
    handshake(config, serving(&ca, ClientAuth::Required), "localhost").expect("trusted");
}

#[test]
fn a_request_that_was_tampered_with_is_refused() {
    let key = PrivateKey::generate().expect("random numbers");
    let pem = CertificateRequest::create(&Profile::client("jane", &[]), &key).expect("signed");
    let request =
        CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("well-formed PEM");
    let mut bytes = request.as_ref().to_vec();
    let at = bytes
        .windows(4)
        .position(|w| w == b"jane")
        .expect("the name");
    bytes[at..at + 4].copy_from_slice(b"root");
    let forged = key::pem("CERTIFICATE REQUEST", &bytes);
    assert!(CertificateRequest::from_pem(&forged).is_err());
    assert!(CertificateRequest::from_pem("nonsense").is_err());
    assert!(Usages::parse(["world domination"]).is_err());
}

#[test]
fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
    let ca = authority("kubernetes");
    let directory = tempfile::tempdir().expect("a directory");
    let stem = directory.path().join("admin");
    let first = ca.ensure(&stem, &Profile::admin(), now()).expect("issued");
    let again = ca.ensure(&stem, &Profile::admin(), now()).expect("kept");
    assert_eq!(first.chain_pem, again.chain_pem);
    let late = now() + SignedDuration::from_hours(24 * 250);
    assert!(first.needs_renewal(late).expect("well-formed"));
    let renewed = ca.ensure(&stem, &Profile::admin(), late).expect("renewed");
    assert_ne!(first.chain_pem, renewed.chain_pem);
    let changed = Profile::client("kubernetes-admin", &["other"]);
    let other = ca.ensure(&stem, &changed, late).expect("issued");
    assert_ne!(other.chain_pem, renewed.chain_pem);
    let mode = std::fs::metadata(stem.with_extension("key")).expect("a file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_secrets_of_a_cluster_survive_their_files_and_their_bundle() {
    let directory = tempfile::tempdir().expect("a directory");
    let pki = directory.path().join("data/pki");
    let made = ClusterSecrets::load_or_create(&pki, now()).expect("made");
    let read = ClusterSecrets::load_or_create(&pki, now()).expect("read");
    assert_eq!(made.to_bundle(), read.to_bundle());
    let joined = ClusterSecrets::from_bundle(&made.to_bundle()).expect("well-formed");
    assert_eq!(joined.cluster.pin(), made.cluster.pin());
    assert!(!format!("{made:?}").contains("PRIVATE"));
    let mode = std::fs::metadata(&pki).expect("a directory").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);

    std::fs::remove_file(pki.join("store-ca.key")).expect("was there");
    let error = ClusterSecrets::load_or_create(&pki, now()).expect_err("incomplete");
    assert!(error.to_string().contains("store-ca.key"), "{error}");
    let error = ClusterSecrets::from_bundle("{\"ca.key\": 7}").expect_err("malformed");
    assert!(!error.to_string().contains('7') || error.to_string().contains("column"));
}

#[test]
fn an_authority_needs_its_own_key_and_the_right_to_sign() {
    let (one, two) = (authority("one"), authority("two"));
    assert!(Authority::from_pem(one.certificate_pem(), two.key_pem()).is_err());
    let leaf = one.issue(&Profile::admin(), now()).expect("issued");
    assert!(Authority::from_pem(&leaf.chain_pem, leaf.key.to_pem()).is_err());
}

#[test]
fn a_join_token_is_read_back_and_nonsense_is_refused() {
    let ca = authority("kubernetes");
    let token = JoinToken::new(&ca, BootstrapToken::generate().expect("random numbers"));
    let read: JoinToken = token.reveal().parse().expect("well-formed");
    assert_eq!(read, token);
    assert!(!format!("{token:?}").contains(token.bootstrap().secret()));
    let pin = "a".repeat(64);
    for text in [
        String::new(),
        "kontiki1".into(),
        format!("kontiki2.{pin}.abcdef.0123456789abcdef"),
        format!("kontiki1.{}.abcdef.0123456789abcdef", "g".repeat(64)),
        format!("kontiki1.{pin}.ABCDEF.0123456789abcdef"),
        format!("kontiki1.{pin}.abcdef.0123456789abcde"),
        format!("kontiki1.{pin}.abcdef.0123456789abcdef.x"),
    ] {
        assert!(text.parse::<JoinToken>().is_err(), "{text}");
    }
}

#[test]
fn a_kubeconfig_is_read_back() {
    let ca = authority("kubernetes");
    let credentials = ca.issue(&Profile::admin(), now()).expect("issued");
    let server = "https://127.0.0.1:6443";
    let config = Kubeconfig::new(
        "kontiki",
        server,
        ca.certificate_pem(),
        "admin",
        &credentials,
    );
    let read = Kubeconfig::from_yaml(&config.to_yaml()).expect("well-formed");
    assert_eq!(read, config);
    assert!(config.to_yaml().contains("current-context: admin@kontiki"));
    assert!(Kubeconfig::from_yaml("[]").is_err());
}
