//! What `etcdctl` shows, where it is installed, and the pages beside gRPC.

use crate::served::{Served, serve};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

pub fn etcdctl(served: &Served) -> Option<Command> {
    let path = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&path)
        .map(|dir| dir.join("etcdctl"))
        .find(|path| path.is_file())?;
    let mut command = Command::new(program);
    command
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=http://{}", served.address))
        .kill_on_drop(true);
    Some(command)
}

/// Runs etcdctl; `None` where there is none.
pub async fn ctl(served: &Served, args: &[&str], input: &str) -> Option<String> {
    let mut command = etcdctl(served)?;
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("etcdctl starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.expect("input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("etcdctl ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Some(text(output.stdout) + &text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_reads_writes_and_looks_around() {
    let served = serve().await;
    for (args, input, expected) in [
        (&["put", "k1", "v1"][..], "", "OK\n"),
        (&["put", "k2", "v2", "--prev-kv"], "", "OK\n"),
        (&["get", "k1"], "", "k1\nv1\n"),
        (&["get", "--prefix", "k", "--keys-only"], "", "k1\n\nk2\n\n"),
        (&["get", "", "--from-key", "--limit=1"], "", "k1\nv1\n"),
        (
            &["txn"],
            "value(\"k1\") = \"v1\"\n\nput k1 v3\nget k1\n\nget k2\n\n",
            "SUCCESS\n\nOK\n\nk1\nv3\n",
        ),
        (&["del", "--prefix", "k2"], "", "1\n"),
        (&["lease", "grant", "100"], "", " granted with TTL(100s)\n"),
        (&["lease", "list"], "", "found 1 leases\n"),
        (&["compaction", "4"], "", "compacted revision 4\n"),
        (
            &["get", "k1", "--rev=2"],
            "",
            "required revision has been compacted",
        ),
        (&["member", "list"], "", ", started, local, "),
        (&["endpoint", "status"], "", ", 3.6.0, "),
        (&["endpoint", "health"], "", "is healthy"),
        (&["endpoint", "hashkv"], "", ", "),
        (&["move-leader", "1"], "", "bad leader transferee"),
        (&["alarm", "list"], "", ""),
        (&["defrag"], "", "Finished defragmenting"),
    ] {
        let Some(output) = ctl(&served, args, input).await else {
            return;
        };
        assert!(output.contains(expected), "etcdctl {args:?}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_watches_from_a_revision() {
    let served = serve().await;
    let Some(mut command) = etcdctl(&served) else {
        return;
    };
    ctl(&served, &["put", "k", "first"], "").await;
    let watch = command
        .args(["watch", "k", "--rev=2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut watching = watch.spawn().expect("etcdctl starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    let mut next = async || lines.next_line().await.expect("output").expect("a line");
    for expected in ["PUT", "k", "first"] {
        assert_eq!(next().await, expected);
    }
    ctl(&served, &["del", "k"], "").await;
    for expected in ["DELETE", "k", ""] {
        assert_eq!(next().await, expected);
    }
}

#[tokio::test]
async fn health_and_version_are_served_beside_grpc() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let served = serve().await;
    for (path, expected) in [
        ("/health", r#"{"health":"true","reason":""}"#),
        (
            "/health?serializable=true",
            r#"{"health":"true","reason":""}"#,
        ),
        (
            "/version",
            r#"{"etcdserver":"3.6.0","etcdcluster":"3.6.0"}"#,
        ),
    ] {
        let router = kontiki_etcd::router(served.store.clone(), kontiki_etcd::Options::default());
        let request = axum::http::Request::get(path)
            .body(axum::body::Body::empty())
            .expect("a request");
        let response = router.oneshot(request).await.expect("a response");
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert_eq!(body, expected, "{path}");
    }
    let mut health =
        kontiki_etcd::pb::health::health_client::HealthClient::new(served.channel.clone());
    let answer = health
        .check(kontiki_etcd::pb::health::HealthCheckRequest::default())
        .await
        .expect("an answer");
    assert_eq!(answer.into_inner().status, 1);
}
