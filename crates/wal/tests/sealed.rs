//! Logs whose records are sealed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use bytes::Bytes;
use kontiki_seal::Keyring;
use kontiki_wal::{Disk, SimDisk, SystemClock, Wal, WalConfig, WalError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SECRET: &str = "nobody may read this";

struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.name("first", 1);
        keys
    }

    fn name(&self, name: &str, byte: u8) {
        let secret = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
        let path = self.0.path().join("keys.yaml");
        std::fs::write(&path, format!("keys: [{{name: {name}, secret: {secret}}}]")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn ring(&self) -> Arc<Keyring> {
        let dir = self.0.path();
        Keyring::open(&dir.join("KEYS"), &dir.join("keys.yaml")).unwrap()
    }
}

fn open(disk: &SimDisk, keys: Option<Arc<Keyring>>) -> Result<Wal, WalError> {
    let config = WalConfig {
        segment_bytes_max: 2048,
        cache_bytes_max: 0,
        keys,
        ..WalConfig::new("/wal")
    };
    let clock = Arc::new(SystemClock::default());
    Wal::open_stepped(config, Arc::new(disk.clone()), clock, None)
}

fn payload(index: u64) -> Bytes {
    format!("{SECRET} {index}").into()
}

fn append(wal: &Wal, indexes: std::ops::Range<u64>) {
    for index in indexes {
        wal.append(
            index,
            vec![payload(index)],
            Box::new(|result| result.unwrap()),
        )
        .unwrap();
        wal.step();
    }
}

fn holds(wal: &Wal, entries: u64) {
    assert_eq!(wal.next_index(), entries);
    for index in wal.first_index()..entries {
        assert_eq!(wal.read(index..index + 1, 1).unwrap(), [payload(index)]);
    }
}

/// In how many files the secret can be read.
fn readable(disk: &SimDisk) -> usize {
    let dir = Path::new("/wal");
    let names = disk.list(dir).unwrap().into_iter();
    let contents = names.map(|name| disk.content(&dir.join(name)).unwrap());
    let shows = |content: &Vec<u8>| {
        content
            .windows(SECRET.len())
            .any(|w| w == SECRET.as_bytes())
    };
    contents.filter(shows).count()
}

#[test]
fn nothing_that_is_written_can_be_read_without_the_key_and_all_of_it_with() {
    let (disk, keys) = (SimDisk::new(1), Keys::new());
    let wal = open(&disk, Some(keys.ring())).unwrap();
    append(&wal, 0..60);
    wal.set_state(3, SECRET.into(), Box::new(|_| ())).unwrap();
    wal.purge(4, SECRET.into(), Box::new(|_| ())).unwrap();
    wal.step();
    holds(&wal, 60);
    assert!(disk.list(Path::new("/wal")).unwrap().len() > 2);
    assert_eq!(readable(&disk), 0);
    drop(wal);
    let wal = open(&disk, Some(keys.ring())).unwrap();
    holds(&wal, 60);
    assert_eq!(wal.state(3).unwrap(), SECRET);
    assert_eq!(wal.purged().unwrap(), (4, SECRET.into()));
}

#[test]
fn without_the_key_or_with_another_key_store_it_is_refused_and_not_called_damaged() {
    let (disk, keys) = (SimDisk::new(2), Keys::new());
    append(&open(&disk, Some(keys.ring())).unwrap(), 0..9);
    for keys in [None, Some(Keys::new().ring())] {
        let refused = open(&disk, keys).err().unwrap();
        assert!(matches!(refused, WalError::Sealed { .. }), "{refused}");
        assert!(refused.to_string().contains("not damaged"), "{refused}");
    }
    holds(&open(&disk, Some(keys.ring())).unwrap(), 9);
}

#[test]
fn a_log_that_was_written_in_the_clear_goes_on_sealed() {
    let (disk, keys) = (SimDisk::new(3), Keys::new());
    append(&open(&disk, None).unwrap(), 0..3);
    assert_eq!(readable(&disk), 1);
    let wal = open(&disk, Some(keys.ring())).unwrap();
    append(&wal, 3..6);
    holds(&wal, 6);
    // The old segment shows what it did until it is purged.
    assert_eq!(readable(&disk), 1);
    drop(wal);
    let wal = open(&disk, Some(keys.ring())).unwrap();
    holds(&wal, 6);
    wal.purge(3, Bytes::new(), Box::new(|_| ())).unwrap();
    wal.step();
    assert_eq!(readable(&disk), 0);
    holds(&wal, 6);
}

#[test]
fn the_key_is_changed_while_the_log_is_written() {
    let (disk, keys) = (SimDisk::new(4), Keys::new());
    let ring = keys.ring();
    let wal = open(&disk, Some(ring.clone())).unwrap();
    append(&wal, 0..5);
    // The only key from now on.
    let path = keys.0.path().join("keys.yaml");
    keys.name("second", 2);
    assert!(ring.reload().unwrap());
    append(&wal, 5..10);
    holds(&wal, 10);
    drop(wal);
    assert!(path.exists());
    holds(&open(&disk, Some(keys.ring())).unwrap(), 10);
}

#[test]
fn what_a_crash_leaves_of_the_last_write_is_told_from_a_turned_bit() {
    let keys = Keys::new();
    let ring = keys.ring();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let wal = open(&disk, Some(ring.clone())).unwrap();
        append(&wal, 0..8);
        let acknowledged = Arc::new(AtomicU64::new(8));
        disk.die_after(seed % 12);
        for index in 8..16 {
            let told = acknowledged.clone();
            let done = Box::new(move |result: Result<(), WalError>| {
                if result.is_ok() {
                    told.store(index + 1, Ordering::Relaxed);
                }
            });
            if wal.append(index, vec![payload(index)], done).is_err() {
                break;
            }
            wal.step();
        }
        drop(wal);
        let disk = disk.crash();
        let wal = open(&disk, Some(ring.clone())).unwrap();
        let entries = wal.next_index();
        assert!(
            entries >= acknowledged.load(Ordering::Relaxed),
            "seed {seed}"
        );
        holds(&wal, entries);
        drop(wal);
        // And now a bit of the first segment turns.
        let path = Path::new("/wal/0000000000000001.wal");
        let bits = disk.content(path).unwrap().len() * 8;
        disk.flip_bit(path, 36 * 8 + (seed as usize * 131) % (bits / 2 - 36 * 8));
        let opened = open(&disk, Some(ring.clone()));
        let ok = match &opened {
            Err(WalError::Corrupt { .. }) => true,
            // Four bytes of the header mean nothing.
            Ok(_) => (36 * 8 + (seed as usize * 131) % (bits / 2 - 36 * 8)) < 40 * 8,
            Err(_) => false,
        };
        assert!(ok, "seed {seed}: {:?}", opened.err());
    }
}
