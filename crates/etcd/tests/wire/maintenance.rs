//! Maintenance and membership as clients see them, and snapshots that etcd's
//! own tools take.

use crate::etcdctl::ctl;
use crate::served::{Served, serve};
use kontiki_etcd::pb::etcdserverpb as pb;
use kontiki_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::snapshot::SnapshotFile;
use kontiki_mvcc::{Importer, LocalStore, MemoryEngine, Revisions, StateMachine};
use kontiki_store::{
    AuthChange, DeleteRangeRequest, KeyRange, Op, Operations, PutRequest, RangeRequest, Store,
    TxnRequest,
};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tonic::Code;

fn put(key: &str, value: Vec<u8>, lease: i64) -> TxnRequest {
    TxnRequest {
        success: vec![Op::Put(PutRequest {
            key: key.to_owned().into(),
            value: value.into(),
            lease,
            ..PutRequest::default()
        })],
        ..TxnRequest::default()
    }
}

/// History, a compaction, deletions, a lease, large and many values.
async fn fill(store: &LocalStore) {
    let lease = store.lease_grant(0x77, 5_000).await.expect("a lease").id;
    store
        .txn(put("leased", b"x".to_vec(), lease))
        .await
        .expect("a put");
    store
        .txn(put("large", vec![7; 300_000], 0))
        .await
        .expect("a put");
    for n in 0..500 {
        let (key, value) = (format!("key/{:03}", n % 400), vec![n as u8; n % 70]);
        store.txn(put(&key, value, 0)).await.expect("a put");
    }
    let delete = Op::DeleteRange(DeleteRangeRequest {
        range: KeyRange::prefix("key/01"),
        prev_kv: false,
    });
    let delete = TxnRequest {
        success: vec![delete],
        ..TxnRequest::default()
    };
    let middle = store.txn(delete).await.expect("a deletion").header.revision;
    store
        .compact(middle - 3, true)
        .await
        .expect("a past revision");
    store
        .txn(put("key/011", b"back".to_vec(), 0))
        .await
        .expect("a put");
    let role = AuthChange::RoleAdd { name: "r".into() };
    store.change_auth(role).await.expect("a role");
}

async fn save(served: &Served, path: &Path) {
    let mut client = MaintenanceClient::new(served.channel.clone());
    let parts = client
        .snapshot(pb::SnapshotRequest {})
        .await
        .expect("a snapshot");
    let mut parts = parts.into_inner();
    let mut file = Vec::new();
    while let Some(part) = parts.message().await.expect("a part") {
        file.extend_from_slice(&part.blob);
    }
    std::fs::write(path, file).expect("a file");
}

fn all(revision: i64) -> RangeRequest {
    RangeRequest {
        range: KeyRange {
            key: bytes::Bytes::from_static(b"\0"),
            end: bytes::Bytes::from_static(b"\0"),
        },
        revision,
        ..RangeRequest::default()
    }
}

fn restored(path: &Path) -> Arc<StateMachine> {
    let file = SnapshotFile::open(path, false, |_, _| ()).expect("a whole file");
    let head = file.head().expect("a head");
    let revisions = Revisions {
        compact_revision: head.compact_revision,
        ..Revisions::default()
    };
    let engine = Arc::new(MemoryEngine::new());
    let mut importer = Importer::new(engine.clone(), revisions).expect("an empty engine");
    importer.auth(head.auth);
    let taken = file.for_each(|item| {
        importer.item(item).expect("items in order");
        Ok::<_, kontiki_etcd::snapshot::SnapshotError>(())
    });
    taken.expect("readable");
    importer
        .finish(bytes::Bytes::from_static(b"x"))
        .expect("a whole snapshot");
    StateMachine::open(engine).expect("a state").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_snapshot_restores_to_the_same_content() {
    let served = serve().await;
    fill(&served.store).await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("snapshot.db");
    save(&served, &path).await;
    let copy = restored(&path);
    let original = served.store.machine();
    assert_eq!(copy.revision(), original.revision());
    assert_eq!(copy.compact_revision(), original.compact_revision());
    for revision in original.compact_revision()..=original.revision() {
        let (ours, theirs) = (copy.range(&all(revision)), original.range(&all(revision)));
        assert_eq!(ours.expect("readable").kvs, theirs.expect("readable").kvs);
    }
    assert_eq!(copy.leases(), original.leases());
    assert_eq!(copy.auth().roles, original.auth().roles);

    let mut damaged = std::fs::read(&path).expect("a file");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&path, damaged).expect("a file");
    assert!(
        SnapshotFile::open(&path, false, |_, _| ()).is_err(),
        "damage is noticed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcds_own_tools_take_our_snapshot_and_we_take_etcds() {
    let served = serve().await;
    fill(&served.store).await;
    let dir = tempfile::tempdir().expect("a folder");
    let (path, data) = (dir.path().join("ours.db"), dir.path().join("data"));
    let path_text = path.to_str().expect("text");
    let Some(saved) = ctl(&served, &["snapshot", "save", path_text], "").await else {
        return;
    };
    assert!(saved.contains("Snapshot saved at"), "{saved}");
    let file = SnapshotFile::open(&path, false, |_, _| ()).expect("a whole file");
    let ours = file.status().expect("a status");
    let theirs = ctl(&served, &["snapshot", "status", path_text], "")
        .await
        .expect("etcdctl");
    let expected = format!("{:x}, {}, {}, ", ours.hash, ours.revision, ours.total_keys);
    assert!(theirs.contains(&expected), "{theirs} is not {expected}");
    let data_flag = format!("--data-dir={}", data.display());
    let restore = ctl(&served, &["snapshot", "restore", path_text, &data_flag], "").await;
    let restore = restore.expect("etcdctl");
    assert!(data.join("member/snap/db").is_file(), "{restore}");

    // etcd runs on it, answers the same, and its own snapshot comes back to us.
    let Some(etcd) = Etcd::start(&data).await else {
        return;
    };
    let theirs = etcd
        .ctl(&["get", "", "--from-key", "--write-out=fields"])
        .await;
    let ours = ctl(
        &served,
        &["get", "", "--from-key", "--write-out=fields"],
        "",
    )
    .await;
    let body = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| !line.starts_with("\"Key\""));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(body(&theirs), body(&ours.expect("etcdctl")));
    etcd.ctl(&["put", "from etcd", "yes"]).await;
    let back = dir.path().join("theirs.db");
    let saved = etcd
        .ctl(&["snapshot", "save", back.to_str().expect("text")])
        .await;
    assert!(saved.contains("Snapshot saved at"), "{saved}");
    let copy = restored(&back);
    let found = copy.range(&RangeRequest {
        range: KeyRange::one("from etcd"),
        ..RangeRequest::default()
    });
    assert_eq!(&found.expect("readable").kvs[0].value[..], b"yes");
    let request = all(served.store.machine().revision());
    let (ours, theirs) = (copy.range(&request), served.store.machine().range(&request));
    assert_eq!(ours.expect("readable").kvs, theirs.expect("readable").kvs);
}

/// A real etcd on a restored folder.
struct Etcd {
    client: String,
    _process: tokio::process::Child,
}

impl Etcd {
    async fn start(data: &Path) -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path)
            .map(|dir| dir.join("etcd"))
            .find(|path| path.is_file())?;
        let port = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let (client, peer) = (format!("127.0.0.1:{}", port()), port());
        let (client_url, peer_url) = (
            format!("http://{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let process = tokio::process::Command::new(program)
            .args(["--name=default", "--log-level=error", "--logger=zap"])
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("etcd starts");
        let etcd = Self {
            client,
            _process: process,
        };
        let healthy = async {
            while !etcd
                .ctl(&["endpoint", "health"])
                .await
                .contains("is healthy")
            {}
        };
        let minute = std::time::Duration::from_secs(60);
        tokio::time::timeout(minute, healthy)
            .await
            .expect("etcd serves");
        Some(etcd)
    }

    async fn ctl(&self, args: &[&str]) -> String {
        let output = tokio::process::Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.client))
            .args(args)
            .output()
            .await
            .expect("etcdctl");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }
}

#[tokio::test]
async fn maintenance_answers_as_etcd_does() {
    let served = serve().await;
    fill(&served.store).await;
    let mut client = MaintenanceClient::new(served.channel.clone());
    let revision = served.store.machine().revision();
    let hash = client
        .hash_kv(pb::HashKvRequest { revision: 0 })
        .await
        .expect("a hash")
        .into_inner();
    assert_eq!(hash.hash_revision, revision);
    assert_eq!(
        hash.compact_revision,
        served.store.machine().compact_revision()
    );
    let again = pb::HashKvRequest { revision };
    assert_eq!(
        client
            .hash_kv(again)
            .await
            .expect("a hash")
            .into_inner()
            .hash,
        hash.hash
    );
    client.hash(pb::HashRequest {}).await.expect("a hash");
    for (revision, message) in [
        (
            revision + 1,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (1, "etcdserver: mvcc: required revision has been compacted"),
    ] {
        let status = client
            .hash_kv(pb::HashKvRequest { revision })
            .await
            .expect_err("refused");
        assert_eq!(
            (status.code(), status.message()),
            (Code::OutOfRange, message)
        );
    }
    let status = client
        .move_leader(pb::MoveLeaderRequest { target_id: 9 })
        .await;
    let status = status.expect_err("refused");
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::FailedPrecondition,
            "etcdserver: bad leader transferee"
        )
    );
    let downgrade = client.downgrade(pb::DowngradeRequest::default()).await;
    assert_eq!(downgrade.expect_err("refused").code(), Code::Unimplemented);
}

#[tokio::test]
async fn an_alarm_stops_puts_but_not_what_makes_space() {
    use pb::alarm_request::AlarmAction;
    let served = serve().await;
    fill(&served.store).await;
    let mut client = MaintenanceClient::new(served.channel.clone());
    let mut alarm = async |action: AlarmAction, alarm: pb::AlarmType| {
        let request = pb::AlarmRequest {
            action: action.into(),
            member_id: 0,
            alarm: alarm.into(),
        };
        client
            .alarm(request)
            .await
            .expect("an answer")
            .into_inner()
            .alarms
            .len()
    };
    assert_eq!(alarm(AlarmAction::Get, pb::AlarmType::None).await, 0);
    assert_eq!(
        alarm(AlarmAction::Activate, pb::AlarmType::Nospace).await,
        1
    );
    assert_eq!(alarm(AlarmAction::Get, pb::AlarmType::None).await, 1);
    let refused = served.store.txn(put("k", b"v".to_vec(), 0)).await;
    assert_eq!(refused, Err(kontiki_store::StoreError::NoSpace));
    let delete = Op::DeleteRange(DeleteRangeRequest {
        range: KeyRange::one("large"),
        prev_kv: false,
    });
    let delete = TxnRequest {
        success: vec![delete],
        ..TxnRequest::default()
    };
    let revision = served
        .store
        .txn(delete)
        .await
        .expect("deletions go on")
        .header
        .revision;
    served
        .store
        .compact(revision, true)
        .await
        .expect("compactions go on");
    assert_eq!(
        alarm(AlarmAction::Deactivate, pb::AlarmType::Nospace).await,
        1
    );
    served
        .store
        .txn(put("k", b"v".to_vec(), 0))
        .await
        .expect("puts go on");
}

#[tokio::test]
async fn changes_of_the_membership_are_refused_in_etcds_words() {
    let served = serve().await;
    let mut client = ClusterClient::new(served.channel.clone());
    let own = served.store.members().await.expect("members")[0].id;
    let remove = async |client: &mut ClusterClient<_>, id| {
        client
            .member_remove(pb::MemberRemoveRequest { id })
            .await
            .map(drop)
    };
    let promote = async |client: &mut ClusterClient<_>, id| {
        client
            .member_promote(pb::MemberPromoteRequest { id })
            .await
            .map(drop)
    };
    let bad = pb::MemberAddRequest {
        peer_ur_ls: vec!["not a URL".into()],
        is_learner: false,
    };
    for (answer, code, message) in [
        (
            remove(&mut client, 99).await,
            Code::NotFound,
            "etcdserver: member not found",
        ),
        (
            remove(&mut client, own).await,
            Code::Unknown,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        (
            promote(&mut client, 99).await,
            Code::NotFound,
            "etcdserver: member not found",
        ),
        (
            promote(&mut client, own).await,
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member",
        ),
        (
            client.member_add(bad).await.map(drop),
            Code::InvalidArgument,
            "etcdserver: given member URLs are invalid",
        ),
    ] {
        let status = answer.expect_err("refused");
        assert_eq!((status.code(), status.message()), (code, message));
    }
}
