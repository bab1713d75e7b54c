//! Reading sealed rows in the order of their keys.

use super::{Names, REVISION_BYTES, SEALED, SealedEngine, marked, name_of_current};
use crate::engine::{Cursor, EngineError, Space, View};
use crate::layout;
use bytes::Bytes;

/// The key in [`Space::Current`] of a name.
fn current_of_name(name: &[u8]) -> Result<Vec<u8>, EngineError> {
    let version = [name, &[0; REVISION_BYTES]].concat();
    let (key, _) = layout::parse_version_key(&version)?;
    Ok([&name[..1], &key].concat())
}

/// A frozen state of the rows, and the names as of then.
pub(super) struct SealedView<'a> {
    pub(super) engine: &'a SealedEngine,
    pub(super) raw: Box<dyn View + 'a>,
    pub(super) names: Names,
}

impl View for SealedView<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let raw_key = self.engine.raw_key(space, key)?;
        let sealed = self.raw.get(space, &raw_key)?;
        self.engine.value(space, &raw_key, sealed)
    }

    fn cursor(&self, space: Space, end: &[u8]) -> Result<Box<dyn Cursor + '_>, EngineError> {
        let raw = match space {
            Space::Meta | Space::Changes => self.raw.cursor(space, &marked(end))?,
            Space::Keys | Space::Current => self.raw.cursor(space, &[])?,
        };
        Ok(Box::new(SealedCursor {
            view: self,
            raw,
            space,
            end: end.to_vec(),
            at: None,
            item: None,
        }))
    }
}

/// A name and what its rows begin with.
struct Entered {
    name: Bytes,
    row: Vec<u8>,
}

struct SealedCursor<'a> {
    view: &'a SealedView<'a>,
    raw: Box<dyn Cursor + 'a>,
    space: Space,
    end: Vec<u8>,
    /// Among whose rows it is; only for keys.
    at: Option<Entered>,
    item: Option<(Vec<u8>, Vec<u8>)>,
}

impl SealedCursor<'_> {
    fn is_named(&self) -> bool {
        matches!(self.space, Space::Keys | Space::Current)
    }

    /// Takes over what the cursor below points at; whether that belongs here.
    fn take(&mut self) -> Result<bool, EngineError> {
        self.item = None;
        let Some((raw_key, sealed)) = self.raw.item() else {
            return Ok(false);
        };
        let Some(first) = raw_key.first().filter(|first| **first >= SEALED) else {
            return Ok(false);
        };
        let key = match &self.at {
            Some(at) if !raw_key.starts_with(&at.row) => return Ok(false),
            Some(at) if self.space == Space::Current => current_of_name(&at.name)?,
            Some(at) => [&at.name[..], &raw_key[at.row.len()..]].concat(),
            None => [&[first & !SEALED], &raw_key[1..]].concat(),
        };
        let (_, value) = self.view.engine.unseal(self.space, raw_key, sealed)?;
        if self.end.is_empty() || key < self.end {
            self.item = Some((key, value));
        }
        Ok(true)
    }

    fn enter(&mut self, name: &Bytes) {
        self.at = Some(Entered {
            name: name.clone(),
            row: self.view.engine.row(name),
        });
    }

    fn row_and(&self, rest: &[u8]) -> Vec<u8> {
        let at = self.at.as_ref().expect("a name was entered");
        [&at.row, rest].concat()
    }

    /// The first row of the first key at or after `from` that has one.
    fn forward(&mut self, mut from: Vec<u8>) -> Result<(), EngineError> {
        self.item = None;
        let view = self.view;
        while let Some((name, ())) = view.names.get_next(&from[..]) {
            if !self.end.is_empty() && name[..] >= self.end[..] {
                return Ok(());
            }
            self.enter(name);
            self.raw.seek(&self.row_and(&[]))?;
            if self.take()? {
                return Ok(());
            }
            from = [name, &[0][..]].concat();
        }
        Ok(())
    }

    /// The last row of the last key before `before` that has one.
    fn backward(&mut self, before: &[u8]) -> Result<(), EngineError> {
        self.item = None;
        let view = self.view;
        let mut before = Bytes::copy_from_slice(before);
        loop {
            let last = view.names.range(..before.clone()).next_back();
            let Some((name, ())) = last else {
                return Ok(());
            };
            self.enter(name);
            self.raw.seek_back(&self.row_and(&[0xff; 9]))?;
            if self.take()? {
                return Ok(());
            }
            before = name.clone();
        }
    }

    /// The key among whose versions `key` lies.
    fn name_within(&self, key: &[u8]) -> Option<Bytes> {
        let (name, ()) = self.view.names.get_prev(key)?;
        key.starts_with(name).then(|| name.clone())
    }

    /// Where a key of this space stands among the names.
    fn bound(&self, key: &[u8]) -> Vec<u8> {
        match self.space {
            Space::Current if key.len() > 1 => name_of_current(key),
            _ => key.to_vec(),
        }
    }
}

impl Cursor for SealedCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError> {
        if !self.is_named() {
            let from = if key.is_empty() {
                vec![SEALED]
            } else {
                marked(key)
            };
            self.raw.seek(&from)?;
            return self.take().map(drop);
        }
        if self.space == Space::Keys
            && let Some(name) = self.name_within(key)
        {
            self.enter(&name);
            self.raw.seek(&self.row_and(&key[name.len()..]))?;
            if self.take()? {
                return Ok(());
            }
            return self.forward([&name, &[0][..]].concat());
        }
        self.forward(self.bound(key))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError> {
        if !self.is_named() {
            self.raw.seek_back(&marked(key))?;
            return self.take().map(drop);
        }
        if self.space == Space::Keys
            && let Some(name) = self.name_within(key)
        {
            self.enter(&name);
            self.raw.seek_back(&self.row_and(&key[name.len()..]))?;
            if self.take()? {
                return Ok(());
            }
            return self.backward(&name);
        }
        let mut before = self.bound(key);
        before.push(0);
        self.backward(&before)
    }

    fn next(&mut self) -> Result<(), EngineError> {
        if self.item.is_none() {
            return Ok(());
        }
        self.raw.next()?;
        if self.take()? || !self.is_named() {
            return Ok(());
        }
        let at = self.at.as_ref().expect("it points at a row");
        self.forward([&at.name, &[0][..]].concat())
    }

    fn previous(&mut self) -> Result<(), EngineError> {
        if self.item.is_none() {
            return Ok(());
        }
        self.raw.previous()?;
        if self.take()? || !self.is_named() {
            return Ok(());
        }
        let name = self.at.as_ref().expect("it points at a row").name.clone();
        self.backward(&name)
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.item.as_ref()?;
        Some((key, value))
    }
}
