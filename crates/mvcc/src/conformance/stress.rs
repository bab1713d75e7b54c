//! Readers, watchers and compactions at once with a writer, on real threads.

use super::everything;
use crate::command::Command;
use crate::engine::Engine;
use crate::machine::{Entry, StateMachine};
use bytes::Bytes;
use kontiki_store::{
    KeyRange, Op, PutRequest, RangeRequest, StoreError, TxnRequest, WatchItem, WatchRequest,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const KEYS: usize = 40;

/// Writes all keys in each revision with one value, compacts as it goes, and
/// checks that readers at any revision and watchers of any speed see each
/// revision whole, in order and once.
///
/// # Panics
/// When one of them does not.
pub fn stress(engine: Arc<dyn Engine>, revisions: i64) {
    let (machine, background) = StateMachine::open(engine).expect("an empty engine opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let last = revisions + 1;
        let watchers: Vec<_> = [1, 2, 1000]
            .into_iter()
            .map(|buffer| {
                let range = everything();
                let stream = machine.watch(WatchRequest {
                    range,
                    buffer,
                    prev_kv: buffer == 2,
                    ..Default::default()
                });
                scope.spawn(move || follow(stream, last))
            })
            .collect();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = background.run() => {}
                    _ = stopped => {}
                }
            })
        });
        for past in [false, true] {
            let (machine, finished) = (machine.clone(), &finished);
            scope.spawn(move || read_until(&machine, past, finished));
        }
        write(&machine, revisions);
        finished.store(true, Ordering::Release);
        for watcher in watchers {
            watcher.join().expect("the watcher saw everything");
        }
        let _ = stop.send(());
    });
}

fn write(machine: &StateMachine, revisions: i64) {
    for revision in 2..=revisions + 1 {
        let value = Bytes::from(revision.to_string());
        let puts = (0..KEYS).map(|key| {
            Op::Put(PutRequest {
                key: format!("key/{key}").into(),
                value: value.clone(),
                ..Default::default()
            })
        });
        let mut commands = vec![Command::Txn(TxnRequest {
            success: puts.collect(),
            ..Default::default()
        })];
        if revision % 50 == 0 {
            // Far enough behind that the watchers are not cut off for good.
            commands.push(Command::Compact {
                revision: (revision - 40).max(1),
            });
        }
        let entry = Entry { term: 1, commands };
        machine
            .apply(&[entry], Bytes::copy_from_slice(&revision.to_be_bytes()))
            .expect("it applies");
    }
}

fn read_until(machine: &StateMachine, past: bool, finished: &AtomicBool) {
    let range = KeyRange::prefix("key/");
    while !finished.load(Ordering::Acquire) {
        let now = machine.revision();
        let revision = if past { (now - 5).max(1) } else { 0 };
        match machine.range(&RangeRequest {
            range: range.clone(),
            revision,
            ..Default::default()
        }) {
            Ok(response) => {
                let expected = if revision == 1 || response.header.revision == 1 {
                    0
                } else {
                    KEYS
                };
                assert_eq!(response.kvs.len(), expected, "at {revision}");
                let read_at = if past {
                    revision
                } else {
                    response.header.revision
                };
                assert!(
                    response.kvs.iter().all(|kv| kv.mod_revision == read_at),
                    "{read_at}: {response:?}"
                );
                assert!(
                    response
                        .kvs
                        .iter()
                        .all(|kv| kv.value == read_at.to_string())
                );
            }
            Err(StoreError::Compacted { compact_revision }) => {
                assert!(past && compact_revision > revision)
            }
            Err(error) => panic!("at {revision}: {error}"),
        }
    }
}

fn follow(mut stream: kontiki_store::WatchStream, last: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut next = 2;
        while next <= last {
            match stream.next().await.expect("the store runs") {
                WatchItem::Events(batch) => {
                    assert_eq!((batch.revision, batch.events.len()), (next, KEYS));
                    next += 1;
                }
                WatchItem::Progress(_) => panic!("nobody asked"),
                WatchItem::Compacted { compact_revision } => {
                    assert!(
                        compact_revision > next,
                        "compacted at {compact_revision} but {next} is next"
                    );
                    return;
                }
            }
        }
    });
}
