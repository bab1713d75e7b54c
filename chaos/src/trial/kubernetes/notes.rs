//! What clients of the Kubernetes API did and saw.

use crate::trial::recorder::Moments;
use kontiki_checker::Moment;
use kontiki_object::Object;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// A resource version.
pub(crate) type Version = i64;

/// An object as it was seen at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub name: String,
    pub uid: String,
    pub version: Version,
    pub value: String,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create {
        name: String,
        value: String,
    },
    Update {
        name: String,
        value: String,
        base: Version,
    },
    Delete {
        name: String,
        uid: String,
        base: Version,
    },
    /// One name, or all of them.
    List {
        name: Option<String>,
    },
}

/// How a call ended, if it certainly did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Stored(Seen),
    Deleted,
    Items {
        version: Version,
        items: Vec<Seen>,
    },
    /// It had no effect.
    Refused,
}

/// A call from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub server: usize,
    pub called: Moment,
    pub call: Call,
    pub answer: Option<(Moment, Said)>,
}

/// One item of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Changed(Seen),
    /// Its version is that of the deletion.
    Deleted(Seen),
    Bookmark(Version),
}

/// A watch and what it delivered.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub server: usize,
    pub called: Moment,
    /// What comes is newer than this.
    pub from: Version,
    pub items: Vec<(Moment, Event)>,
    pub settled: bool,
}

impl Watched {
    /// Everything up to here has come.
    pub(crate) fn reached(&self) -> Version {
        let versions = self.items.iter().map(|(_, event)| match event {
            Event::Changed(seen) | Event::Deleted(seen) => seen.version,
            Event::Bookmark(version) => *version,
        });
        versions.fold(self.from, Version::max)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub operations: Vec<Operation>,
    pub watches: Vec<Watched>,
}

/// Shared by everybody who notes something.
#[derive(Clone)]
pub(crate) struct Notebook(Arc<Mutex<(Moments, Notes, usize)>>);

impl Notebook {
    pub(crate) fn new(started: Instant) -> Self {
        let moments = Moments::new(started);
        Self(Arc::new(Mutex::new((moments, Notes::default(), 0))))
    }

    pub(crate) fn called(&self, server: usize, call: Call) -> usize {
        let (moments, notes, _) = &mut *self.0.lock();
        notes.operations.push(Operation {
            server,
            called: moments.next(),
            call,
            answer: None,
        });
        notes.operations.len() - 1
    }

    pub(crate) fn answered(&self, number: usize, said: Said) {
        let (moments, notes, acknowledged) = &mut *self.0.lock();
        *acknowledged += usize::from(said != Said::Refused);
        notes.operations[number].answer = Some((moments.next(), said));
    }

    pub(crate) fn watching(&self, server: usize, from: Version) -> usize {
        let (moments, notes, _) = &mut *self.0.lock();
        notes.watches.push(Watched {
            server,
            called: moments.next(),
            from,
            items: Vec::new(),
            settled: false,
        });
        notes.watches.len() - 1
    }

    pub(crate) fn delivered(&self, number: usize, event: Event) {
        let (moments, notes, _) = &mut *self.0.lock();
        notes.watches[number].items.push((moments.next(), event));
    }

    pub(crate) fn reached(&self, number: usize) -> Version {
        self.0.lock().1.watches[number].reached()
    }

    pub(crate) fn settled(&self, number: usize) {
        self.0.lock().1.watches[number].settled = true;
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.0.lock().2
    }

    pub(crate) fn take(&self) -> Notes {
        std::mem::take(&mut self.0.lock().1)
    }
}

/// The value's key in an object's data.
pub(crate) const VALUE: &str = "value";

/// An object as it is noted; `None` if it is not one of the clients' own.
pub(crate) fn seen(object: &Object) -> Option<Seen> {
    let value = object.str_at(&["data", VALUE])?;
    Some(Seen {
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        version: version(object.resource_version()),
        value: value.to_owned(),
    })
}

/// A resource version as a number; they are numbers since Kubernetes 1.35 at the
/// latest (KEP-5504).
pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap_or(0)
}
