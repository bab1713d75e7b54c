//! Events: what a component tells the users of an object.
//!
//! [`Correlator`] is the pure core. It keeps a noisy component from flooding the
//! store: repetitions count up one `Event`, many similar ones are combined, and
//! one object gets a burst of 25 and then one every five minutes.
//! [`EventRecorder`] is the shell: a bounded queue and one task that writes.
//!
//! **Invariant:** recording never blocks and never fails; an event that does not
//! fit is dropped, because no behaviour may depend on events.

mod correlator;

pub use correlator::{Correlator, EventShape, EventSource, EventType, EventWrite, Occurrence};

use crate::{Client, Clock, PatchKind, resources};
use kontiki_object::{GroupVersionResource, Object, Status, Value};
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Occurrences that wait to be written; further ones are dropped.
const QUEUE_LENGTH_MAX: usize = 1000;

/// How often a write that failed is tried again.
const ATTEMPTS_MAX: u32 = 4;

const EVENTS_V1: GroupVersionResource = GroupVersionResource::new("events.k8s.io", "v1", "events");

/// Records events about objects; cheap to clone.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    queue: Option<mpsc::Sender<Occurrence>>,
}

impl EventRecorder {
    /// A recorder that writes through `client` until `cancel` is cancelled.
    #[must_use]
    pub fn start(
        client: Client,
        source: EventSource,
        clock: Clock,
        cancel: CancellationToken,
    ) -> Self {
        let (queue, occurrences) = mpsc::channel(QUEUE_LENGTH_MAX);
        let sink = Sink {
            client,
            shape: source.shape,
            correlator: Correlator::new(source),
            clock,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sink.run(occurrences) => {}
            }
        });
        Self { queue: Some(queue) }
    }

    /// A recorder that drops everything.
    #[must_use]
    pub fn disabled() -> Self {
        Self { queue: None }
    }

    /// A recorder that hands every occurrence to the returned end, for tests.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Occurrence>) {
        let (queue, occurrences) = mpsc::channel(QUEUE_LENGTH_MAX);
        (Self { queue: Some(queue) }, occurrences)
    }

    /// Records an event about an object.
    pub fn event(&self, about: &Object, kind: EventType, reason: &str, message: impl Into<String>) {
        self.record(Occurrence {
            regarding: reference(about),
            related: None,
            kind,
            reason: reason.to_owned(),
            action: reason.to_owned(),
            message: message.into(),
        });
    }

    /// Records an event in full.
    pub fn record(&self, occurrence: Occurrence) {
        if let Some(queue) = &self.queue
            && queue.try_send(occurrence).is_err()
        {
            tracing::debug!("dropped an event: the queue is full");
        }
    }
}

/// The `ObjectReference` that points at an object.
#[must_use]
pub fn reference(object: &Object) -> Value {
    let mut reference = json!({
        "apiVersion": object.api_version(), "kind": object.kind(), "name": object.name(),
    });
    for (field, value) in [
        ("namespace", object.namespace()),
        ("uid", object.uid()),
        ("resourceVersion", object.resource_version()),
    ] {
        if !value.is_empty() {
            reference[field] = json!(value);
        }
    }
    reference
}

struct Sink {
    client: Client,
    shape: EventShape,
    correlator: Correlator,
    clock: Clock,
}

impl Sink {
    async fn run(mut self, mut occurrences: mpsc::Receiver<Occurrence>) {
        loop {
            let pause = self.correlator.next_flush(self.clock.now());
            let occurrence = tokio::select! {
                occurrence = occurrences.recv() => occurrence,
                () = sleep_or_forever(pause) => {
                    for write in self.correlator.flush(self.clock.now()) {
                        self.write(write).await;
                    }
                    continue;
                }
            };
            let Some(occurrence) = occurrence else { return };
            if let Some(write) = self.correlator.observe(occurrence, self.clock.now()) {
                self.write(write).await;
            }
        }
    }

    async fn write(&self, write: EventWrite) {
        let mut pause = Duration::from_millis(250);
        for _ in 0..ATTEMPTS_MAX {
            match self.try_write(&write).await {
                Ok(()) => return,
                // The server understood and refused: the namespace ends, or the
                // event is invalid. Trying again cannot help.
                Err(status) if (400..500).contains(&status.code) && status.code != 429 => {
                    tracing::debug!(%status, "an event was refused");
                    return;
                }
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        tracing::debug!("gave an event up: the server does not answer");
    }

    async fn try_write(&self, write: &EventWrite) -> Result<(), Status> {
        let resource = match self.shape {
            EventShape::Core => &resources::EVENTS,
            EventShape::Series => &EVENTS_V1,
        };
        let events = self.client.namespaced(resource, &write.namespace);
        if let Some(patch) = &write.patch {
            let patched = events.patch(&write.name, PatchKind::Merge, patch.clone());
            match patched.await {
                // Its time to live has ended; the count goes on in a new one.
                Err(status) if status.is_not_found() => {}
                other => return other.map(drop),
            }
        }
        match events.create(write.body.clone()).await {
            Err(status) if status.is_already_exists() => Ok(()),
            other => other.map(drop),
        }
    }
}

async fn sleep_or_forever(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ListParams;
    use crate::testing::MemoryApi;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn an_event_reaches_the_server_and_counts_up() {
        let clock = Clock::following_tokio("2026-01-02T03:04:05Z".parse().expect("a time"));
        let api = Arc::new(MemoryApi::new(clock.clone()));
        let client = Client::new(api, "test");
        let source = EventSource::new("kubelet", "node-1", EventShape::Core);
        let cancel = CancellationToken::new();
        let recorder = EventRecorder::start(client.clone(), source, clock, cancel.clone());
        let pod = Object::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "n", "uid": "u"},
        }))
        .expect("a map");
        let events = client.namespaced(&resources::EVENTS, "n");
        for count in 1..=3 {
            recorder.event(&pod, EventType::Warning, "BackOff", "no luck");
            loop {
                let (items, _) = events.list(ListParams::default()).await.expect("lists");
                let counted = items.first().and_then(|event| event.get(&["count"]));
                if counted == Some(&json!(count)) {
                    assert_eq!(items.len(), 1);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        cancel.cancel();
    }
}
