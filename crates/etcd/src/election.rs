//! The Election service: whoever is first in the line under a name leads, with
//! the value of its key.

use crate::auth::Credentials;
use crate::convert::key_value;
use crate::error::into_status;
use crate::pb::v3electionpb as pb;
use crate::queue::{Place, Queue};
use crate::server::{Etcd, Responses};
use kontiki_store::{
    EventKind, Header, KeyRange, KeyValue, Op, PutRequest, Revision, StoreError, WatchItem,
    WatchRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, async_trait};

/// Leaders that wait for a slow observer.
const LEADERS_WAITING: usize = 16;

fn no_leader() -> Status {
    Status::new(Code::Unknown, "election: no leader")
}

fn place(leader: Option<pb::LeaderKey>) -> Result<(bytes::Bytes, Place), Status> {
    let leader =
        leader.ok_or_else(|| Status::invalid_argument("\"leader\" field must be provided"))?;
    let place = Place {
        key: leader.key,
        created: leader.rev,
        lease: leader.lease,
    };
    Ok((leader.name, place))
}

#[async_trait]
impl pb::election_server::Election for Etcd {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        let queue = Queue::new(self, credentials, request.name.clone());
        let place = queue.enter(request.lease, request.value).await?;
        let header = queue.wait_turn(&place).await?;
        Ok(Response::new(pb::CampaignResponse {
            header: self.answerer().header(header),
            leader: Some(pb::LeaderKey {
                name: request.name,
                key: place.key,
                rev: place.created,
                lease: place.lease,
            }),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        let (name, place) = place(request.leader)?;
        let put = Op::Put(PutRequest {
            key: place.key.clone(),
            value: request.value,
            lease: place.lease,
            ..PutRequest::default()
        });
        let header = Queue::new(self, credentials, name)
            .change(&place, put)
            .await?;
        Ok(Response::new(pb::ProclaimResponse {
            header: self.answerer().header(header),
        }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let credentials = Credentials::of(&request);
        let queue = Queue::new(self, credentials, request.into_inner().name);
        let (header, first) = queue.first().await?;
        let first = first.ok_or_else(no_leader)?;
        Ok(Response::new(self.leads(header, first)))
    }

    type ObserveStream = Responses<pb::LeaderResponse>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let credentials = Credentials::of(&request);
        let name = request.into_inner().name;
        // Refused at once if it may not be read.
        Queue::new(self, credentials.clone(), name.clone())
            .first()
            .await?;
        let (leaders, receiver) = mpsc::channel(LEADERS_WAITING);
        let etcd = self.clone();
        tokio::spawn(async move {
            let gone = leaders.clone();
            tokio::select! {
                () = gone.closed() => {}
                Err(status) = etcd.observe_until_failure(credentials, name, &leaders) => {
                    let _ = leaders.send(Err(status)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let credentials = Credentials::of(&request);
        let (name, place) = place(request.into_inner().leader)?;
        let header = Queue::new(self, credentials, name).leave(&place).await?;
        Ok(Response::new(pb::ResignResponse {
            header: self.answerer().header(header),
        }))
    }
}

impl Etcd {
    fn leads(&self, header: Header, kv: KeyValue) -> pb::LeaderResponse {
        pb::LeaderResponse {
            header: self.answerer().header(header),
            kv: Some(key_value(kv)),
        }
    }

    /// Sends every leader and every value that one proclaims.
    async fn observe_until_failure(
        &self,
        credentials: Credentials,
        name: bytes::Bytes,
        leaders: &mpsc::Sender<Result<pb::LeaderResponse, Status>>,
    ) -> Result<(), Status> {
        let queue = Queue::new(self, credentials, name.clone());
        let mut prefix = name.to_vec();
        prefix.push(b'/');
        let mut told: Option<(bytes::Bytes, Revision)> = None;
        loop {
            let (header, first) = queue.first().await?;
            let watched = match &first {
                Some(kv) => KeyRange::one(kv.key.clone()),
                None => KeyRange::prefix(prefix.clone()),
            };
            if let Some(kv) = first {
                let news = (kv.key.clone(), kv.mod_revision);
                if told.as_ref() != Some(&news) {
                    told = Some(news);
                    if leaders.send(Ok(self.leads(header, kv))).await.is_err() {
                        return Ok(());
                    }
                }
            }
            self.until_changed(watched, header.revision + 1, leaders, &mut told)
                .await?;
        }
    }

    /// Ends when the leader is gone, or when there is one.
    async fn until_changed(
        &self,
        range: KeyRange,
        start_revision: Revision,
        leaders: &mpsc::Sender<Result<pb::LeaderResponse, Status>>,
        told: &mut Option<(bytes::Bytes, Revision)>,
    ) -> Result<(), Status> {
        let one = range.is_one();
        let request = WatchRequest {
            range,
            start_revision,
            ..WatchRequest::default()
        };
        let mut watch = self.store.watch(request).await.map_err(into_status)?;
        loop {
            match watch.next().await {
                Some(WatchItem::Events(batch)) => {
                    for event in &batch.events {
                        if !one || event.kind == EventKind::Delete {
                            return Ok(());
                        }
                        let header = Header {
                            revision: batch.revision,
                            ..Header::default()
                        };
                        *told = Some((event.kv.key.clone(), event.kv.mod_revision));
                        let leader = self.leads(header, event.kv.clone());
                        if leaders.send(Ok(leader)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                Some(WatchItem::Progress(_)) => {}
                Some(WatchItem::Compacted { .. }) => return Ok(()),
                None => return Err(into_status(StoreError::Stopped)),
            }
        }
    }
}
