//! A range in portions, so that neither side holds all of it at once.
//!
//! **Invariant:** the portions put together are what one range would have
//! answered: all of them are read at the revision of the first.

use crate::convert::key_value;
use crate::error::into_status;
use crate::pb::etcdserverpb as pb;
use crate::server::{Etcd, Responses};
use bytes::{BufMut, BytesMut};
use kontiki_store::{Header, KeyValue, RangeRequest, SortKey, SortOrder};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Keys of the first portion; how many fit is learnt from there.
const KEYS_FIRST: i64 = 64;
const KEYS_MAX: i64 = 16_384;
/// What a portion should have, in bytes of keys and values.
const PORTION_BYTES: usize = 512 << 10;
/// Portions that wait for a slow client.
const PORTIONS_WAITING: usize = 2;

/// Answers `request` in portions. Only the order of the keys can be streamed.
pub(crate) fn start(
    etcd: Etcd,
    request: RangeRequest,
) -> Result<Responses<pb::RangeStreamResponse>, Status> {
    if request.order == SortOrder::Descend
        || (request.order == SortOrder::Ascend && request.sort_by != SortKey::Key)
    {
        return Err(Status::unimplemented(
            "etcdserver: a stream has the order of the keys; use Range for another one",
        ));
    }
    let (portions, receiver) = mpsc::channel(PORTIONS_WAITING);
    let reading = Reading {
        etcd,
        limit: request.limit,
        request,
        keys: KEYS_FIRST,
        sent: 0,
        first: None,
    };
    tokio::spawn(reading.run(portions));
    Ok(ReceiverStream::new(receiver))
}

struct Reading {
    etcd: Etcd,
    /// What is still to be read.
    request: RangeRequest,
    /// Of the whole answer; 0 or less: none.
    limit: i64,
    /// Of the next portion.
    keys: i64,
    sent: i64,
    /// Header and count that the first portion was read with.
    first: Option<(Header, i64)>,
}

impl Reading {
    async fn run(mut self, portions: mpsc::Sender<Result<pb::RangeStreamResponse, Status>>) {
        loop {
            let portion = self.next().await;
            let over = !matches!(portion, Ok((_, false)));
            let sent = portions.send(portion.map(|(portion, _)| portion)).await;
            if over || sent.is_err() {
                return;
            }
        }
    }

    /// The next portion, and whether it is the last.
    async fn next(&mut self) -> Result<(pb::RangeStreamResponse, bool), Status> {
        self.request.limit = if self.limit > 0 {
            self.keys.min(self.limit - self.sent)
        } else {
            self.keys
        };
        let read = self.etcd.store.range(self.request.clone()).await;
        let read = read.map_err(into_status)?;
        let (header, count) = *self.first.get_or_insert((read.header, read.count));
        self.sent += i64::try_from(read.kvs.len()).unwrap_or(i64::MAX);
        let last = !read.more || (self.limit > 0 && self.sent >= self.limit);
        if !last {
            self.go_on(header, &read.kvs);
        }
        let mut response = pb::RangeResponse {
            kvs: read.kvs.into_iter().map(key_value).collect(),
            ..pb::RangeResponse::default()
        };
        if last {
            response.header = self.etcd.answerer().header(header);
            response.count = count;
            response.more = read.more;
        }
        let portion = pb::RangeStreamResponse {
            range_response: Some(response),
        };
        Ok((portion, last))
    }

    fn go_on(&mut self, header: Header, kvs: &[KeyValue]) {
        if let Some(kv) = kvs.last() {
            let mut after = BytesMut::with_capacity(kv.key.len() + 1);
            after.extend_from_slice(&kv.key);
            after.put_u8(0);
            self.request.range.key = after.freeze();
        }
        if self.request.revision <= 0 {
            self.request.revision = header.revision;
        }
        // This replica has that revision; there is nobody to ask.
        self.request.serializable = true;
        let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        if bytes < PORTION_BYTES / 2 {
            self.keys = (self.keys * 2).min(KEYS_MAX);
        } else if bytes > PORTION_BYTES * 2 {
            self.keys = (self.keys / 2).max(1);
        }
    }
}
