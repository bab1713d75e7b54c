//! Damaged logs: never a panic, never an entry that nobody wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use kontiki_mvcc::conformance::Random;
use kontiki_wal::{Disk, SimDisk, Step, SystemClock, Wal, WalConfig, WalError};
use std::path::Path;
use std::sync::Arc;

const CASES: u64 = 3000;

fn open(disk: &SimDisk) -> Result<Wal, WalError> {
    let config = WalConfig {
        segment_bytes_max: 600,
        cache_bytes_max: 0,
        ..WalConfig::new("/wal")
    };
    Wal::open_stepped(
        config,
        Arc::new(disk.clone()),
        Arc::new(SystemClock::default()),
        None,
    )
}

fn payload(index: u64) -> Bytes {
    let mut payload = format!("entry {index} ").into_bytes();
    payload.resize(payload.len() + (index * 7 % 90) as usize, index as u8);
    payload.into()
}

/// A log of several segments with everything in it that a log can hold.
fn written() -> Vec<(String, Vec<u8>)> {
    let disk = SimDisk::new(1);
    let wal = open(&disk).unwrap();
    for index in 0..20 {
        wal.append(index, vec![payload(index)], Box::new(|_| ()))
            .unwrap();
        wal.step();
    }
    wal.set_state(1, Bytes::from_static(b"vote"), Box::new(|_| ()))
        .unwrap();
    wal.truncate(18, Box::new(|_| ())).unwrap();
    wal.purge(4, Bytes::from_static(b"marker"), Box::new(|_| ()))
        .unwrap();
    while wal.step() == Step::Written {}
    let names = disk.list(Path::new("/wal")).unwrap();
    let content = |name: &String| disk.content(&Path::new("/wal").join(name)).unwrap();
    names
        .iter()
        .map(|name| (name.clone(), content(name)))
        .collect()
}

fn copy(files: &[(String, Vec<u8>)]) -> SimDisk {
    let disk = SimDisk::new(2);
    disk.create_dir(Path::new("/wal")).unwrap();
    for (name, content) in files {
        let file = disk.create(&Path::new("/wal").join(name)).unwrap();
        file.write_at(0, content).unwrap();
        file.sync().unwrap();
    }
    disk
}

#[test]
fn a_damaged_log_is_refused_or_holds_what_was_written() {
    let files = written();
    assert!(files.len() >= 2, "the log has one segment only");
    assert!(open(&copy(&files)).is_ok());
    let mut refused = 0;
    for seed in 0..CASES {
        let mut random = Random::new(seed);
        let mut damaged = files.clone();
        let at = random.below(damaged.len());
        damaged[at].1 = random.damage(&damaged[at].1);
        let wal = match open(&copy(&damaged)) {
            Ok(wal) => wal,
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        let (first, next) = (wal.first_index(), wal.next_index());
        for (index, found) in (first..next).zip(wal.read(first..next, usize::MAX).unwrap()) {
            assert_eq!(found, payload(index), "seed {seed}: entry {index}");
        }
    }
    assert!(
        refused > CASES / 2,
        "only {refused} of {CASES} were noticed"
    );
}
