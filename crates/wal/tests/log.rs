//! The log on a simulated disk beside a dumb oracle.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use kontiki_wal::{
    Done, FsDisk, FullDisk, SimDisk, SimFault, SystemClock, Wal, WalConfig, WalError,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn config() -> WalConfig {
    // Small bounds, so that segments rotate and entries leave the memory.
    WalConfig {
        segment_bytes_max: 2048,
        cache_bytes_max: 512,
        batch_bytes_max: 1024,
        ..WalConfig::new("/wal")
    }
}

fn open(disk: &SimDisk) -> Result<Wal, WalError> {
    Wal::open_stepped(
        config(),
        Arc::new(disk.clone()),
        Arc::new(SystemClock::default()),
        None,
    )
}

fn ignore() -> Done {
    Box::new(|_| ())
}

fn payload(index: u64, salt: u8, len: usize) -> Bytes {
    let mut bytes = format!("{index}/{salt}/").into_bytes();
    bytes.resize(bytes.len() + len, salt);
    bytes.into()
}

fn drain(wal: &Wal) {
    while wal.step() == kontiki_wal::Step::Written {}
}

/// The log as a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Oracle {
    entries: BTreeMap<u64, Bytes>,
    start: u64,
    states: BTreeMap<u8, Bytes>,
}

impl Oracle {
    fn next(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(self.start, |(index, _)| index + 1)
    }

    fn read(wal: &Wal) -> Result<Self, WalError> {
        let (start, next) = (wal.first_index(), wal.next_index());
        let mut entries = BTreeMap::new();
        for index in start..next {
            entries.insert(index, wal.read(index..index + 1, 1)?.remove(0));
        }
        let states = (0..3)
            .filter_map(|slot| Some((slot, wal.state(slot)?)))
            .collect();
        Ok(Self {
            entries,
            start,
            states,
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, len: usize },
    State { slot: u8, lazy: bool },
    Truncate { back: u64 },
    Purge { ahead: u64, beyond: bool },
    Write,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6u64, 0..300usize).prop_map(|(count, len)| Step::Append { count, len }),
        1 => (0..3u8, any::<bool>()).prop_map(|(slot, lazy)| Step::State { slot, lazy }),
        1 => (0..8u64).prop_map(|back| Step::Truncate { back }),
        1 => (0..20u64, proptest::bool::weighted(0.1)).prop_map(|(ahead, beyond)| Step::Purge { ahead, beyond }),
        3 => Just(Step::Write),
    ]
}

/// Runs one life: answers every state the log went through and the number of
/// the last one that was acknowledged.
fn live(wal: &Wal, from: Oracle, steps: &[Step], salt: u8) -> (Vec<Oracle>, usize) {
    let acknowledged = Arc::new(Mutex::new(0));
    let mut states = vec![from];
    for step in steps {
        let mut oracle = states.last().expect("never empty").clone();
        let number = states.len();
        let acknowledged = acknowledged.clone();
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                *acknowledged.lock() = number;
            }
        });
        let submitted = match step {
            Step::Append { count, len } => {
                let first = oracle.next();
                let entries: Vec<Bytes> = (first..first + count)
                    .map(|index| payload(index, salt, *len))
                    .collect();
                oracle
                    .entries
                    .extend((first..).zip(entries.iter().cloned()));
                wal.append(first, entries, done)
            }
            Step::State { slot, lazy } => {
                let value = payload(number as u64, salt, 4);
                oracle.states.insert(*slot, value.clone());
                if *lazy {
                    wal.set_state_lazily(*slot, value)
                } else {
                    wal.set_state(*slot, value, done)
                }
            }
            Step::Truncate { back } => {
                let from = oracle.next().saturating_sub(*back).max(oracle.start);
                oracle.entries.split_off(&from);
                wal.truncate(from, done)
            }
            Step::Purge { ahead, beyond } => {
                let to = if *beyond {
                    oracle.next() + ahead
                } else {
                    (oracle.start + ahead).min(oracle.next())
                };
                oracle.entries = oracle.entries.split_off(&(to + 1));
                oracle.start = to + 1;
                wal.purge(to, Bytes::from(to.to_string()), done)
            }
            Step::Write => {
                wal.step();
                continue;
            }
        };
        if submitted.is_err() {
            break;
        }
        states.push(oracle);
    }
    let acknowledged = *acknowledged.lock();
    (states, acknowledged)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_any_crash_and_nothing_else_appears(
        seed in any::<u64>(),
        lives in proptest::collection::vec((proptest::collection::vec(step(), 1..60), 0..60u64), 1..5),
    ) {
        let mut disk = SimDisk::new(seed);
        let mut oracle = Oracle::default();
        for (salt, (steps, operations)) in (0u8..).zip(&lives) {
            let wal = open(&disk).unwrap();
            prop_assert_eq!(&Oracle::read(&wal).unwrap(), &oracle);
            disk.die_after(*operations);
            let (states, acknowledged) = live(&wal, oracle, steps, salt);
            disk = disk.crash();
            let reopened = open(&disk).unwrap();
            let found = Oracle::read(&reopened).unwrap();
            // A crash may cut an append in its middle; every whole entry before
            // the cut is real, so it must be a prefix of the next state.
            let fits = states[acknowledged..].iter().enumerate().any(|(at, state)| {
                *state == found || (at > 0 && is_part_of(&found, &states[acknowledged + at - 1], state))
            });
            prop_assert!(fits, "found {:?} after {:?}", found, states[acknowledged]);
            oracle = found;
        }
    }

    #[test]
    fn without_crashes_the_log_reads_as_the_oracle_at_every_moment(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let disk = SimDisk::new(1);
        let wal = open(&disk).unwrap();
        let mut oracle = Oracle::default();
        for step in &steps {
            let (states, _) = live(&wal, oracle, std::slice::from_ref(step), 7);
            oracle = states.last().unwrap().clone();
            prop_assert_eq!(&Oracle::read(&wal).unwrap(), &oracle);
        }
        drain(&wal);
        drop(wal);
        prop_assert_eq!(Oracle::read(&open(&disk).unwrap()).unwrap(), oracle);
    }
}

/// Whether `found` is `before` with a part of the append that leads to `after`.
fn is_part_of(found: &Oracle, before: &Oracle, after: &Oracle) -> bool {
    found.start == before.start
        && found.states == before.states
        && found.entries.len() >= before.entries.len()
        && found
            .entries
            .iter()
            .all(|(index, entry)| after.entries.get(index) == Some(entry))
        && before
            .entries
            .iter()
            .all(|(index, entry)| found.entries.get(index) == Some(entry))
}

fn filled(disk: &SimDisk, batches: u64) -> Wal {
    let wal = open(disk).unwrap();
    for index in 0..batches {
        wal.append(index, vec![payload(index, 1, 40)], ignore())
            .unwrap();
        drain(&wal);
    }
    wal
}

const FIRST_SEGMENT: &str = "/wal/0000000000000001.wal";

#[test]
fn a_flipped_bit_in_an_acknowledged_record_is_an_error_that_names_the_place() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 5));
    let size = disk.content(Path::new(FIRST_SEGMENT)).unwrap().len();
    for bit in 40 * 8..size * 8 {
        disk.flip_bit(Path::new(FIRST_SEGMENT), bit);
        let error = open(&disk).map(|_| ()).unwrap_err();
        let WalError::Corrupt { file, offset, .. } = &error else {
            panic!("bit {bit}: {error}")
        };
        assert_eq!(file, FIRST_SEGMENT);
        assert!(
            *offset <= bit as u64 / 8 && bit as u64 / 8 < offset + 77,
            "bit {bit} at {offset}"
        );
        assert!(
            error.to_string().contains("move its data directory away"),
            "{error}"
        );
        disk.flip_bit(Path::new(FIRST_SEGMENT), bit);
    }
    open(&disk).unwrap();
}

#[test]
fn a_bit_that_flips_while_the_log_is_open_is_noticed_by_the_reader() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, 20);
    disk.flip_bit(Path::new(FIRST_SEGMENT), 70 * 8);
    assert!(matches!(wal.read(0..1, 1), Err(WalError::Corrupt { .. })));
}

#[test]
fn a_full_disk_fails_the_append_and_leaves_the_log_readable_and_usable() {
    let disk = SimDisk::new(3);
    let wal = filled(&disk, 3);
    disk.set_capacity(Some(disk.used_bytes() + 30));
    let failed = Arc::new(Mutex::new(None));
    let seen = failed.clone();
    wal.append(
        3,
        vec![payload(3, 2, 100)],
        Box::new(move |result| *seen.lock() = Some(result)),
    )
    .unwrap();
    drain(&wal);
    assert!(matches!(
        failed.lock().take(),
        Some(Err(WalError::Full { .. }))
    ));
    assert_eq!(wal.next_index(), 3);
    assert!(matches!(wal.health().trouble, Some(WalError::Full { .. })));
    assert_eq!(wal.read(0..3, usize::MAX).unwrap().len(), 3);

    disk.set_capacity(None);
    wal.append(3, vec![payload(3, 3, 100)], ignore()).unwrap();
    drain(&wal);
    assert_eq!(wal.health().trouble, None);
    drop(wal);
    let reopened = open(&disk).unwrap();
    assert_eq!(reopened.read(3..4, 1).unwrap(), [payload(3, 3, 100)]);
}

/// A write that failed for want of space was cut off, but not for good: when the
/// power failed after the next segment had come, the end of the one before it could
/// be a part of a record, and the member took its log for corrupt.
#[test]
fn a_power_cut_after_a_full_disk_and_a_new_segment_leaves_a_whole_log() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let wal = filled(&disk, 3);
        disk.set_capacity(Some(disk.used_bytes() + 200));
        wal.append(3, vec![payload(3, 2, 400)], ignore()).unwrap();
        drain(&wal);
        assert_eq!(wal.next_index(), 3);
        disk.set_capacity(None);
        // Too large for what is left of the segment.
        wal.append(3, vec![payload(3, 3, 2000)], ignore()).unwrap();
        drain(&wal);
        let reopened = open(&disk.crash());
        let reopened = reopened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(reopened.read(3..4, 1).unwrap(), [payload(3, 3, 2000)]);
    }
}

#[test]
fn a_log_that_waits_for_room_acknowledges_once_there_is_some() {
    let disk = SimDisk::new(3);
    let config = WalConfig {
        full_disk: FullDisk::Wait(std::time::Duration::from_millis(1)),
        ..config()
    };
    let wal = Wal::open(
        config,
        Arc::new(disk.clone()),
        Arc::new(SystemClock::default()),
        None,
    )
    .unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let (sender, receiver) = std::sync::mpsc::channel();
    wal.append(
        0,
        vec![payload(0, 1, 9)],
        Box::new(move |result| sender.send(result).unwrap()),
    )
    .unwrap();
    while wal.health().trouble.is_none() {
        std::thread::yield_now();
    }
    assert!(receiver.try_recv().is_err());
    disk.set_capacity(None);
    assert_eq!(receiver.recv().unwrap(), Ok(()));
}

#[test]
fn after_a_failed_sync_nothing_is_accepted_and_what_was_safe_stays_readable() {
    let disk = SimDisk::new(3);
    let wal = filled(&disk, 3);
    disk.inject(SimFault::FailSync);
    let (sender, receiver) = std::sync::mpsc::channel();
    wal.append(
        3,
        vec![payload(3, 2, 9)],
        Box::new(move |result| sender.send(result).unwrap()),
    )
    .unwrap();
    drain(&wal);
    assert!(matches!(
        receiver.recv().unwrap(),
        Err(WalError::Io {
            operation: "sync",
            ..
        })
    ));
    assert!(wal.append(3, vec![], ignore()).is_err());
    assert_eq!(wal.read(0..3, usize::MAX).unwrap().len(), 3);
}

#[test]
fn a_purge_removes_the_segments_it_empties() {
    let disk = SimDisk::new(3);
    let wal = filled(&disk, 100);
    let before = disk.used_bytes();
    wal.purge(97, Bytes::from_static(b"mark"), ignore())
        .unwrap();
    drain(&wal);
    assert!(
        disk.used_bytes() < before / 2,
        "{} of {before}",
        disk.used_bytes()
    );
    drop(wal);
    let reopened = open(&disk).unwrap();
    assert_eq!((reopened.first_index(), reopened.next_index()), (98, 100));
    assert_eq!(reopened.purged(), Some((97, Bytes::from_static(b"mark"))));
}

#[test]
fn a_missing_segment_is_an_error() {
    use kontiki_wal::Disk as _;
    for gone in [FIRST_SEGMENT, "/wal/0000000000000002.wal"] {
        let disk = SimDisk::new(3);
        drop(filled(&disk, 100));
        disk.remove(Path::new(gone)).unwrap();
        assert!(
            matches!(open(&disk).map(|_| ()), Err(WalError::Corrupt { .. })),
            "{gone}"
        );
    }
}

#[test]
fn on_a_real_disk_many_threads_append_and_everything_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig::new(dir.path().join("wal"));
    let open = || {
        Wal::open(
            config.clone(),
            Arc::new(FsDisk),
            Arc::new(SystemClock::default()),
            None,
        )
        .unwrap()
    };
    let wal = open();
    let turn = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (sender, receiver) = std::sync::mpsc::channel();
                    {
                        let mut next = turn.lock();
                        let done: Done = Box::new(move |result| sender.send(result).unwrap());
                        wal.append(*next, vec![payload(*next, 0, 10)], done)
                            .unwrap();
                        *next += 1;
                    }
                    receiver.recv().unwrap().unwrap();
                }
            });
        }
    });
    drop(wal);
    let wal = open();
    let entries = wal.read(0..200, usize::MAX).unwrap();
    assert!(
        (0..)
            .zip(&entries)
            .all(|(index, entry)| *entry == payload(index, 0, 10))
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.dir), 0o700);
    assert_eq!(mode(&config.dir.join("0000000000000001.wal")), 0o600);
}
