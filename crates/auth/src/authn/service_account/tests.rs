use super::*;
use crate::token::{BoundObject, TokenIssuer, TokenRequest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kontiki_object::{Object, Status};
use kontiki_pki::PrivateKey;
use serde_json::json;
use std::collections::BTreeMap;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

#[derive(Default)]
struct Objects(BTreeMap<(String, String), SharedObject>);

#[async_trait]
impl Lookup for Objects {
    async fn get(
        &self,
        resource: &GroupVersionResource,
        _namespace: &str,
        name: &str,
    ) -> Result<Option<SharedObject>, Status> {
        let key = (resource.resource.to_string(), name.to_owned());
        Ok(self.0.get(&key).cloned())
    }
}

struct Fixture {
    key: PrivateKey,
    objects: Vec<(&'static str, SharedObject)>,
}

fn object(name: &str, uid: &str) -> SharedObject {
    let tree = json!({"metadata": {"name": name, "namespace": "ns", "uid": uid}});
    Arc::new(Object::from_value(tree).expect("a map"))
}

impl Fixture {
    fn new() -> Self {
        Self {
            key: PrivateKey::generate().expect("random numbers"),
            objects: vec![
                ("serviceaccounts", object("sa", "sa-uid")),
                ("pods", object("pod", "pod-uid")),
            ],
        }
    }

    fn claims(&self, request: &TokenRequest) -> Claims {
        let account = object("sa", "sa-uid");
        let api = [ISSUER.to_owned()];
        let made = request.claims(&account, ISSUER, &api, Timestamp::now());
        made.expect("within bounds").0
    }

    fn sign(&self, claims: &Claims) -> String {
        let issuer = TokenIssuer::new(ISSUER, self.key.to_pem()).expect("a key");
        issuer.sign(claims).expect("signs")
    }

    async fn ask(&self, token: &str) -> Result<Option<Authenticated>, AuthnError> {
        let keys = TokenKeys::from_pem(&self.key.public_key_pem()).expect("a key");
        let mut objects = Objects::default();
        for (resource, object) in &self.objects {
            let key = ((*resource).to_owned(), object.name().to_owned());
            objects.0.insert(key, object.clone());
        }
        let issuers = vec![ISSUER.to_owned()];
        let authenticator =
            ServiceAccountTokens::new(Arc::new(keys), issuers.clone(), Arc::new(objects));
        authenticator.authenticate_token(token, &issuers).await
    }
}

fn bound_to_pod() -> TokenRequest {
    let name = |name: &str, uid: &str| ObjectName {
        name: name.into(),
        uid: uid.into(),
    };
    TokenRequest {
        bound: Some(BoundObject::Pod {
            pod: name("pod", "pod-uid"),
            node: Some(name("node", "node-uid")),
        }),
        ..TokenRequest::default()
    }
}

#[tokio::test]
async fn a_good_token_names_its_account_and_its_pod() {
    let fixture = Fixture::new();
    let token = fixture.sign(&fixture.claims(&bound_to_pod()));
    let found = fixture.ask(&token).await.expect("good").expect("ours");
    assert_eq!(found.user.name, "system:serviceaccount:ns:sa");
    assert_eq!(found.user.uid, "sa-uid");
    assert_eq!(
        found.user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:ns"]
    );
    assert_eq!(
        found.user.extra["authentication.kubernetes.io/pod-name"],
        ["pod"]
    );
    assert_eq!(
        found.user.extra["authentication.kubernetes.io/node-uid"],
        ["node-uid"]
    );
    assert_eq!(found.audiences, [ISSUER]);
}

#[tokio::test]
async fn wrong_claims_are_refused() {
    let fixture = Fixture::new();
    let good = fixture.claims(&bound_to_pod());
    type Change = fn(&mut Claims);
    let changes: [(&str, Change); 5] = [
        ("expired", |c| c.exp = c.iat - 1),
        ("not valid yet", |c| c.nbf = c.iat + 3600),
        ("another audience", |c| c.aud = vec!["vault".into()]),
        ("another subject", |c| {
            c.sub = "system:serviceaccount:kube-system:admin".into()
        }),
        ("no account", |c| c.private.serviceaccount.uid.clear()),
    ];
    for (what, change) in changes {
        let mut claims = good.clone();
        change(&mut claims);
        let answer = fixture.ask(&fixture.sign(&claims)).await;
        assert!(matches!(answer, Err(AuthnError::Invalid(_))), "{what}");
    }
    let mut stranger = good;
    stranger.iss = "https://elsewhere.example".into();
    assert_eq!(fixture.ask(&fixture.sign(&stranger)).await, Ok(None));
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let fixture = Fixture::new();
    let claims = fixture.claims(&bound_to_pod());
    let token = fixture.sign(&claims);
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = encode(&serde_json::to_value(&claims).expect("encodes"));
    let mut changed = claims.clone();
    changed.exp += 1;
    let changed = encode(&serde_json::to_value(&changed).expect("encodes"));
    let none = encode(&json!({"alg": "none"}));
    let hmac = encode(&json!({"alg": "HS256"}));
    for (what, forged) in [
        (
            "changed payload",
            format!("{}.{changed}.{}", parts[0], parts[2]),
        ),
        ("no algorithm", format!("{none}.{payload}.")),
        (
            "no algorithm, signed",
            format!("{none}.{payload}.{}", parts[2]),
        ),
        (
            "symmetric algorithm",
            format!("{hmac}.{payload}.{}", parts[2]),
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another key", Fixture::new().sign(&claims)),
    ] {
        let answer = fixture.ask(&forged).await;
        assert!(matches!(answer, Err(AuthnError::Invalid(_))), "{what}");
    }
    for nonsense in ["", "a", "a.b", "a.b.c", "a.b.c.d", &"x".repeat(100_000)] {
        assert_eq!(fixture.ask(nonsense).await, Ok(None));
    }
}

#[tokio::test]
async fn a_token_dies_with_what_it_is_bound_to() {
    let mut fixture = Fixture::new();
    let token = fixture.sign(&fixture.claims(&bound_to_pod()));
    assert!(fixture.ask(&token).await.is_ok());
    let whole = fixture.objects.clone();

    fixture.objects = whole[..1].to_vec();
    assert!(fixture.ask(&token).await.is_err(), "the pod is gone");
    fixture.objects = whole[1..].to_vec();
    assert!(fixture.ask(&token).await.is_err(), "the account is gone");
    fixture.objects = vec![whole[0].clone(), ("pods", object("pod", "another-uid"))];
    assert!(
        fixture.ask(&token).await.is_err(),
        "another pod of that name"
    );

    let deleted = |at: Timestamp| {
        let tree = json!({"metadata": {"name": "pod", "uid": "pod-uid", "deletionTimestamp": time::format(at)}});
        ("pods", Arc::new(Object::from_value(tree).expect("a map")))
    };
    fixture.objects = vec![whole[0].clone(), deleted(Timestamp::now())];
    assert!(fixture.ask(&token).await.is_ok(), "it may finish its work");
    let long_ago = Timestamp::now() - SignedDuration::from_secs(120);
    fixture.objects = vec![whole[0].clone(), deleted(long_ago)];
    assert!(fixture.ask(&token).await.is_err(), "it had its time");
}

#[test]
fn the_life_of_a_token_is_bounded() {
    let fixture = Fixture::new();
    let account = object("sa", "sa-uid");
    let api = [ISSUER.to_owned()];
    let now = Timestamp::now();
    for (seconds, is_good) in [
        (599, false),
        (600, true),
        (1 << 32, true),
        ((1 << 32) + 1, false),
    ] {
        let request = TokenRequest {
            expiration_seconds: Some(seconds),
            ..TokenRequest::default()
        };
        let made = request.claims(&account, ISSUER, &api, now);
        assert_eq!(made.is_ok(), is_good, "{seconds}");
    }
    let mut kubelets = bound_to_pod();
    kubelets.expiration_seconds = Some(3607);
    let (claims, told) = kubelets.claims(&account, ISSUER, &api, now).expect("good");
    assert_eq!(claims.exp - claims.iat, 365 * 24 * 3600);
    assert_eq!(claims.private.warnafter, Some(claims.iat + 3607));
    assert_eq!(told.as_second() - claims.iat, 3607);
    kubelets.audiences = vec!["vault".into()];
    let (claims, _) = kubelets.claims(&account, ISSUER, &api, now).expect("good");
    assert_eq!(claims.exp - claims.iat, 3607);
    drop(fixture);
}

#[test]
fn published_keys_have_the_form_of_their_kind() {
    let fixture = Fixture::new();
    let keys = TokenKeys::from_pem(&fixture.key.public_key_pem()).expect("a key");
    let jwks = keys.jwks();
    let key = &jwks["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("EC"), &json!("P-256"), &json!("ES256"))
    );
    assert_eq!(key["x"].as_str().map(str::len), Some(43));
    assert!(TokenKeys::from_pem("").is_err());
}
