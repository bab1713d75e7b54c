//! The engine on RocksDB passes the state machine's suite and keeps its promises.

use bytes::Bytes;
use kontiki_mvcc::conformance::{self, Harness};
use kontiki_mvcc::{Batch, Engine, EngineError, EngineSize, Space, StateMachine, View};
use kontiki_rocks::{RocksEngine, RocksOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn open(dir: &Path) -> Arc<RocksEngine> {
    Arc::new(RocksEngine::open(dir, &RocksOptions::default()).expect("the directory opens"))
}

/// The engine in one directory, with a copy of what was last flushed in another.
struct Crashing {
    engine: Arc<RocksEngine>,
    dirs: Arc<Dirs>,
}

/// Numbered directories.
struct Dirs {
    root: tempfile::TempDir,
    made: AtomicUsize,
}

impl Dirs {
    fn last(&self) -> PathBuf {
        self.root
            .path()
            .join(self.made.load(Ordering::SeqCst).to_string())
    }

    fn next(&self) -> PathBuf {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.last()
    }
}

impl Engine for Crashing {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.engine.write(batch)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(space, key)
    }

    fn get_many(&self, space: Space, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.engine.get_many(space, keys)
    }

    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get_durable(space, key)
    }

    fn view(&self) -> Result<Box<dyn View + '_>, EngineError> {
        self.engine.view()
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.engine.flush()?;
        self.engine.checkpoint(&self.dirs.next())
    }

    fn size(&self) -> EngineSize {
        self.engine.size()
    }
}

struct Rocks(Arc<Dirs>);

impl Rocks {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        Self(Arc::new(Dirs {
            root,
            made: AtomicUsize::new(0),
        }))
    }

    fn open(&self, dir: &Path) -> Arc<dyn Engine> {
        let crashing = Crashing {
            engine: open(dir),
            dirs: self.0.clone(),
        };
        crashing.flush().expect("the beginning is kept as well");
        Arc::new(crashing)
    }
}

impl Harness for Rocks {
    fn fresh(&mut self) -> Arc<dyn Engine> {
        self.open(&self.0.next())
    }

    fn crash(&mut self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        drop(engine);
        self.open(&self.0.last())
    }
}

/// The files as a crash of the process would leave them. Files that RocksDB no
/// longer needs may vanish in the middle; then it begins again.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    let pass = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(from)? {
            let path = entry?.path();
            std::fs::copy(&path, to.join(path.file_name().expect("a name")))?;
        }
        Ok(())
    };
    (0..10).find_map(|_| pass().ok()).expect("a copy");
}

#[test]
fn the_state_machine_on_rocksdb_agrees_with_the_oracle() {
    conformance::run(&mut Rocks::new(), 100..104, 250);
}

fn batch(value: &'static str) -> Batch {
    let mut batch = Batch::new();
    for space in Space::ALL {
        batch.put(space, "key", value);
    }
    batch
}

#[test]
fn a_crash_keeps_what_was_flushed_and_nothing_else_in_every_space() {
    let root = tempfile::tempdir().expect("a directory");
    let engine = open(&root.path().join("a"));
    engine.write(batch("flushed")).expect("a write");
    engine.flush().expect("a flush");
    engine.write(batch("lost")).expect("a write");
    copy(&root.path().join("a"), &root.path().join("b"));
    let after = open(&root.path().join("b"));
    for space in Space::ALL {
        let value = |engine: &RocksEngine| engine.get(space, b"key").expect("a read");
        assert_eq!(value(&engine), Some(Bytes::from_static(b"lost")));
        assert_eq!(
            engine.get_durable(space, b"key").expect("a read"),
            Some(Bytes::from_static(b"flushed"))
        );
        assert_eq!(value(&after), Some(Bytes::from_static(b"flushed")));
    }
}

#[test]
fn a_checkpoint_opens_as_a_database_of_its_own() {
    let root = tempfile::tempdir().expect("a directory");
    let engine = open(&root.path().join("a"));
    engine.write(batch("value")).expect("a write");
    engine
        .checkpoint(&root.path().join("copy"))
        .expect("a checkpoint");
    engine.write(batch("later")).expect("a write");
    let copy = open(&root.path().join("copy"));
    assert_eq!(
        copy.get(Space::Keys, b"key").expect("a read"),
        Some(Bytes::from_static(b"value"))
    );
}

#[test]
fn the_directory_is_private() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("state");
    drop(open(&dir));
    let mode = std::fs::metadata(&dir)
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn data_of_a_newer_or_foreign_format_is_refused_in_words() {
    let root = tempfile::tempdir().expect("a directory");
    for (text, expected) in [
        (Some("kontiki-state 2\n"), "written in format 2"),
        (Some("junk"), "not made by"),
        (None, "not made by"),
    ] {
        let dir = root
            .path()
            .join(expected)
            .join(text.unwrap_or("none").trim());
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("something"), "else").expect("a file");
        if let Some(text) = text {
            std::fs::write(dir.join("FORMAT"), text).expect("a file");
        }
        let error = RocksEngine::open(&dir, &RocksOptions::default())
            .err()
            .expect("a refusal")
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_newer_layout_inside_is_refused_as_well() {
    let root = tempfile::tempdir().expect("a directory");
    let engine = open(root.path().join("a").as_path());
    let mut newer = Batch::new();
    newer.put(Space::Meta, "root", vec![200, 0]);
    engine.write(newer).expect("a write");
    let error = StateMachine::open(engine)
        .err()
        .expect("a refusal")
        .to_string();
    assert!(error.contains("format 200"), "{error}");
}

#[test]
fn readers_and_watchers_of_any_speed_see_whole_revisions_while_it_is_written() {
    let mut rocks = Rocks::new();
    conformance::stress(rocks.fresh(), 1500);
}
