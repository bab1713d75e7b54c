//! Keys, values and ranges of them.

use crate::{Header, LeaseId, Revision};
use bytes::Bytes;

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; shared, never copied between the state machine and its readers.
    pub value: Bytes,
    /// Revision at which the key was created after it was last absent.
    pub create_revision: Revision,
    /// Revision of this version.
    pub mod_revision: Revision,
    /// Number of writes since creation, from 1.
    pub version: i64,
    /// The lease it is attached to, 0 for none.
    pub lease: LeaseId,
}

/// A set of keys, as etcd's `(key, range_end)` pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key.
    pub key: Bytes,
    /// Empty: just `key`. `\0`: everything from `key`. Else: up to, without, `end`.
    pub end: Bytes,
}

impl KeyRange {
    /// Just one key.
    #[must_use]
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            end: Bytes::new(),
        }
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        let end = prefix_end(&key);
        Self { key, end }
    }

    /// Whether the range names a single key.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.end.is_empty()
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.end.is_empty() {
            return key == self.key;
        }
        key >= &self.key[..] && (self.is_open_ended() || key < &self.end[..])
    }

    /// Whether the range runs to the end of the key space.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        &self.end[..] == b"\0"
    }
}

/// The first key after every key that starts with `prefix`; `\0` (open end) if there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}

/// The order of a range's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// The order of the keys.
    #[default]
    None,
    /// Ascending by the sort key.
    Ascend,
    /// Descending by the sort key.
    Descend,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's own and say it all")]
pub enum SortKey {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// A read of a range. Zero means "no limit" in every numeric field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At most this many; `more` is set when there were others.
    pub limit: i64,
    /// At this revision; 0 or less: now.
    pub revision: Revision,
    /// Order of the answer.
    pub order: SortOrder,
    /// Sort key.
    pub sort_by: SortKey,
    /// Answer from the local replica without asking the leader.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Answer only the count.
    pub count_only: bool,
    /// Only keys whose `mod_revision` is at least this.
    pub min_mod_revision: Revision,
    /// Only keys whose `mod_revision` is at most this.
    pub max_mod_revision: Revision,
    /// Only keys whose `create_revision` is at least this.
    pub min_create_revision: Revision,
    /// Only keys whose `create_revision` is at most this.
    pub max_create_revision: Revision,
}

/// The answer to a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// Where the store stood.
    pub header: Header,
    /// The key-values, in the asked order.
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` cut the answer.
    pub more: bool,
    /// How many keys the range holds, regardless of `limit`.
    pub count: i64,
}
