//! What clients of the Kubernetes API saw, as the history of a store that holds
//! their objects alone.
//!
//! The versions at which one of their objects was seen to change are numbered
//! from 2 on: these are the revisions of that store. A list at some version shows
//! it at the last of them that is not newer. Whatever is true of the cluster is
//! true of that store, and the other way round, with one exception: a change that
//! was neither acknowledged nor shown by any watch or list is not missed.
//!
//! **Invariant:** pure.

use super::notes::{Call, Event, Notes, Operation as Noted, Said, Seen, Version, Watched};
use bytes::Bytes;
use kontiki_checker::{Answer, History, Moment, Operation, Request, Response, WatchRecord};
use kontiki_store::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, Event as StoreEvent, EventBatch, EventKind,
    Header, KeyRange, KeyValue, Op, OpResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, Revision, TxnRequest, TxnResponse, WatchItem, WatchRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who changed when, by everything that was seen.
struct Changes {
    /// Every version at which one of the objects changed.
    versions: BTreeSet<Version>,
    /// The versions of each object, from its creation on.
    lives: BTreeMap<String, BTreeSet<Version>>,
    /// When objects were deleted, by their uid.
    deletions: BTreeMap<String, Version>,
}

/// The history of the store that holds the clients' objects alone.
pub(crate) fn history(notes: &Notes) -> History {
    let changes = Changes::new(notes);
    History {
        operations: notes
            .operations
            .iter()
            .filter_map(|noted| changes.operation(noted))
            .collect(),
        watches: notes
            .watches
            .iter()
            .map(|watch| changes.watch(watch))
            .collect(),
        samples: Vec::new(),
        // The servers' own compaction, and the end of a cache's window.
        compacts_itself: true,
    }
}

impl Changes {
    fn new(notes: &Notes) -> Self {
        let mut changes = Self {
            versions: BTreeSet::new(),
            lives: BTreeMap::new(),
            deletions: BTreeMap::new(),
        };
        for (_, event) in notes.watches.iter().flat_map(|watch| &watch.items) {
            match event {
                Event::Changed(seen) => changes.note(seen),
                Event::Deleted(seen) => {
                    changes.versions.insert(seen.version);
                    changes.deletions.insert(seen.uid.clone(), seen.version);
                }
                Event::Bookmark(_) => {}
            }
        }
        for noted in &notes.operations {
            match &noted.answer {
                Some((_, Said::Stored(seen))) => changes.note(seen),
                Some((_, Said::Items { items, .. })) => {
                    items.iter().for_each(|seen| changes.note(seen));
                }
                _ => {}
            }
        }
        changes
    }

    fn note(&mut self, seen: &Seen) {
        self.versions.insert(seen.version);
        let life = self.lives.entry(seen.uid.clone()).or_default();
        life.insert(seen.version);
    }

    /// The store's last revision at a version.
    fn revision(&self, version: Version) -> Revision {
        let before = self.versions.range(..=version).count();
        1 + Revision::try_from(before).unwrap_or(Revision::MAX)
    }

    fn key_value(&self, seen: &Seen) -> KeyValue {
        let life = self.lives.get(&seen.uid);
        let born = life.and_then(|life| life.first()).copied();
        let age = life.map_or(0, |life| life.range(..=seen.version).count());
        KeyValue {
            key: key(&seen.name),
            value: seen.value.clone().into(),
            create_revision: self.revision(born.unwrap_or(seen.version)),
            mod_revision: self.revision(seen.version),
            version: i64::try_from(age).unwrap_or(i64::MAX),
            lease: 0,
        }
    }

    /// `None`: it had no effect, and told nothing.
    fn operation(&self, noted: &Noted) -> Option<Operation> {
        let answer = match &noted.answer {
            Some((_, Said::Refused)) => return None,
            Some((at, said)) => self.response(*at, noted, said),
            None => None,
        };
        Some(Operation {
            member: noted.server,
            called: noted.called,
            request: self.request(&noted.call),
            answer,
        })
    }

    fn request(&self, call: &Call) -> Request {
        let guarded = |name: &str, base, op| {
            Request::Txn(TxnRequest {
                compare: vec![Compare::mod_revision(key(name), base)],
                success: vec![op],
                failure: Vec::new(),
            })
        };
        let put = |name: &str, value: &str| {
            Op::Put(PutRequest {
                key: key(name),
                value: value.to_owned().into(),
                ..PutRequest::default()
            })
        };
        match call {
            Call::Create { name, value } => guarded(name, 0, put(name, value)),
            Call::Update { name, value, base } => {
                guarded(name, self.revision(*base), put(name, value))
            }
            Call::Delete { name, base, .. } => {
                let delete = DeleteRangeRequest {
                    range: KeyRange::one(key(name)),
                    prev_kv: false,
                };
                guarded(name, self.revision(*base), Op::DeleteRange(delete))
            }
            Call::List { name } => Request::Range(RangeRequest {
                range: name
                    .as_ref()
                    .map_or_else(everything, |name| KeyRange::one(key(name))),
                ..RangeRequest::default()
            }),
        }
    }

    fn response(&self, at: Moment, noted: &Noted, said: &Said) -> Option<Answer> {
        let header = |version| Header {
            revision: self.revision(version),
            raft_term: 0,
        };
        let done = |version, response| {
            Response::Txn(TxnResponse {
                header: header(version),
                succeeded: true,
                responses: vec![response],
            })
        };
        let response = match (said, &noted.call) {
            (Said::Stored(seen), _) => done(seen.version, OpResponse::Put(PutResponse::default())),
            (Said::Deleted, Call::Delete { uid, .. }) => {
                // No answer tells when; if no watch does either, nobody knows.
                let version = *self.deletions.get(uid)?;
                let deleted = DeleteRangeResponse {
                    deleted: 1,
                    prev_kvs: Vec::new(),
                };
                done(version, OpResponse::DeleteRange(deleted))
            }
            (Said::Items { version, items }, _) => {
                let mut kvs: Vec<KeyValue> =
                    items.iter().map(|seen| self.key_value(seen)).collect();
                kvs.sort_by(|a, b| a.key.cmp(&b.key));
                Response::Range(RangeResponse {
                    header: header(*version),
                    count: i64::try_from(kvs.len()).unwrap_or(i64::MAX),
                    kvs,
                    more: false,
                })
            }
            (Said::Deleted | Said::Refused, _) => return None,
        };
        Some(Answer {
            at,
            result: Ok(response),
        })
    }

    fn watch(&self, watched: &Watched) -> WatchRecord {
        let from = self.revision(watched.from);
        let item = |event: &Event| {
            let (kind, seen) = match event {
                Event::Changed(seen) => (EventKind::Put, seen),
                Event::Deleted(seen) => (EventKind::Delete, seen),
                Event::Bookmark(version) => return WatchItem::Progress(self.revision(*version)),
            };
            let revision = self.revision(seen.version);
            let kv = match kind {
                EventKind::Put => self.key_value(seen),
                EventKind::Delete => KeyValue {
                    key: key(&seen.name),
                    mod_revision: revision,
                    ..KeyValue::default()
                },
            };
            let event = StoreEvent {
                kind,
                kv,
                prev_kv: None,
            };
            WatchItem::Events(Arc::new(EventBatch {
                revision,
                events: vec![event],
            }))
        };
        WatchRecord {
            member: watched.server,
            request: WatchRequest {
                range: everything(),
                start_revision: from + 1,
                ..WatchRequest::default()
            },
            called: watched.called,
            opened_at: Some(from),
            items: watched
                .items
                .iter()
                .map(|(at, event)| (*at, item(event)))
                .collect(),
            settled: watched.settled,
        }
    }
}

fn key(name: &str) -> Bytes {
    name.to_owned().into()
}

fn everything() -> KeyRange {
    KeyRange {
        key: Bytes::from_static(b"\0"),
        end: Bytes::from_static(b"\0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::verdict::{Ending, Verdict, judge};
    use std::time::Duration;

    fn at(order: u64) -> Moment {
        Moment {
            order,
            time: Duration::from_millis(order),
        }
    }

    fn seen(name: &str, uid: &str, version: Version, value: &str) -> Seen {
        Seen {
            name: name.into(),
            uid: uid.into(),
            version,
            value: value.into(),
        }
    }

    fn operation(called: u64, call: Call, said: Option<Said>) -> Noted {
        Noted {
            server: 0,
            called: at(called),
            call,
            answer: said.map(|said| (at(called + 1), said)),
        }
    }

    /// An object is created at 10, updated at 14 (nobody heard so), deleted at
    /// 21, made again at 30.
    fn notes() -> Notes {
        let create = |value: &str| Call::Create {
            name: "a".into(),
            value: value.into(),
        };
        let update = Call::Update {
            name: "a".into(),
            value: "two".into(),
            base: 10,
        };
        let delete = Call::Delete {
            name: "a".into(),
            uid: "u1".into(),
            base: 14,
        };
        let list = |name: Option<&str>| Call::List {
            name: name.map(str::to_owned),
        };
        let items = |version, items| Some(Said::Items { version, items });
        let operations = vec![
            operation(
                1,
                create("one"),
                Some(Said::Stored(seen("a", "u1", 10, "one"))),
            ),
            operation(3, create("x"), Some(Said::Refused)),
            operation(5, update, None),
            operation(8, list(None), items(17, vec![seen("a", "u1", 14, "two")])),
            operation(11, delete, Some(Said::Deleted)),
            operation(14, list(Some("a")), items(25, Vec::new())),
            operation(
                16,
                create("three"),
                Some(Said::Stored(seen("a", "u2", 30, "three"))),
            ),
            operation(
                18,
                list(None),
                items(31, vec![seen("a", "u2", 30, "three")]),
            ),
        ];
        let items = vec![
            (at(2), Event::Changed(seen("a", "u1", 10, "one"))),
            (at(7), Event::Changed(seen("a", "u1", 14, "two"))),
            (at(10), Event::Bookmark(16)),
            (at(13), Event::Deleted(seen("a", "u1", 21, "two"))),
            (at(20), Event::Changed(seen("a", "u2", 30, "three"))),
        ];
        Notes {
            operations,
            watches: vec![Watched {
                server: 0,
                called: at(0),
                from: 5,
                items,
                settled: true,
            }],
        }
    }

    fn broken(notes: &Notes) -> Option<&'static str> {
        let checks = judge(&history(notes), &Ending::default());
        let mut failed = checks
            .iter()
            .filter(|check| check.verdict == Verdict::Failed);
        failed.next().map(|check| check.name)
    }

    #[test]
    fn what_is_right_passes() {
        assert_eq!(broken(&notes()), None);
        assert_eq!(history(&notes()).operations.len(), 7);
    }

    #[test]
    fn a_stale_list_is_found() {
        let mut notes = notes();
        let (_, said) = notes.operations[5]
            .answer
            .as_mut()
            .expect("it was answered");
        *said = Said::Items {
            version: 12,
            items: vec![seen("a", "u1", 10, "one")],
        };
        assert_eq!(broken(&notes), Some("linearizable"));
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut notes = notes();
        let (_, said) = notes.operations[7]
            .answer
            .as_mut()
            .expect("it was answered");
        *said = Said::Items {
            version: 31,
            items: Vec::new(),
        };
        assert_eq!(broken(&notes), Some("linearizable"));
    }

    #[test]
    fn a_missed_and_a_repeated_event_are_found() {
        let mut missed = notes();
        missed.watches[0].items.pop();
        assert_eq!(broken(&missed), Some("watches miss and repeat nothing"));
        let mut repeated = notes();
        let again = repeated.watches[0].items[4].clone();
        repeated.watches[0].items.push(again);
        assert_eq!(broken(&repeated), Some("watches miss and repeat nothing"));
    }

    #[test]
    fn a_bookmark_that_promises_too_much_is_found() {
        let mut notes = notes();
        notes.watches[0].items[2].1 = Event::Bookmark(22);
        assert_eq!(broken(&notes), Some("watches miss and repeat nothing"));
    }
}
