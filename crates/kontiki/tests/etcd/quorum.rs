//! When more than half of the members are gone.

use crate::process::{Ctl, Member, Running, cluster, fail, http, kontiki, run};
use std::slice::from_ref;

/// How often a member is asked until it says that nobody leads.
const LOOKS_MAX: usize = 1000;

#[test]
fn without_a_quorum_reads_say_that_they_are_stale_and_a_new_cluster_is_made_of_what_survived() {
    let dir = tempfile::tempdir().expect("a folder");
    let members = ["m1", "m2", "m3"].map(|name| Member::new(dir.path(), name, "http"));
    let stale = ["--stale-reads".to_owned()];
    let start = |member: &Member| member.start(&members, "new", &stale);
    let started: Vec<Running> = members.iter().map(start).collect();
    let mut running: Vec<Running> = started.into_iter().map(Running::ready).collect();
    // The leader has to find out that nobody follows it any more.
    let all = members.iter().map(|member| member.client.as_str());
    let all = format!("--endpoints={}", all.collect::<Vec<_>>().join(","));
    let status = run(kontiki(&["status", "--json"]).arg(all));
    let rows: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let leads = (0..3).find(|i: &usize| rows[i]["role"] == "leader");
    let leader = leads.expect("one of them leads");
    let (survivor, lost) = (&members[leader], (leader + 1) % 3);
    let port = survivor.client_port();
    let put = |key: &str| format!(r#"{{"key":"{key}","value":"YmFy"}}"#);
    let (told, body) = http(port, "POST", "/v3/kv/put", &put("Zm9v"));
    assert!(told.contains("200"), "{body}");
    running[(leader + 1) % 3].kill();
    running[(leader + 2) % 3].kill();

    let endpoint = format!("--endpoints={}", survivor.client);
    let told = (0..LOOKS_MAX)
        .map(|_| fail(kontiki(&["status", "--no-write-probe"]).arg(&endpoint)))
        .find(|told| told.contains("no leader"))
        .expect("it says that nobody leads");
    assert!(told.contains("SILENT"), "{told}");
    let (told, body) = http(port, "POST", "/v3/kv/put", &put("eA=="));
    assert!(
        told.contains("503") && body.contains("etcdserver: no leader"),
        "{told} {body}"
    );
    let (told, body) = http(port, "POST", "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    assert!(
        told.contains("200") && body.contains(r#""value":"YmFy""#),
        "{told} {body}"
    );
    assert!(
        told.to_lowercase()
            .contains("grpc-metadata-kontiki-stale: true"),
        "{told}"
    );
    running[leader].kill();

    let survived = [&survivor.dir, &members[lost].dir];
    let file = dir.path().join("saved.db");
    let shown = run(kontiki(&["recover"]).args(survived));
    assert!(
        shown.contains(&format!("{} (", survivor.name)) && shown.contains("goes farthest"),
        "{shown}"
    );
    assert!(!file.exists());
    let shown = run(kontiki(&["recover"])
        .arg(survived[0])
        .arg("--save")
        .arg(&file));
    assert!(
        shown.contains("Half of the voters or more are missing"),
        "{shown}"
    );
    run(kontiki(&["snapshot", "verify"]).arg(&file));

    let new = Member::new(dir.path(), "new", "http");
    run(kontiki(&[
        "snapshot",
        "restore",
        "--name=new",
        "--initial-cluster-token=etcd-cluster",
    ])
    .arg(format!("--initial-cluster={}", cluster(from_ref(&new))))
    .arg(&file)
    .arg("--data-dir")
    .arg(&new.dir));
    let _running = new.start(from_ref(&new), "new", &[]).ready();
    let port = new.client_port();
    let (_, body) = http(port, "POST", "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    assert!(body.contains(r#""value":"YmFy""#), "{body}");
    let (told, body) = http(port, "POST", "/v3/kv/put", &put("eA=="));
    assert!(told.contains("200"), "{body}");
}

#[test]
fn snapshots_are_saved_by_schedule_and_tokens_are_json_web_tokens_if_that_is_wanted() {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member::new(dir.path(), "m", "http");
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a secret of some length").expect("a file");
    let backups = dir.path().join("backups");
    let more = [
        "--snapshot-every=200ms".to_owned(),
        "--snapshot-keep=2".to_owned(),
        format!("--snapshot-dir={}", backups.display()),
        format!(
            "--auth-token=jwt,sign-method=HS256,priv-key={}",
            secret.display()
        ),
    ];
    let mut running = member.start(from_ref(&member), "new", &more).ready();
    let port = member.client_port();
    let (_, body) = http(
        port,
        "POST",
        "/v3/kv/put",
        r#"{"key":"Zm9v","value":"YmFy"}"#,
    );
    assert!(body.contains(r#""revision":"2""#), "{body}");
    // Files are named by second and revision: each round makes a new name. The
    // second snapshot that is told after a write was begun after it.
    for _ in 0..3 {
        let body = r#"{"key":"ZG8=","value":"YmFy"}"#;
        http(port, "POST", "/v3/kv/put", body);
        for _ in 0..2 {
            running.says("a snapshot was saved, and restored to try it");
        }
    }
    if let Some(ctl) = Ctl::to(&[&member.client], &[]) {
        ctl.run(&["user", "add", "root:secret"]);
        ctl.run(&["user", "grant-role", "root", "root"]);
        ctl.run(&["auth", "enable"]);
        let login = r#"{"name":"root","password":"secret"}"#;
        let (_, body) = http(port, "POST", "/v3/auth/authenticate", login);
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let token = answer["token"].as_str().expect("a token");
        assert_eq!(token.split('.').count(), 3, "{token}");
        assert!(token.starts_with("eyJ"), "{token}");
        let ctl = Ctl::to(&[&member.client], &["--user=root:secret".to_owned()]);
        assert_eq!(
            ctl.expect("it is installed").run(&["get", "foo"]),
            "foo\nbar\n"
        );
    }
    assert!(running.stop());
    let saved: Vec<_> = std::fs::read_dir(&backups)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect();
    assert_eq!(saved.len(), 2, "{saved:?}");
    for path in saved {
        run(kontiki(&["snapshot", "verify"]).arg(path));
    }
}
