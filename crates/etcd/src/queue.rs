//! Waiting in line under a name, as etcd's clients do it themselves: everybody
//! puts a key of its own, tied to its lease; whose key is the oldest has its
//! turn, the others wait until every older key is gone.

use crate::auth::Credentials;
use crate::error::into_status;
use crate::server::Etcd;
use bytes::{BufMut, Bytes, BytesMut};
use kontiki_store::{
    Access, Compare, CompareOp, CompareTarget, DeleteRangeRequest, EventKind, Header, KeyRange,
    KeyValue, LeaseId, Op, OpResponse, PutRequest, RangeRequest, Revision, SortKey, SortOrder,
    StoreError, TxnRequest, WatchItem, WatchRequest,
};
use tonic::{Code, Status};

/// The lease of whoever names none, as etcd's sessions have.
const SESSION_TTL_SECONDS: i64 = 60;

/// A place in the line.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) key: Bytes,
    pub(crate) created: Revision,
    pub(crate) lease: LeaseId,
}

/// The line under one name.
pub(crate) struct Queue<'a> {
    etcd: &'a Etcd,
    credentials: Credentials,
    name: Bytes,
}

fn created(key: Bytes, revision: Revision) -> Compare {
    Compare {
        range: KeyRange::one(key),
        op: CompareOp::Equal,
        target: CompareTarget::CreateRevision(revision),
    }
}

fn get(key: Bytes) -> Op {
    Op::Range(RangeRequest {
        range: KeyRange::one(key),
        ..RangeRequest::default()
    })
}

fn lost() -> Status {
    Status::new(Code::Unknown, "election: not leader")
}

impl<'a> Queue<'a> {
    pub(crate) fn new(etcd: &'a Etcd, credentials: Credentials, name: Bytes) -> Self {
        Self {
            etcd,
            credentials,
            name,
        }
    }

    /// Every key of the line.
    fn range(&self) -> KeyRange {
        let mut prefix = self.name.to_vec();
        prefix.push(b'/');
        KeyRange::prefix(prefix)
    }

    fn may_read(&self) -> Result<(), Status> {
        let permit = self.etcd.permit_of(&self.credentials);
        let read = permit.and_then(|permit| permit.keys(Access::Read, &self.range()));
        read.map_err(crate::auth::refused)
    }

    /// Takes a place at the end, or finds the one that the lease has already.
    pub(crate) async fn enter(&self, lease: LeaseId, value: Bytes) -> Result<Place, Status> {
        let lease = if lease == 0 {
            let granted = self.etcd.store.lease_grant(0, SESSION_TTL_SECONDS).await;
            granted.map_err(into_status)?.id
        } else {
            lease
        };
        let mut key = BytesMut::from(&self.name[..]);
        key.put_slice(format!("/{lease:x}").as_bytes());
        let key = key.freeze();
        let put = Op::Put(PutRequest {
            key: key.clone(),
            value: value.clone(),
            lease,
            ..PutRequest::default()
        });
        let txn = TxnRequest {
            compare: vec![created(key.clone(), 0)],
            success: vec![put.clone()],
            failure: vec![get(key.clone())],
        };
        let response = self.etcd.run_txn(&self.credentials, txn).await?;
        let created_at = match response.responses.into_iter().next() {
            Some(OpResponse::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        let place = Place {
            created: created_at
                .as_ref()
                .map_or(response.header.revision, |kv| kv.create_revision),
            key,
            lease,
        };
        if created_at.is_some_and(|kv| kv.value != value) {
            self.change(
                &place,
                Op::Put(PutRequest {
                    key: place.key.clone(),
                    value,
                    lease,
                    ..PutRequest::default()
                }),
            )
            .await?;
        }
        Ok(place)
    }

    /// Does something to a place that is still the same.
    pub(crate) async fn change(&self, place: &Place, op: Op) -> Result<Header, Status> {
        let txn = TxnRequest {
            compare: vec![created(place.key.clone(), place.created)],
            success: vec![op],
            failure: Vec::new(),
        };
        let response = self.etcd.run_txn(&self.credentials, txn).await?;
        if response.succeeded {
            Ok(response.header)
        } else {
            Err(lost())
        }
    }

    pub(crate) async fn leave(&self, place: &Place) -> Result<Header, Status> {
        let delete = Op::DeleteRange(DeleteRangeRequest {
            range: KeyRange::one(place.key.clone()),
            prev_kv: false,
        });
        self.change(place, delete).await
    }

    /// Waits until nobody older is in the line. Who gives up leaves the line.
    pub(crate) async fn wait_turn(&self, place: &Place) -> Result<Header, Status> {
        self.may_read()?;
        let mut leaving = Leaving {
            etcd: self.etcd.clone(),
            credentials: self.credentials.clone(),
            place: Some(place.clone()),
        };
        loop {
            let ahead = RangeRequest {
                range: self.range(),
                limit: 1,
                order: SortOrder::Descend,
                sort_by: SortKey::Create,
                max_create_revision: place.created - 1,
                keys_only: true,
                ..RangeRequest::default()
            };
            let found = self.etcd.store.range(ahead).await.map_err(into_status)?;
            let Some(ahead) = found.kvs.into_iter().next() else {
                return self.confirm(place, found.header, &mut leaving).await;
            };
            self.gone(ahead.key, found.header.revision + 1).await?;
        }
    }

    /// The lease may have ended while its owner waited.
    async fn confirm(
        &self,
        place: &Place,
        header: Header,
        leaving: &mut Leaving,
    ) -> Result<Header, Status> {
        let own = RangeRequest {
            range: KeyRange::one(place.key.clone()),
            ..RangeRequest::default()
        };
        let own = self.etcd.store.range(own).await.map_err(into_status)?;
        leaving.place = None;
        if own.kvs.iter().any(|kv| kv.create_revision == place.created) {
            Ok(header)
        } else {
            Err(Status::new(Code::Unknown, "mutex: session is expired"))
        }
    }

    async fn gone(&self, key: Bytes, from: Revision) -> Result<(), Status> {
        let request = WatchRequest {
            range: KeyRange::one(key),
            start_revision: from,
            ..WatchRequest::default()
        };
        let mut watch = self.etcd.store.watch(request).await.map_err(into_status)?;
        loop {
            match watch.next().await {
                Some(WatchItem::Events(batch)) => {
                    if batch
                        .events
                        .iter()
                        .any(|event| event.kind == EventKind::Delete)
                    {
                        return Ok(());
                    }
                }
                Some(WatchItem::Progress(_)) => {}
                // Looked at again from the present.
                Some(WatchItem::Compacted { .. }) => return Ok(()),
                None => return Err(into_status(StoreError::Stopped)),
            }
        }
    }

    /// Whoever has its turn.
    pub(crate) async fn first(&self) -> Result<(Header, Option<KeyValue>), Status> {
        self.may_read()?;
        let first = RangeRequest {
            range: self.range(),
            limit: 1,
            order: SortOrder::Ascend,
            sort_by: SortKey::Create,
            ..RangeRequest::default()
        };
        let found = self.etcd.store.range(first).await.map_err(into_status)?;
        Ok((found.header, found.kvs.into_iter().next()))
    }
}

/// Gives a place up when its owner stops waiting: its call was cancelled.
struct Leaving {
    etcd: Etcd,
    credentials: Credentials,
    place: Option<Place>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let (etcd, credentials) = (self.etcd.clone(), self.credentials.clone());
        tokio::spawn(async move {
            let queue = Queue::new(&etcd, credentials, Bytes::new());
            // If it fails, the lease's end does it.
            let _ = queue.leave(&place).await;
        });
    }
}
