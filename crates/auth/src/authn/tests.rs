use super::*;
use crate::user::{AUTHENTICATED, UNAUTHENTICATED};
use http::Request;
use jiff::{SignedDuration, Timestamp};
use kontiki_pki::{Authority, Profile};
use std::sync::Arc;

struct World {
    cluster: Authority,
    front_proxy: Authority,
    store: Authority,
}

impl World {
    fn new() -> Self {
        let make = |name| Authority::create(name, Timestamp::now()).expect("can be made");
        Self {
            cluster: make("cluster"),
            front_proxy: make("front-proxy"),
            store: make("store"),
        }
    }

    fn peer(
        &self,
        issuer: &Authority,
        profile: &Profile,
        at: Timestamp,
    ) -> Result<PeerCertificate, AuthnError> {
        let ca = |authority: &Authority| vec![authority.certificate().clone()];
        let trust = ClientTrust::new(&ca(&self.cluster), &ca(&self.front_proxy)).expect("good CAs");
        let credentials = issuer.issue(profile, Timestamp::now()).expect("issued");
        PeerCertificate::verify(&credentials.chain().expect("a chain"), &trust, at)
    }
}

fn union() -> Union {
    Union::new(vec![
        Arc::new(InProcess),
        Arc::new(RequestHeaders {
            allowed_names: vec!["front-proxy-client".into()],
        }),
        Arc::new(X509),
        Arc::new(Bearer::new(Vec::new(), vec!["api".into()])),
    ])
}

fn parts(headers: &[(&'static str, &'static str)]) -> Parts {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

#[tokio::test]
async fn a_certificate_names_the_user_and_its_groups() {
    let world = World::new();
    let profile = Profile::client("jane", &["dev", "ops"]);
    let peer = world
        .peer(&world.cluster, &profile, Timestamp::now())
        .expect("trusted");
    let found = union()
        .authenticate(&parts(&[]), Some(&peer))
        .await
        .expect("good");
    let user = found.expect("known").user;
    assert_eq!(user.name, "jane");
    assert_eq!(user.groups, ["dev", "ops", AUTHENTICATED]);
    assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
}

#[test]
fn a_certificate_of_a_stranger_or_of_another_time_is_refused() {
    let world = World::new();
    let admin = Profile::admin();
    let now = Timestamp::now();
    assert!(
        world.peer(&world.store, &admin, now).is_err(),
        "the store's CA"
    );
    let later = now + SignedDuration::from_hours(24 * 400);
    assert!(
        world.peer(&world.cluster, &admin, later).is_err(),
        "expired"
    );
    let earlier = now - SignedDuration::from_hours(24);
    assert!(
        world.peer(&world.cluster, &admin, earlier).is_err(),
        "not yet valid"
    );
    let serving = Profile::node_serving("n", &[]);
    assert!(
        world.peer(&world.cluster, &serving, now).is_err(),
        "not for clients"
    );
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let world = World::new();
    let mut peer = world
        .peer(&world.cluster, &Profile::admin(), Timestamp::now())
        .expect("trusted");
    peer.not_after = Timestamp::now() - SignedDuration::from_secs(1);
    assert!(X509.authenticate(&parts(&[]), Some(&peer)).await.is_err());
}

#[tokio::test]
async fn only_the_front_proxy_speaks_for_others() {
    let world = World::new();
    let now = Timestamp::now();
    let claims = parts(&[
        ("x-remote-user", "jane"),
        ("x-remote-group", "dev"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-example.org%2fscope", "view"),
    ]);
    let ask = async |peer: &PeerCertificate| {
        let found = union()
            .authenticate(&claims, Some(peer))
            .await
            .expect("good");
        found.map(|found| found.user.name)
    };
    let proxy = Profile::front_proxy_client();
    let peer = world
        .peer(&world.front_proxy, &proxy, now)
        .expect("trusted");
    let found = union()
        .authenticate(&claims, Some(&peer))
        .await
        .expect("good");
    let user = found.expect("known").user;
    assert_eq!((&*user.name, user.groups.len()), ("jane", 3));
    assert_eq!(user.extra["example.org/scope"], ["view"]);

    let other = world
        .peer(&world.front_proxy, &Profile::client("other", &[]), now)
        .expect("trusted");
    assert_eq!(
        ask(&other).await,
        None,
        "not an allowed name, and no user itself"
    );
    let client = world.peer(&world.cluster, &proxy, now).expect("trusted");
    assert_eq!(ask(&client).await.as_deref(), Some("front-proxy-client"));
}

#[tokio::test]
async fn wrong_credentials_never_become_anonymous() {
    let whole = OrAnonymous(Arc::new(union()));
    let wrong = parts(&[("authorization", "Bearer nonsense")]);
    assert!(union().authenticate(&wrong, None).await.is_err());
    assert!(whole.authenticate(&wrong, None).await.is_err());
    let none = parts(&[("authorization", "Basic abc")]);
    assert_eq!(union().authenticate(&none, None).await, Ok(None));
    let anonymous = whole.authenticate(&none, None).await.expect("good");
    let groups = anonymous
        .expect("known")
        .user
        .with_authenticated_group()
        .groups;
    assert_eq!(groups, [UNAUTHENTICATED]);
}

#[tokio::test]
async fn an_identity_inside_the_process_cannot_be_claimed_from_outside() {
    let mut inside = parts(&[]);
    let identity = InProcessIdentity(UserInfo::new("system:kube-scheduler", &[]));
    inside.extensions.insert(identity);
    let found = union().authenticate(&inside, None).await.expect("good");
    assert_eq!(found.expect("known").user.name, "system:kube-scheduler");
    let outside = parts(&[("x-remote-user", "system:kube-scheduler")]);
    assert_eq!(union().authenticate(&outside, None).await, Ok(None));
}
