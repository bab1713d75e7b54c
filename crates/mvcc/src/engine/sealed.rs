//! An engine whose rows are sealed, over any other.
//!
//! Of a row, the engine below sees the slot, the revision and, where the key of a
//! user stands, a token: 128 bits that are the same for the same key and tell
//! nothing of it. The value, and the key wherever a row has to be found by more
//! than its token, are sealed for the row that they stand in. Tokens have no order,
//! so the order of the keys is kept in memory, as the index is.
//!
//! Sealed rows begin with a byte that no other row begins with, so that content in
//! the clear can be taken over: it is copied, and only then removed.
//!
//! **Invariant:** every key that has a row in [`Space::Keys`] is known by name; it
//! has a row in [`Space::Current`] or in [`Space::Changes`] too, both of which hold
//! the name.

mod view;

use self::view::SealedView;
use super::{Batch, BatchOp, Engine, EngineError, EngineSize, Space, View};
use crate::layout;
use bytes::Bytes;
use imbl::OrdMap;
use kontiki_seal::{Keyring, Unsealing};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Set in the first byte of a sealed row's key.
const SEALED: u8 = 0x80;
const TOKEN_BYTES: usize = 16;
const REVISION_BYTES: usize = 8;
/// Rows that are copied at once when content in the clear is taken over.
const ROWS_AT_ONCE: usize = 1000;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What all versions of a key begin with, by slot and key.
type Names = OrdMap<Bytes, ()>;

/// See the module.
pub struct SealedEngine {
    raw: Arc<dyn Engine>,
    keys: Arc<Keyring>,
    /// Held while rows are written, so that a view and the names belong together.
    names: Mutex<Names>,
    took_over: bool,
}

/// A logical key's first byte is a slot or begins `root`: below [`SEALED`].
fn marked(key: &[u8]) -> Vec<u8> {
    let mut marked = key.to_vec();
    if let Some(first) = marked.first_mut() {
        *first |= SEALED;
    }
    marked
}

fn split_version(key: &[u8]) -> Result<(&[u8], &[u8]), EngineError> {
    key.split_at_checked(key.len().saturating_sub(REVISION_BYTES))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| EngineError::new("sealing a row", "its key is no version's"))
}

/// What the versions of a key in [`Space::Current`] begin with.
fn name_of_current(key: &[u8]) -> Vec<u8> {
    match key.split_first() {
        Some((slot, rest)) => layout::versions_prefix(*slot, rest),
        None => Vec::new(),
    }
}

impl SealedEngine {
    /// Seals what is in `raw` if it is in the clear, and opens it.
    pub fn open(raw: Arc<dyn Engine>, keys: Arc<Keyring>) -> Result<Self, EngineError> {
        let mut engine = Self {
            raw,
            keys,
            names: Mutex::default(),
            took_over: false,
        };
        if engine.raw.get(Space::Meta, layout::ROOT)?.is_some() {
            if engine.get(Space::Meta, layout::ROOT)?.is_some() {
                return Err(EngineError::new(
                    "opening the sealed state",
                    "there is one in the clear as well; move the data directory away and start this member again: it is rebuilt from its peers",
                ));
            }
            engine.take_over()?;
            engine.took_over = true;
        }
        let names = engine.read_names()?;
        *engine.names.lock() = names;
        Ok(engine)
    }

    /// Whether there was content in the clear. What else the engine below remembers
    /// of it is that engine's affair.
    #[must_use]
    pub fn took_over(&self) -> bool {
        self.took_over
    }

    fn row(&self, name: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(1 + TOKEN_BYTES + REVISION_BYTES);
        row.push(name[0] | SEALED);
        row.extend_from_slice(&self.keys.token(&name[1..]));
        row
    }

    fn raw_key(&self, space: Space, key: &[u8]) -> Result<Vec<u8>, EngineError> {
        Ok(match space {
            Space::Meta | Space::Changes => marked(key),
            Space::Keys => {
                let (name, revision) = split_version(key)?;
                let mut row = self.row(name);
                row.extend_from_slice(revision);
                row
            }
            Space::Current => self.row(&name_of_current(key)),
        })
    }

    fn seal(&self, space: Space, raw_key: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let place = place(space, raw_key);
        if space != Space::Current {
            return self.keys.seal(&place, value);
        }
        let len = u32::try_from(key.len()).expect("keys are far shorter");
        self.keys
            .seal(&place, &[&len.to_be_bytes(), key, value].concat())
    }

    /// Opens a value; of a row in [`Space::Current`], its key too.
    fn unseal(
        &self,
        space: Space,
        raw_key: &[u8],
        sealed: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        let operation = || format!("unsealing a row of {space:?}");
        let plain = self.keys.unseal(&place(space, raw_key), sealed);
        let plain = plain.map_err(|error| match error {
            // Nothing is wrong with the data.
            Unsealing::UnknownKey(_) => EngineError::new(operation(), error),
            Unsealing::Wrong => EngineError::damaged(operation(), error),
        })?;
        if space != Space::Current {
            return Ok((Vec::new(), plain));
        }
        let parts = plain.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
            rest.split_at_checked(len)
        });
        let (key, value) =
            parts.ok_or_else(|| EngineError::damaged(operation(), "it is too short"))?;
        Ok((key.to_vec(), value.to_vec()))
    }

    fn value(
        &self,
        space: Space,
        raw_key: &[u8],
        sealed: Option<Bytes>,
    ) -> Result<Option<Bytes>, EngineError> {
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let (_, value) = self.unseal(space, raw_key, &sealed)?;
        Ok(Some(value.into()))
    }

    fn read_names(&self) -> Result<Names, EngineError> {
        let mut names = Names::new();
        let view = self.raw.view()?;
        for space in [Space::Current, Space::Changes] {
            let mut cursor = view.cursor(space, &[])?;
            cursor.seek(&[SEALED])?;
            while let Some((raw_key, sealed)) = cursor.item() {
                let (key, value) = self.unseal(space, raw_key, sealed)?;
                let name = if space == Space::Current {
                    name_of_current(&key)
                } else {
                    let (_, key) = layout::decode_change(&value)?;
                    layout::versions_prefix(raw_key[0] & !SEALED, key)
                };
                names.insert(name.into(), ());
                cursor.next()?;
            }
        }
        Ok(names)
    }

    /// Seals content that lies there in the clear. A crash before the end leaves it
    /// there, and the next start begins again.
    fn take_over(&self) -> Result<(), EngineError> {
        let mut cleared = Batch::new();
        for space in Space::ALL {
            cleared.delete_range(space, vec![SEALED], vec![0xff]);
        }
        self.raw.write(cleared)?;
        let mut rows = 0_u64;
        let mut end = Batch::new();
        for space in Space::ALL {
            let view = self.raw.view()?;
            let mut cursor = view.cursor(space, &[SEALED])?;
            cursor.seek(&[])?;
            let mut batch = Batch::new();
            let mut pending = 0;
            while let Some((key, value)) = cursor.item() {
                let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                if space == Space::Meta && key == layout::ROOT {
                    let raw_key = marked(&key);
                    let sealed = self.seal(space, &raw_key, &key, &value);
                    end.put(space, raw_key, sealed);
                } else {
                    batch.put(space, key, value);
                    pending += 1;
                }
                if pending >= ROWS_AT_ONCE || batch.size_bytes() >= BYTES_AT_ONCE {
                    self.write(std::mem::take(&mut batch))?;
                    rows += pending as u64;
                    pending = 0;
                }
                cursor.next()?;
            }
            self.write(batch)?;
            rows += pending as u64;
        }
        self.raw.flush()?;
        for space in Space::ALL {
            end.delete_range(space, vec![0], vec![SEALED]);
        }
        self.raw.write(end)?;
        self.raw.flush()?;
        // Until it is rewritten, the disk holds what was deleted.
        self.raw.rewrite()?;
        tracing::info!(rows, "sealed the state that was in the clear");
        Ok(())
    }
}

fn place(space: Space, raw_key: &[u8]) -> Vec<u8> {
    [&[b's', space.number()], raw_key].concat()
}

/// A batch's rows as they go to the engine below, and what that means for the names.
#[derive(Default)]
struct Translated {
    batch: Batch,
    born: Vec<Bytes>,
    /// Keys that lost a version, perhaps their last.
    thinned: BTreeSet<Vec<u8>>,
    emptied: Vec<(u8, u8)>,
}

impl SealedEngine {
    fn translate(&self, batch: Batch) -> Result<Translated, EngineError> {
        let mut out = Translated::default();
        for op in batch.into_ops() {
            match op {
                BatchOp::Put { space, key, value } => {
                    let raw_key = self.raw_key(space, &key)?;
                    let sealed = self.seal(space, &raw_key, &key, &value);
                    match space {
                        Space::Keys => {
                            let (name, _) = split_version(&key)?;
                            out.born.push(Bytes::copy_from_slice(name));
                        }
                        Space::Current => out.born.push(name_of_current(&key).into()),
                        Space::Meta | Space::Changes => {}
                    }
                    out.batch.put(space, raw_key, sealed);
                }
                BatchOp::Delete { space, key } => {
                    if space == Space::Keys {
                        out.thinned.insert(split_version(&key)?.0.to_vec());
                    }
                    out.batch.delete(space, self.raw_key(space, &key)?);
                }
                BatchOp::DeleteRange { space, from, to } => {
                    if matches!(space, Space::Keys | Space::Current) {
                        let (&[from], &[to]) = (&from[..], &to[..]) else {
                            let what = "of keys, only whole slots have an order on the disk";
                            return Err(EngineError::new("deleting a range", what));
                        };
                        if space == Space::Keys {
                            out.emptied.push((from, to));
                        }
                    }
                    out.batch.delete_range(space, marked(&from), marked(&to));
                }
            }
        }
        Ok(out)
    }

    fn forget_the_empty(
        &self,
        names: &mut Names,
        thinned: BTreeSet<Vec<u8>>,
    ) -> Result<(), EngineError> {
        if thinned.is_empty() {
            return Ok(());
        }
        let view = self.raw.view()?;
        let mut cursor = view.cursor(Space::Keys, &[])?;
        for name in thinned {
            let row = self.row(&name);
            cursor.seek(&row)?;
            if cursor.item().is_none_or(|(key, _)| !key.starts_with(&row)) {
                names.remove(&name[..]);
            }
        }
        Ok(())
    }
}

impl Engine for SealedEngine {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let translated = self.translate(batch)?;
        let mut names = self.names.lock();
        self.raw.write(translated.batch)?;
        for (from, to) in translated.emptied {
            let kept = names
                .iter()
                .filter(|(name, ())| !(from..to).contains(&name[0]));
            *names = kept.map(|(name, ())| (name.clone(), ())).collect();
        }
        for name in translated.born {
            names.insert(name, ());
        }
        self.forget_the_empty(&mut names, translated.thinned)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let raw_key = self.raw_key(space, key)?;
        self.value(space, &raw_key, self.raw.get(space, &raw_key)?)
    }

    fn get_many(&self, space: Space, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let raw_keys = keys.iter().map(|key| self.raw_key(space, key));
        let raw_keys: Vec<Vec<u8>> = raw_keys.collect::<Result<_, _>>()?;
        let found = self.raw.get_many(space, &raw_keys)?;
        let opened = raw_keys.iter().zip(found);
        opened
            .map(|(raw_key, sealed)| self.value(space, raw_key, sealed))
            .collect()
    }

    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let raw_key = self.raw_key(space, key)?;
        self.value(space, &raw_key, self.raw.get_durable(space, &raw_key)?)
    }

    fn view(&self) -> Result<Box<dyn View + '_>, EngineError> {
        let names = self.names.lock();
        Ok(Box::new(SealedView {
            engine: self,
            raw: self.raw.view()?,
            names: names.clone(),
        }))
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.raw.flush()
    }

    fn size(&self) -> EngineSize {
        self.raw.size()
    }

    fn damage(&self) -> Option<String> {
        self.raw.damage()
    }

    fn rewrite(&self) -> Result<(), EngineError> {
        self.raw.rewrite()
    }
}
