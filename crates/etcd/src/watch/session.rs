//! One stream of watches.

use crate::auth::{Credentials, refused};
use crate::convert;
use crate::error::into_status;
use crate::pb::etcdserverpb::{
    self as pb, watch_create_request::FilterType, watch_request::RequestUnion,
};
use crate::pb::mvccpb;
use crate::server::Etcd;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kontiki_store::{
    Access, AuthError, EventKind, Header, KeyRange, Revision, StoreError, WatchItem, WatchRequest,
    WatchStream,
};
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tonic::{Code, Status, Streaming};

/// The id in answers that concern no watch.
const NO_WATCH: i64 = -1;
/// Items of one watch that are taken at once, before others get their turn.
const ITEMS_AT_ONCE: usize = 256;

/// The client is gone.
pub(super) struct Gone;

/// Reaches into the task of one watch.
#[derive(Default)]
struct Control {
    progress: Notify,
    cancel: Notify,
}

/// What came from one watch; no items when it was cancelled or the store stopped.
struct Arrived {
    id: i64,
    /// Told apart from a later watch of the same id.
    control: Arc<Control>,
    stream: WatchStream,
    items: Vec<WatchItem>,
}

struct Watching {
    control: Arc<Control>,
    no_put: bool,
    no_delete: bool,
    fragment: bool,
    progress_notify: bool,
    /// Whether something was sent since the last tick of the progress timer.
    busy: bool,
    /// A notification is due when the store answers.
    notify_due: bool,
}

/// A client's progress request that waits for its watches.
struct Asked {
    waiting: HashSet<i64>,
    revision: Revision,
}

pub(super) struct WatchSession {
    etcd: Etcd,
    credentials: Credentials,
    responses: mpsc::Sender<Result<pb::WatchResponse, Status>>,
    watches: HashMap<i64, Watching>,
    arrivals: FuturesUnordered<BoxFuture<'static, Arrived>>,
    next_id: i64,
    asked: Option<Asked>,
}

async fn arrival(id: i64, control: Arc<Control>, mut stream: WatchStream) -> Arrived {
    let mut items = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = control.cancel.notified() => break,
            () = control.progress.notified() => stream.request_progress(),
            item = stream.next() => {
                items.extend(item);
                break;
            }
        }
    }
    while !items.is_empty() && items.len() < ITEMS_AT_ONCE {
        match stream.try_next() {
            Some(item) => items.push(item),
            None => break,
        }
    }
    Arrived {
        id,
        control,
        stream,
        items,
    }
}

impl WatchSession {
    pub(super) fn new(
        etcd: Etcd,
        credentials: Credentials,
        responses: mpsc::Sender<Result<pb::WatchResponse, Status>>,
    ) -> Self {
        Self {
            etcd,
            credentials,
            responses,
            watches: HashMap::new(),
            arrivals: FuturesUnordered::new(),
            next_id: 0,
            asked: None,
        }
    }

    /// Serves until the client goes away, or is abandoned for want of a leader.
    pub(super) async fn run(
        mut self,
        mut requests: Streaming<pb::WatchRequest>,
        abandoned: impl Future<Output = ()>,
    ) {
        let mut progress = tokio::time::interval(self.etcd.options.progress_interval);
        progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
        progress.reset();
        let responses = self.responses.clone();
        tokio::pin!(abandoned);
        // A client may end its side and go on listening.
        let mut asking = true;
        loop {
            let served = tokio::select! {
                () = responses.closed() => return,
                () = &mut abandoned => {
                    let _ = responses.send(Err(into_status(StoreError::NoLeader))).await;
                    return;
                }
                request = requests.next(), if asking => match request {
                    Some(Ok(request)) => self.request(request).await,
                    Some(Err(_)) => return,
                    None => {
                        asking = false;
                        Ok(())
                    }
                },
                Some(arrived) = self.arrivals.next(), if !self.arrivals.is_empty() => self.arrived(arrived).await,
                _ = progress.tick() => {
                    self.tick();
                    Ok(())
                }
            };
            if served.is_err() {
                return;
            }
        }
    }

    fn header(&self, revision: Revision) -> Option<pb::ResponseHeader> {
        let raft_term = self.etcd.store.status().borrow().raft_term;
        self.etcd.answerer().header(Header {
            revision,
            raft_term,
        })
    }

    fn current_revision(&self) -> Revision {
        self.etcd.store.status().borrow().revision
    }

    async fn send(&mut self, response: pb::WatchResponse) -> Result<(), Gone> {
        self.responses.send(Ok(response)).await.map_err(|_| Gone)
    }

    async fn request(&mut self, request: pb::WatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.ask_progress().await,
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), Gone> {
        let range = watched_range(create.key.clone(), create.range_end.clone());
        let permit = self.etcd.permit_of(&self.credentials);
        let permitted = permit.and_then(|permit| permit.keys(Access::Read, &range));
        if let Err(error) = permitted {
            return self.refuse(denial(error)).await;
        }
        let id = match self.admit(&create, &range) {
            Ok(id) => id,
            Err(reason) => return self.refuse(reason).await,
        };
        let request = WatchRequest {
            range,
            start_revision: create.start_revision,
            prev_kv: create.prev_kv,
            buffer: 0,
        };
        let stream = match self.etcd.store.watch(request).await {
            Ok(stream) => stream,
            Err(error) => return self.refuse(into_status(error).message().to_owned()).await,
        };
        let header = self.header(stream.opened_at);
        let control = Arc::new(Control::default());
        let filtered = |filter: FilterType| create.filters.contains(&i32::from(filter));
        let watching = Watching {
            control: control.clone(),
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            busy: false,
            notify_due: false,
        };
        self.watches.insert(id, watching);
        self.arrivals.push(Box::pin(arrival(id, control, stream)));
        self.send(pb::WatchResponse {
            header,
            watch_id: id,
            created: true,
            ..Default::default()
        })
        .await
    }

    /// The watch's id, or why it is refused.
    fn admit(&mut self, create: &pb::WatchCreateRequest, range: &KeyRange) -> Result<i64, String> {
        if !range.is_one() && !range.is_open_ended() && range.key >= range.end {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        if create.start_revision < 0 {
            return Err(StoreError::Compacted {
                compact_revision: 0,
            }
            .to_string());
        }
        if self.watches.len() >= self.etcd.options.watches_per_stream_max {
            return Err(StoreError::TooManyRequests.to_string());
        }
        if create.watch_id != 0 {
            if self.watches.contains_key(&create.watch_id) {
                return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
            }
            return Ok(create.watch_id);
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        Ok(id)
    }

    async fn refuse(&mut self, cancel_reason: String) -> Result<(), Gone> {
        let header = self.header(self.current_revision());
        let response = pb::WatchResponse {
            header,
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason,
            ..Default::default()
        };
        self.send(response).await
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(watching) = self.watches.remove(&id) else {
            return Ok(());
        };
        watching.control.cancel.notify_one();
        let header = self.header(self.current_revision());
        self.send(pb::WatchResponse {
            header,
            watch_id: id,
            canceled: true,
            ..Default::default()
        })
        .await?;
        self.answered(id, None).await
    }

    /// Answered once every watch of the stream has delivered everything up to one revision.
    async fn ask_progress(&mut self) -> Result<(), Gone> {
        let revision = self.current_revision();
        if self.watches.is_empty() {
            return self.send_progress(NO_WATCH, revision).await;
        }
        for watching in self.watches.values() {
            watching.control.progress.notify_one();
        }
        self.asked = Some(Asked {
            waiting: self.watches.keys().copied().collect(),
            revision: Revision::MAX,
        });
        Ok(())
    }

    async fn send_progress(&mut self, watch_id: i64, revision: Revision) -> Result<(), Gone> {
        self.send(pb::WatchResponse {
            header: self.header(revision),
            watch_id,
            ..Default::default()
        })
        .await
    }

    /// A watch answered the progress request, or is over (`None`).
    async fn answered(&mut self, id: i64, revision: Option<Revision>) -> Result<(), Gone> {
        let Some(asked) = &mut self.asked else {
            return Ok(());
        };
        asked.waiting.remove(&id);
        asked.revision = asked.revision.min(revision.unwrap_or(Revision::MAX));
        if !asked.waiting.is_empty() {
            return Ok(());
        }
        let revision = asked.revision;
        self.asked = None;
        let revision = if revision == Revision::MAX {
            self.current_revision()
        } else {
            revision
        };
        self.send_progress(NO_WATCH, revision).await
    }

    /// Asks idle watches that want to be told how far the store is.
    fn tick(&mut self) {
        for watching in self
            .watches
            .values_mut()
            .filter(|watching| watching.progress_notify)
        {
            if !std::mem::take(&mut watching.busy) {
                watching.notify_due = true;
                watching.control.progress.notify_one();
            }
        }
    }

    async fn arrived(&mut self, arrived: Arrived) -> Result<(), Gone> {
        let Arrived {
            id,
            control,
            stream,
            items,
        } = arrived;
        let current = self
            .watches
            .get(&id)
            .is_some_and(|watching| Arc::ptr_eq(&watching.control, &control));
        if !current {
            return Ok(());
        }
        if items.is_empty() {
            // Not cancelled, so the store has stopped; the client resumes elsewhere.
            let _ = self
                .responses
                .send(Err(into_status(StoreError::Stopped)))
                .await;
            return Err(Gone);
        }
        let mut pending = Pending::default();
        for item in items {
            match item {
                WatchItem::Events(batch) => {
                    let watching = self.watches.get_mut(&id).expect("it was just looked up");
                    watching.busy = true;
                    let wanted = batch.events.iter().filter(|event| match event.kind {
                        EventKind::Put => !watching.no_put,
                        EventKind::Delete => !watching.no_delete,
                    });
                    let events: Vec<_> = wanted.map(convert::event).collect();
                    let bytes = events.iter().map(Message::encoded_len).sum::<usize>();
                    if pending.bytes + bytes > self.etcd.options.watch_response_bytes {
                        self.send_events(id, &mut pending).await?;
                    }
                    pending.add(batch.revision, events, bytes);
                }
                WatchItem::Progress(revision) => {
                    self.send_events(id, &mut pending).await?;
                    self.progressed(id, revision).await?;
                }
                WatchItem::Compacted { compact_revision } => {
                    self.send_events(id, &mut pending).await?;
                    return self.compacted(id, compact_revision).await;
                }
            }
        }
        self.send_events(id, &mut pending).await?;
        self.arrivals.push(Box::pin(arrival(id, control, stream)));
        Ok(())
    }

    async fn progressed(&mut self, id: i64, revision: Revision) -> Result<(), Gone> {
        let due = self
            .watches
            .get_mut(&id)
            .is_some_and(|watching| std::mem::take(&mut watching.notify_due));
        if due {
            self.send_progress(id, revision).await?;
        }
        if self
            .asked
            .as_ref()
            .is_some_and(|asked| asked.waiting.contains(&id))
        {
            self.answered(id, Some(revision)).await?;
        }
        Ok(())
    }

    async fn compacted(&mut self, id: i64, compact_revision: Revision) -> Result<(), Gone> {
        self.watches.remove(&id);
        let header = self.header(self.current_revision());
        let response = pb::WatchResponse {
            header,
            watch_id: id,
            canceled: true,
            compact_revision,
            ..Default::default()
        };
        self.send(response).await?;
        self.answered(id, None).await
    }

    async fn send_events(&mut self, id: i64, pending: &mut Pending) -> Result<(), Gone> {
        let Pending {
            revision,
            events,
            bytes,
        } = std::mem::take(pending);
        if events.is_empty() {
            return Ok(());
        }
        let fragments = self
            .watches
            .get(&id)
            .is_some_and(|watching| watching.fragment);
        let header = self.header(revision);
        let max = self.etcd.options.watch_fragment_bytes;
        if !fragments || bytes <= max {
            return self
                .send(pb::WatchResponse {
                    header,
                    watch_id: id,
                    events,
                    ..Default::default()
                })
                .await;
        }
        let mut parts = fragment(events, max).into_iter().peekable();
        while let Some(events) = parts.next() {
            let fragment = parts.peek().is_some();
            self.send(pb::WatchResponse {
                header,
                watch_id: id,
                events,
                fragment,
                ..Default::default()
            })
            .await?;
        }
        Ok(())
    }
}

/// Events of one watch that go into one response.
#[derive(Default)]
struct Pending {
    revision: Revision,
    events: Vec<mvccpb::Event>,
    bytes: usize,
}

impl Pending {
    fn add(&mut self, revision: Revision, events: Vec<mvccpb::Event>, bytes: usize) {
        self.revision = revision;
        self.events.extend(events);
        self.bytes += bytes;
    }
}

/// Cuts events into parts of at most `max` bytes, or of one event.
fn fragment(events: Vec<mvccpb::Event>, max: usize) -> Vec<Vec<mvccpb::Event>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_len();
        let part = parts.last_mut().expect("there is always a part");
        if bytes + size > max && !part.is_empty() {
            parts.push(vec![event]);
            bytes = size;
        } else {
            part.push(event);
            bytes += size;
        }
    }
    parts
}

/// As etcd's server prints a status of its own.
fn denial(error: AuthError) -> String {
    let status = refused(error);
    let code = match status.code() {
        Code::InvalidArgument => "InvalidArgument",
        Code::PermissionDenied => "PermissionDenied",
        Code::Unauthenticated => "Unauthenticated",
        _ => "Unknown",
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// An empty key means the least key.
fn watched_range(key: Bytes, end: Bytes) -> KeyRange {
    let key = if key.is_empty() {
        Bytes::from_static(b"\0")
    } else {
        key
    };
    KeyRange { key, end }
}
