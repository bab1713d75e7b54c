//! etcdctl against the store.

use kontiki_e2e::fixture::etcdctl;
use kontiki_e2e::{Background, Scratch, eventually};

#[test]
fn keys_are_put_got_and_deleted() {
    assert_eq!(etcdctl(&["put", "/e2e/a", "one"]).clean().trim(), "OK");
    assert_eq!(etcdctl(&["put", "/e2e/b", "two"]).clean().trim(), "OK");
    assert_eq!(
        etcdctl(&["get", "/e2e/", "--prefix"]).clean(),
        "/e2e/a\none\n/e2e/b\ntwo\n"
    );
    assert_eq!(
        etcdctl(&["get", "/e2e/", "--prefix", "--keys-only", "--limit=1"])
            .clean()
            .trim(),
        "/e2e/a"
    );
    assert_eq!(etcdctl(&["del", "/e2e/", "--prefix"]).clean().trim(), "2");
    assert_eq!(etcdctl(&["get", "/e2e/a"]).clean(), "");
}

#[test]
fn a_watch_sees_what_is_written_through_another_server() {
    let mut watch = Background::start(&mut kontiki_e2e::fixture::etcdctl_at(
        0,
        &["watch", "/e2e-watch"],
    ));
    // A watch says nothing when it has begun: writing goes on until it is heard.
    eventually("the watch hears", || {
        let _ = kontiki_e2e::run(&mut kontiki_e2e::fixture::etcdctl_at(
            1,
            &["put", "/e2e-watch", "heard"],
        ))
        .clean();
        watch.said().contains("heard").then_some(())
    });
    let _ = etcdctl(&["del", "/e2e-watch"]).clean();
    watch.wait_for("DELETE");
}

#[test]
fn a_key_goes_with_its_lease() {
    let granted = etcdctl(&["lease", "grant", "2"]).clean();
    let id = granted.split_whitespace().nth(1).expect("an id").to_owned();
    let _ = etcdctl(&["put", "/e2e-lease", "held", &format!("--lease={id}")]).clean();
    assert!(
        etcdctl(&["lease", "timetolive", &id, "--keys"])
            .clean()
            .contains("/e2e-lease")
    );
    let _ = etcdctl(&["lease", "keep-alive", "--once", &id]).clean();
    eventually("the key is gone", || {
        etcdctl(&["get", "/e2e-lease"])
            .clean()
            .is_empty()
            .then_some(())
    });
}

#[test]
fn three_members_are_listed_and_one_leads() {
    let members = etcdctl(&["member", "list"]).clean();
    assert_eq!(
        members
            .lines()
            .filter(|line| line.contains("started"))
            .count(),
        3,
        "{members}"
    );
    let status = etcdctl(&["endpoint", "status", "-w", "json"]).clean();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let status = status.as_array().expect("a list");
    let leads = |entry: &&serde_json::Value| {
        entry["Status"]["leader"] == entry["Status"]["header"]["member_id"]
    };
    assert_eq!((status.len(), status.iter().filter(leads).count()), (3, 1));
    assert_eq!(
        etcdctl(&["endpoint", "health"]).good().lines().count() % 3,
        0
    );
}

#[test]
fn the_products_own_table_agrees() {
    let binary = kontiki_e2e::cluster().binary().to_owned();
    let dir = kontiki_e2e::cluster().state().join("etcd");
    let mut status = std::process::Command::new(binary);
    let shown = kontiki_e2e::run(status.arg("status").arg("--etcd-dir").arg(dir)).clean();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert_eq!(
        shown.lines().filter(|line| line.contains("leader")).count(),
        1,
        "{shown}"
    );
}

#[test]
fn objects_lie_where_upstream_lays_them() {
    let scratch = Scratch::new("keys");
    scratch.clean(&["create", "configmap", "seen", "--from-literal=a=b"]);
    let key = format!("/registry/configmaps/{}/seen", scratch.namespace);
    assert_eq!(etcdctl(&["get", &key, "--keys-only"]).clean().trim(), key);
    let _ = etcdctl(&["del", &key]).clean();
    eventually("the object is gone", || {
        scratch
            .run(&["get", "configmap", "seen"])
            .stderr
            .contains("NotFound")
            .then_some(())
    });
}

#[test]
fn without_a_certificate_of_the_stores_own_authority_nobody_is_let_in() {
    let mut bare =
        kontiki_e2e::fixture::etcdctl_at(0, &["get", "/registry", "--prefix", "--keys-only"]);
    bare.env_remove("ETCDCTL_CERT")
        .env_remove("ETCDCTL_KEY")
        .env("ETCDCTL_DIAL_TIMEOUT", "2s");
    bare.env("ETCDCTL_COMMAND_TIMEOUT", "2s");
    let refused = kontiki_e2e::run(&mut bare);
    assert_ne!(refused.code, Some(0));
    assert_eq!(refused.stdout, "");
}
