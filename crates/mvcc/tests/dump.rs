//! A dump taken over by an empty engine reads like the original.

use bytes::Bytes;
use kontiki_mvcc::{Importer, LocalStore, MemoryEngine, Revisions, StateMachine};
use kontiki_store::{
    Access, AuthChange, DeleteRangeRequest, DumpItem, KeyRange, Op, Operations, Permission,
    PutRequest, RangeRequest, Revision, Store, TxnRequest,
};
use std::sync::Arc;

fn put(key: &str, value: &str, lease: i64) -> Op {
    Op::Put(PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease,
        ..PutRequest::default()
    })
}

fn delete(key: &str) -> Op {
    Op::DeleteRange(DeleteRangeRequest {
        range: KeyRange::one(key.to_owned()),
        prev_kv: false,
    })
}

async fn txn(store: &LocalStore, ops: Vec<Op>) -> Revision {
    let request = TxnRequest {
        success: ops,
        ..TxnRequest::default()
    };
    store
        .txn(request)
        .await
        .expect("a valid transaction")
        .header
        .revision
}

fn everything(revision: Revision) -> RangeRequest {
    RangeRequest {
        range: KeyRange {
            key: Bytes::from_static(b"\0"),
            end: Bytes::from_static(b"\0"),
        },
        revision,
        ..RangeRequest::default()
    }
}

/// A store with history, a compaction in the middle of it, a lease and users.
async fn filled() -> Arc<LocalStore> {
    let store = LocalStore::in_memory();
    let lease = store.lease_grant(7, 100).await.expect("a lease").id;
    txn(
        &store,
        vec![put("a", "1", 0), put("b", "1", lease), put("c", "1", 0)],
    )
    .await;
    txn(&store, vec![put("a", "2", 0), delete("c")]).await;
    for n in 0..600 {
        txn(&store, vec![put(&format!("k{n}"), "x", 0)]).await;
    }
    let middle = txn(&store, vec![delete("b"), put("d", "1", lease)]).await;
    store.compact(middle, true).await.expect("a past revision");
    txn(
        &store,
        vec![put("a", "3", 0), delete("d"), put("e", "1", lease)],
    )
    .await;
    txn(&store, vec![put("d", "2", 0)]).await;
    for change in [
        AuthChange::RoleAdd { name: "r".into() },
        AuthChange::RoleGrantPermission {
            role: "r".into(),
            permission: Permission {
                access: Access::Write,
                range: KeyRange::prefix("p"),
            },
        },
        AuthChange::UserAdd {
            name: "u".into(),
            password_hash: Bytes::from_static(b"hash"),
            no_password: false,
        },
        AuthChange::UserGrantRole {
            name: "u".into(),
            role: "r".into(),
        },
    ] {
        store.change_auth(change).await.expect("a valid change");
    }
    store
}

async fn items(store: &LocalStore) -> (Revisions, Vec<DumpItem>) {
    let mut dump = store.dump().await.expect("a dump");
    let mut items = Vec::new();
    while let Some(portion) = dump.items.recv().await {
        items.extend(portion.expect("a readable engine"));
    }
    let revisions = Revisions {
        compact_revision: dump.compact_revision,
        revision: dump.header.revision,
        ..Revisions::default()
    };
    (revisions, items)
}

fn imported(
    original: &LocalStore,
    revisions: Revisions,
    items: Vec<DumpItem>,
) -> Arc<StateMachine> {
    let engine = Arc::new(MemoryEngine::new());
    let mut importer = Importer::new(engine.clone(), revisions).expect("an empty engine");
    importer.auth((*original.auth()).clone());
    for item in items {
        importer.item(item).expect("items in order");
    }
    importer
        .finish(Bytes::from_static(b"here"))
        .expect("a whole dump");
    assert!(
        Importer::new(engine.clone(), revisions).is_err(),
        "an engine that holds something is left alone"
    );
    StateMachine::open(engine).expect("an importable state").0
}

#[tokio::test]
async fn every_readable_revision_reads_the_same_after_an_import() {
    let store = filled().await;
    let (revisions, items) = items(&store).await;
    let copy = imported(&store, revisions, items);
    assert_eq!(copy.revision(), store.machine().revision());
    assert_eq!(copy.applied_meta().as_deref(), Some(&b"here"[..]));
    for revision in revisions.compact_revision..=revisions.revision {
        let request = everything(revision);
        let (ours, theirs) = (copy.range(&request), store.machine().range(&request));
        assert_eq!(ours.expect("readable").kvs, theirs.expect("readable").kvs);
    }
    let original = store.machine().hash_kv(0).expect("a hash");
    assert_eq!(copy.hash_kv(0).expect("a hash"), original);
    assert_eq!(copy.leases(), store.machine().leases());
    assert_eq!(copy.lease(7, true), store.machine().lease(7, true));
    assert_eq!(copy.auth(), store.machine().auth());
    assert!(
        copy.range(&everything(revisions.compact_revision - 1))
            .is_err()
    );
}

#[tokio::test]
async fn a_dump_is_in_the_order_of_the_revisions() {
    let store = filled().await;
    let (_, items) = items(&store).await;
    let mut last = (0, 0);
    for item in items {
        if let DumpItem::Version { number, kv, .. } = item {
            assert!((kv.mod_revision, number) > last, "{kv:?} after {last:?}");
            last = (kv.mod_revision, number);
        }
    }
    assert_eq!(last.0, store.machine().revision());
}

#[tokio::test]
async fn bumped_revisions_fool_no_old_watcher() {
    let store = filled().await;
    let (revisions, items) = items(&store).await;
    let bumped = Revisions {
        bump: 1_000,
        mark_compacted: true,
        ..revisions
    };
    let copy = imported(&store, bumped, items);
    assert_eq!(copy.revision(), revisions.revision + 1_000);
    assert_eq!(copy.compact_revision(), copy.revision());
    let now = copy.range(&everything(0)).expect("readable").kvs;
    let original = store.machine().range(&everything(0)).expect("readable").kvs;
    assert_eq!(now, original);
}
