//! The sealed engine: the same state machine, and nothing to read on the disk.

use base64::Engine as _;
use bytes::Bytes;
use kontiki_mvcc::conformance::{self, Harness};
use kontiki_mvcc::{Command, Engine, Entry, MemoryEngine, SealedEngine, Space, StateMachine};
use kontiki_seal::Keyring;
use kontiki_store::{DeleteRangeRequest, KeyRange, Op, PutRequest, TxnRequest};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

const KEY: &str = "/registry/secrets/default/shop";
const VALUE: &str = "the value of a secret";

fn keyring() -> Arc<Keyring> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.yaml");
    let secret = base64::engine::general_purpose::STANDARD.encode([1; 32]);
    std::fs::write(&path, format!("keys: [{{name: a, secret: {secret}}}]")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("set");
    Keyring::open(&dir.path().join("KEYS"), &path).expect("new")
}

fn sealed(raw: &Arc<MemoryEngine>, keys: &Arc<Keyring>) -> Arc<SealedEngine> {
    Arc::new(SealedEngine::open(raw.clone(), keys.clone()).expect("it opens"))
}

struct Sealed {
    keys: Arc<Keyring>,
    raw: Option<Arc<MemoryEngine>>,
}

impl Harness for Sealed {
    fn fresh(&mut self) -> Arc<dyn Engine> {
        let raw = Arc::new(MemoryEngine::new());
        self.raw = Some(raw.clone());
        sealed(&raw, &self.keys)
    }

    fn crash(&mut self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        drop(engine);
        let raw = self.raw.clone().expect("an engine was made");
        raw.crash();
        sealed(&raw, &self.keys)
    }
}

#[test]
fn the_state_machine_on_sealed_memory_agrees_with_the_oracle() {
    let (keys, raw) = (keyring(), None);
    conformance::run(&mut Sealed { keys, raw }, 0..8, 200);
}

#[test]
fn readers_and_watchers_of_any_speed_see_whole_revisions_while_it_is_written() {
    conformance::stress(sealed(&Arc::default(), &keyring()), 600);
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    })
}

fn apply(machine: &StateMachine, index: u64, commands: Vec<Command>) {
    let position = Bytes::copy_from_slice(&index.to_be_bytes());
    let entry = Entry { term: 1, commands };
    machine.apply(&[entry], position).expect("it applies");
}

fn txn(op: Op) -> Command {
    Command::Txn(TxnRequest {
        success: vec![op],
        ..TxnRequest::default()
    })
}

/// Content of every kind: live keys, old versions, deleted keys, compacted history.
fn fill(machine: &StateMachine) {
    for number in 0..40_u64 {
        let key = format!("{KEY}/{}", number % 15);
        apply(machine, number + 1, vec![txn(put(&key, VALUE))]);
    }
    let deleted = DeleteRangeRequest {
        range: KeyRange::one(format!("{KEY}/3")),
        prev_kv: false,
    };
    apply(machine, 41, vec![txn(Op::DeleteRange(deleted))]);
    apply(machine, 42, vec![Command::Compact { revision: 20 }]);
    while machine.flush().is_err() {}
}

/// All rows as they lie in the engine below.
fn rows(raw: &MemoryEngine) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let view = raw.view().expect("memory");
    let mut rows = Vec::new();
    for space in Space::ALL {
        let mut cursor = view.cursor(space, &[]).expect("memory");
        cursor.seek(&[]).expect("memory");
        while let Some((key, value)) = cursor.item() {
            rows.push((space, key.to_vec(), value.to_vec()));
            cursor.next().expect("memory");
        }
    }
    rows
}

fn shows(rows: &[(Space, Vec<u8>, Vec<u8>)], text: &str) -> bool {
    let holds = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|found| found == text.as_bytes())
    };
    rows.iter()
        .any(|(_, key, value)| holds(key) || holds(value))
}

#[test]
fn neither_keys_nor_values_can_be_read_in_what_lies_below() {
    let (raw, keys) = (Arc::new(MemoryEngine::new()), keyring());
    let (machine, _background) = StateMachine::open(sealed(&raw, &keys)).expect("it opens");
    fill(&machine);
    let rows = rows(&raw);
    assert!(rows.len() > 80);
    for text in ["registry", "shop", VALUE, "root"] {
        assert!(!shows(&rows, text), "{text}");
    }
}

#[test]
fn content_in_the_clear_is_taken_over_whole_even_if_the_first_try_is_cut_short() {
    let keys = keyring();
    for interrupted in [false, true] {
        let raw = Arc::new(MemoryEngine::new());
        let (machine, background) = StateMachine::open(raw.clone()).expect("it opens");
        fill(&machine);
        let hash = machine.state_hash().expect("a hash");
        drop((machine, background));
        assert!(shows(&rows(&raw), VALUE));
        if interrupted {
            // What a first try may have left behind.
            let mut batch = kontiki_mvcc::Batch::new();
            batch.put(Space::Keys, vec![0x80; 25], b"half a row".to_vec());
            raw.write(batch).expect("memory");
        }
        let (machine, _background) = StateMachine::open(sealed(&raw, &keys)).expect("it opens");
        assert_eq!(machine.state_hash().expect("a hash"), hash);
        for text in [KEY, VALUE, "root"] {
            assert!(!shows(&rows(&raw), text), "{text}");
        }
        drop(machine);
        // And again after a restart.
        raw.crash();
        let (machine, _background) = StateMachine::open(sealed(&raw, &keys)).expect("it opens");
        assert_eq!(machine.state_hash().expect("a hash"), hash);
    }
}

#[test]
fn an_altered_or_a_moved_row_is_damage_and_a_foreign_key_store_is_not() {
    let (raw, keys) = (Arc::new(MemoryEngine::new()), keyring());
    let (machine, background) = StateMachine::open(sealed(&raw, &keys)).expect("it opens");
    fill(&machine);
    drop((machine, background));
    let foreign = SealedEngine::open(raw.clone(), keyring());
    assert!(foreign.is_err_and(|error| !error.damaged));
    let all = rows(&raw);
    let current = all.iter().filter(|(space, ..)| *space == Space::Current);
    let current: Vec<_> = current.collect();
    let (_, key, value) = current[0];
    let mut altered = value.clone();
    *altered.last_mut().expect("not empty") ^= 1;
    for wrong in [altered, current[1].2.clone()] {
        let mut batch = kontiki_mvcc::Batch::new();
        batch.put(Space::Current, key.clone(), wrong);
        raw.write(batch).expect("memory");
        let refused = SealedEngine::open(raw.clone(), keys.clone());
        assert!(refused.is_err_and(|error| error.damaged));
    }
}
