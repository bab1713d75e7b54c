//! Clients that watch, and go on where they were when their member is lost.

use crate::trial::crowd::{Crowd, Present};
use crate::trial::recorder::Recorder;
use crate::trial::wire::{self, Wire};
use bytes::Bytes;
use kontiki_etcd::pb::etcdserverpb::watch_client::WatchClient;
use kontiki_etcd::pb::etcdserverpb::{self as pb, watch_request::RequestUnion};
use kontiki_mvcc::conformance::Random;
use kontiki_store::{EventBatch, KeyRange, Revision, WatchItem, WatchRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between two requests for progress.
const ASK_EVERY: Duration = Duration::from_millis(400);
/// A watch that delivers nothing, not even progress, for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Watchers of a part of the keys, beside one of everything at each member.
const WANDERERS: usize = 4;

/// Everything at every member, and parts of it wherever it is served.
pub(crate) struct Watchers {
    crowd: Crowd,
    recorder: Recorder,
}

struct Watcher {
    recorder: Recorder,
    wires: Vec<Wire>,
    range: KeyRange,
    prev_kv: bool,
    /// Watches one member for good; others go wherever they are served.
    home: Option<usize>,
    /// Where the next watch begins.
    next: Revision,
    random: Random,
    present: Present,
}

impl Watchers {
    pub(crate) fn start(recorder: &Recorder, wires: &[Wire], homes: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut watchers = Self {
            crowd: Crowd::default(),
            recorder: recorder.clone(),
        };
        let everything = KeyRange {
            key: Bytes::from_static(b"\0"),
            end: Bytes::from_static(b"\0"),
        };
        for home in 0..homes {
            watchers.add(wires, everything.clone(), Some(home), random.number());
        }
        for number in 0..WANDERERS {
            let range = match number % 3 {
                0 => KeyRange::prefix("/registry/configmaps/"),
                1 => KeyRange::prefix("/registry/"),
                _ => KeyRange::prefix("/registry/events/"),
            };
            watchers.add(wires, range, None, random.number());
        }
        watchers
    }

    fn add(&mut self, wires: &[Wire], range: KeyRange, home: Option<usize>, seed: u64) {
        let mut random = Random::new(seed);
        let (recorder, wires) = (self.recorder.clone(), wires.to_vec());
        self.crowd.join(|present, stop| {
            let watcher = Watcher {
                recorder,
                wires,
                range,
                prev_kv: home.is_some() || random.one_in(2),
                home,
                next: if home.is_some() || random.one_in(2) {
                    2
                } else {
                    0
                },
                random,
                present,
            };
            watcher.run(stop)
        });
    }

    /// Waits until every watch has shown what is before `revision`; whether all did.
    pub(crate) async fn until(&self, revision: Revision, patience: Duration) -> bool {
        let shown = |number| self.recorder.next_revision(number) >= revision;
        self.crowd.until(patience, shown).await
    }

    /// What is open now must have delivered everything.
    pub(crate) fn settle(&self) {
        let open = self.crowd.open();
        open.for_each(|number| self.recorder.settled(number));
    }

    /// Ends them.
    pub(crate) async fn stop(self) {
        self.crowd.stop().await;
    }
}

impl Watcher {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let member = self
                .home
                .unwrap_or_else(|| self.random.below(self.wires.len()));
            // Some watches end of their own accord, so that others go on for them.
            let length = match self.home {
                Some(_) => Duration::from_secs(3600),
                None => Duration::from_millis(1_500 + self.random.below(4_000) as u64),
            };
            let until = tokio::time::Instant::now() + length;
            let watched = self.watch(member, until);
            if stop.run_until_cancelled(watched).await.is_none() {
                return;
            }
            if let Some(number) = self.present.lock().take() {
                self.next = self.recorder.next_revision(number);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Watches one member until it fails or the time is over.
    async fn watch(&self, member: usize, until: tokio::time::Instant) {
        let request = WatchRequest {
            range: self.range.clone(),
            start_revision: self.next,
            prev_kv: self.prev_kv,
            buffer: 0,
        };
        let (requests, receiver) = mpsc::channel(4);
        let mut client = WatchClient::new(self.wires[member].channel());
        client = client.max_decoding_message_size(64 << 20);
        let number = self.recorder.watching(member, request.clone());
        *self.present.lock() = Some(number);
        if requests.send(wire::watch_request(&request)).await.is_err() {
            return;
        }
        let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let opened = tokio::time::timeout(SILENCE_MAX, client.watch(receiver)).await;
        let Ok(Ok(response)) = opened else { return };
        let mut responses = response.into_inner();
        let mut heard = Instant::now();
        let mut ask = tokio::time::interval(ASK_EVERY);
        loop {
            tokio::select! {
                response = responses.message() => {
                    heard = Instant::now();
                    let Ok(Some(response)) = response else { return };
                    if !self.take(number, response) {
                        return;
                    }
                }
                _ = ask.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return;
                    }
                    let progress = pb::WatchRequest {
                        request_union: Some(RequestUnion::ProgressRequest(
                            pb::WatchProgressRequest {},
                        )),
                    };
                    // A full channel: the member takes nothing, so it says nothing either.
                    let _ = requests.try_send(progress);
                }
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Notes what came; whether the watch goes on.
    fn take(&self, number: usize, response: pb::WatchResponse) -> bool {
        let everything = self.home.is_some();
        if response.created {
            let revision = response.header.map_or(0, |header| header.revision);
            self.recorder.opened(number, revision);
        }
        for item in items(response.clone()) {
            self.recorder.delivered(number, item, everything);
        }
        !response.canceled
    }
}

/// What one message delivers.
fn items(response: pb::WatchResponse) -> Vec<WatchItem> {
    if response.canceled {
        let compact_revision = response.compact_revision;
        let compacted = WatchItem::Compacted { compact_revision };
        return Vec::from_iter((compact_revision > 0).then_some(compacted));
    }
    if response.created {
        return Vec::new();
    }
    if response.events.is_empty() {
        let revision = response.header.map_or(0, |header| header.revision);
        return vec![WatchItem::Progress(revision)];
    }
    let mut batches: Vec<EventBatch> = Vec::new();
    for event in response.events.into_iter().filter_map(wire::event) {
        let revision = event.kv.mod_revision;
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => batches.push(EventBatch {
                revision,
                events: vec![event],
            }),
        }
    }
    let batches = batches.into_iter();
    batches
        .map(|batch| WatchItem::Events(Arc::new(batch)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_etcd::pb::mvccpb;

    fn response(revisions: &[i64]) -> pb::WatchResponse {
        let event = |revision: &i64| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                key: "k".into(),
                mod_revision: *revision,
                ..mvccpb::KeyValue::default()
            }),
            ..mvccpb::Event::default()
        };
        pb::WatchResponse {
            header: Some(pb::ResponseHeader {
                revision: 9,
                ..pb::ResponseHeader::default()
            }),
            events: revisions.iter().map(event).collect(),
            ..pb::WatchResponse::default()
        }
    }

    #[test]
    fn a_message_is_taken_apart_by_revision() {
        let shown: Vec<(Revision, usize)> = items(response(&[4, 4, 5, 7]))
            .into_iter()
            .map(|item| match item {
                WatchItem::Events(batch) => (batch.revision, batch.events.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(shown, [(4, 2), (5, 1), (7, 1)]);
    }

    #[test]
    fn a_message_without_events_tells_progress_unless_it_opens_or_ends_the_watch() {
        assert_eq!(items(response(&[])), [WatchItem::Progress(9)]);
        let opened = pb::WatchResponse {
            created: true,
            ..response(&[])
        };
        assert_eq!(items(opened), []);
        let ended = pb::WatchResponse {
            canceled: true,
            compact_revision: 6,
            ..response(&[])
        };
        let compacted = WatchItem::Compacted {
            compact_revision: 6,
        };
        assert_eq!(items(ended), [compacted]);
    }
}
