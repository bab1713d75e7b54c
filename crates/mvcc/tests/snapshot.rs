//! Snapshots: what happens to watchers, and what a bad or broken one does.

use bytes::Bytes;
use kontiki_mvcc::{Background, Command, Engine, Entry, MemoryEngine, SnapshotError, StateMachine};
use kontiki_store::{KeyRange, Op, PutRequest, TxnRequest, WatchItem, WatchRequest, WatchStream};
use std::sync::Arc;

fn put(key: String) -> Command {
    let put = PutRequest {
        key: key.into(),
        value: vec![b'v'; 3000].into(),
        ..Default::default()
    };
    Command::Txn(TxnRequest {
        success: vec![Op::Put(put)],
        ..Default::default()
    })
}

fn apply(machine: &StateMachine, index: u64, command: Command) {
    let entry = Entry {
        term: 1,
        commands: vec![command],
    };
    machine
        .apply(&[entry], Bytes::copy_from_slice(&index.to_be_bytes()))
        .expect("it applies");
}

/// A machine with revisions 2 up to `last`, applied as entries of these numbers.
fn written(engine: Arc<dyn Engine>, last: u64) -> (Arc<StateMachine>, Background) {
    let (machine, background) = StateMachine::open(engine).expect("it opens");
    (2..=last).for_each(|index| apply(&machine, index, put(format!("key/{index}"))));
    (machine, background)
}

fn chunks(machine: &StateMachine) -> Vec<Bytes> {
    let mut snapshot = machine.snapshot().expect("a snapshot");
    std::iter::from_fn(|| snapshot.blocking_next())
        .map(|chunk| chunk.expect("a chunk"))
        .collect()
}

async fn chunks_here(machine: &StateMachine) -> Vec<Bytes> {
    let mut snapshot = machine.snapshot().expect("a snapshot");
    let mut chunks = Vec::new();
    while let Some(chunk) = snapshot.next().await {
        chunks.push(chunk.expect("a chunk"));
    }
    chunks
}

fn install(machine: &Arc<StateMachine>, chunks: &[Bytes]) -> Result<Option<Bytes>, SnapshotError> {
    let mut installer = machine.install()?;
    for chunk in chunks {
        installer.push(chunk.clone())?;
    }
    installer.finish()
}

fn watch(machine: &StateMachine, start_revision: i64) -> WatchStream {
    machine.watch(WatchRequest {
        range: KeyRange::prefix("key/"),
        start_revision,
        ..Default::default()
    })
}

async fn revisions(stream: &mut WatchStream, count: usize) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match stream.next().await.expect("the store runs") {
            WatchItem::Events(batch) => seen.push(batch.revision),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
    seen
}

#[tokio::test]
async fn a_watcher_goes_on_over_an_install_without_gap_or_repetition() {
    let (source, _source_background) = written(Arc::new(MemoryEngine::new()), 400);
    let (target, background) = written(Arc::new(MemoryEngine::new()), 100);
    tokio::spawn(background.run());
    let mut synced = watch(&target, 0);
    let mut from_the_past = watch(&target, 50);
    let mut from_the_future = watch(&target, 300);
    install(&target, &chunks_here(&source).await).expect("it installs");
    assert_eq!(target.revision(), 400);
    apply(&target, 401, put("key/401".to_owned()));
    assert_eq!(
        revisions(&mut synced, 301).await,
        (101..=401).collect::<Vec<_>>()
    );
    assert_eq!(
        revisions(&mut from_the_past, 352).await,
        (50..=401).collect::<Vec<_>>()
    );
    assert_eq!(
        revisions(&mut from_the_future, 102).await,
        (300..=401).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_watcher_whose_next_revision_the_snapshot_compacted_is_told() {
    let (source, _source_background) = written(Arc::new(MemoryEngine::new()), 400);
    apply(&source, 401, Command::Compact { revision: 300 });
    let (target, background) = written(Arc::new(MemoryEngine::new()), 100);
    tokio::spawn(background.run());
    let mut stream = watch(&target, 0);
    install(&target, &chunks_here(&source).await).expect("it installs");
    assert_eq!(
        stream.next().await,
        Some(WatchItem::Compacted {
            compact_revision: 300
        })
    );
    assert_eq!(stream.next().await, None);
}

#[test]
fn a_damaged_incomplete_or_shuffled_snapshot_changes_nothing() {
    let (source, _source_background) = written(Arc::new(MemoryEngine::new()), 400);
    let good = chunks(&source);
    assert!(good.len() > 4, "{} chunks", good.len());
    let (target, _background) = written(Arc::new(MemoryEngine::new()), 10);
    let before = target.state_hash().expect("a hash");
    let mut flipped = good.clone();
    let mut bytes = flipped[2].to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    flipped[2] = bytes.into();
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    let mut doubled = good.clone();
    doubled.insert(2, good[1].clone());
    let mut overlong = good.clone();
    overlong.push(good[1].clone());
    let short = good[..good.len() - 1].to_vec();
    let gap = [&good[..2], &good[3..]].concat();
    let cut = [&good[..2], &[good[2].slice(..4)]].concat();
    for (case, bad) in [
        ("flipped", flipped),
        ("swapped", swapped),
        ("doubled", doubled),
        ("overlong", overlong),
        ("short", short),
        ("gap", gap),
        ("cut", cut),
        ("empty", Vec::new()),
    ] {
        let result = install(&target, &bad);
        assert!(
            matches!(result, Err(SnapshotError::Chunk { .. })),
            "{case}: {result:?}"
        );
        assert_eq!(target.state_hash().expect("a hash"), before, "{case}");
    }
    install(&target, &good).expect("the good one still installs");
    assert_eq!(
        target.state_hash().expect("a hash"),
        source.state_hash().expect("a hash")
    );
}

#[test]
fn a_crash_during_an_install_leaves_the_old_content() {
    let (source, _source_background) = written(Arc::new(MemoryEngine::new()), 400);
    let engine = Arc::new(MemoryEngine::new());
    let (target, _background) = written(engine.clone(), 10);
    target.flush().expect("a flush");
    let before = target.state_hash().expect("a hash");
    let mut installer = target.install().expect("an install");
    for chunk in &chunks(&source)[..3] {
        installer.push(chunk.clone()).expect("a chunk");
    }
    engine.flush().expect("a flush");
    assert!(matches!(target.install(), Err(SnapshotError::Busy)));
    engine.crash();
    let (reopened, _background) = StateMachine::open(engine).expect("it opens");
    assert_eq!(reopened.state_hash().expect("a hash"), before);
    install(&reopened, &chunks(&source)).expect("it installs over the remains");
    assert_eq!(
        reopened.state_hash().expect("a hash"),
        source.state_hash().expect("a hash")
    );
}

#[test]
fn a_snapshot_does_not_see_what_is_written_while_it_is_read() {
    let (source, _source_background) = written(Arc::new(MemoryEngine::new()), 400);
    let before = source.state_hash().expect("a hash");
    let mut snapshot = source.snapshot().expect("a snapshot");
    apply(&source, 401, put("key/401".to_owned()));
    let (target, _background) =
        StateMachine::open(Arc::new(MemoryEngine::new())).expect("it opens");
    let mut installer = target.install().expect("an install");
    while let Some(chunk) = snapshot.blocking_next() {
        installer.push(chunk.expect("a chunk")).expect("it fits");
    }
    installer.finish().expect("it is complete");
    assert_eq!(target.state_hash().expect("a hash"), before);
}
