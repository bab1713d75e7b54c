//! One member, without certificates.

use crate::process::{Ctl, Member, http};
use std::slice::from_ref;

#[test]
fn a_single_member_stands_where_an_etcd_stands() {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member::new(dir.path(), "m1", "http");
    let mut running = member.start(from_ref(&member), "new", &[]).ready();
    let port = member.client_port();
    for (path, expected) in [
        ("/health", r#"{"health":"true","reason":""}"#),
        (
            "/health?serializable=true",
            r#"{"health":"true","reason":""}"#,
        ),
        ("/livez", "ok\n"),
        ("/readyz", "ok\n"),
        (
            "/version",
            r#"{"etcdserver":"3.6.0","etcdcluster":"3.6.0"}"#,
        ),
    ] {
        let (head, body) = http(port, "GET", path, "");
        let status = head.lines().next().expect("a status");
        assert_eq!(
            (status, body.as_str()),
            ("HTTP/1.1 200 OK", expected),
            "{path}"
        );
    }
    let put = r#"{"key":"Zm9v","value":"YmFy"}"#;
    assert!(http(port, "POST", "/v3/kv/put", put).0.contains("200"));
    let (_, metrics) = http(port, "GET", "/metrics", "");
    for sample in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_mvcc_db_total_size_in_bytes",
        "process_resident_memory_bytes",
    ] {
        assert!(
            metrics.contains(&format!("\n{sample}")),
            "{sample}: {metrics}"
        );
    }
    if let Some(ctl) = Ctl::to(&[&member.client], &[]) {
        drive(&ctl);
    }
    // What was acknowledged outlives the process.
    running.kill();
    let mut running = member.start(from_ref(&member), "new", &[]).ready();
    let (_, found) = http(port, "POST", "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    assert!(found.contains(r#""value":"YmFy""#), "{found}");
    assert!(running.stop(), "a member that is asked to stop succeeds");
}

fn drive(ctl: &Ctl) {
    for (args, expected) in [
        (&["put", "k", "1"][..], "OK"),
        (&["get", "k"], "k\n1"),
        (&["del", "k", "--prev-kv"], "1\nk\n1"),
        (&["lease", "grant", "60"], "granted with TTL(60s)"),
        (&["lease", "list"], "found 1 leases"),
        (&["member", "list"], ", started, m1, "),
        (&["endpoint", "health"], "is healthy"),
        (&["endpoint", "status"], ", true, false, "),
        (&["endpoint", "hashkv"], ", "),
        (&["compaction", "3", "--physical"], "compacted revision 3"),
        (&["defrag"], "Finished defragmenting"),
        (&["alarm", "list"], ""),
        (&["lock", "l", "echo", "held"], "held"),
        (&["role", "add", "r"], "Role r created"),
        (
            &["role", "grant-permission", "r", "readwrite", "a", "b"],
            "Role r updated",
        ),
        (&["user", "add", "u:password"], "User u created"),
        (
            &["user", "grant-role", "u", "r"],
            "Role r is granted to user u",
        ),
        (&["user", "get", "u"], "Roles: r"),
        (&["role", "get", "r"], "[a, b)"),
        (&["user", "delete", "u"], "User u deleted"),
        (&["role", "delete", "r"], "Role r deleted"),
        (
            &["check", "datascale", "--load=s", "--prefix=/scale/"],
            "PASS",
        ),
    ] {
        let printed = ctl.run_loudly(args);
        assert!(printed.contains(expected), "etcdctl {args:?}: {printed}");
    }
}
