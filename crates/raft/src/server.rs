//! The peers' service.

use crate::agreement;
use crate::formation;
use crate::loss;
use crate::members;
use crate::peers::{MESSAGE_BYTES_MAX, META_CLUSTER, META_FROM, META_TO};
use crate::position::Position;
use crate::raft_network::checksum;
use crate::replica::{Proposed, Replica};
use crate::snapshot::SnapshotContent;
use crate::types::{LogIdT, Proposal, TypeConfig, VoteT, decode_entry};
use crate::wire::{self, append_response, peer_server, propose_response, snapshot_request};
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const ANSWERS_WAITING: usize = 64;
/// Forwarded proposals of one peer that may be under way.
const PROPOSALS_MAX: usize = 256;

/// Answers peers on behalf of a replica.
#[derive(Clone)]
pub(crate) struct PeerService {
    pub replica: Arc<Replica>,
}

impl PeerService {
    pub(crate) fn into_server(self) -> peer_server::PeerServer<Self> {
        peer_server::PeerServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Who calls; refuses strangers and calls that are meant for another.
    fn caller<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let number = |name: &str| {
            let value = request.metadata().get(name)?.to_str().ok()?;
            value.parse::<u64>().ok()
        };
        let (Some(cluster), Some(from), Some(to)) =
            (number(META_CLUSTER), number(META_FROM), number(META_TO))
        else {
            return Err(Status::invalid_argument(
                "the call does not say who calls whom",
            ));
        };
        let own = &self.replica.identity;
        if cluster != own.cluster_id {
            let text = format!(
                "this member belongs to cluster {:x}, the caller to {cluster:x}",
                own.cluster_id
            );
            self.replica
                .status
                .trouble("cluster", Some(format!("member {from:x} called: {text}")));
            return Err(Status::failed_precondition(text));
        }
        if to != own.member_id {
            let text = format!("this is member {:x}, not {to:x}", own.member_id);
            return Err(Status::failed_precondition(text));
        }
        Ok(from)
    }

    /// Like [`Self::caller`], for what only a member may take part in whose
    /// disk the membership names: see `formation`.
    fn admitted<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let from = self.caller(request)?;
        if self.replica.is_admitted() {
            return Ok(from);
        }
        Err(Status::unavailable(
            "this member's disk is new; it takes part once it is admitted",
        ))
    }
}

fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this replica has stopped: {error}"))
}

/// The next request of a replication stream.
async fn next_append(
    replica: &Replica,
    from: u64,
    messages: &mut Streaming<wire::AppendRequest>,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    match messages.message().await {
        Ok(Some(message)) => {
            loss::check(replica, &message).await?;
            append_request(message)
        }
        Ok(None) => Err(Status::ok("it is at its end")),
        Err(status) => {
            // The connection broke: the leader may be gone. A full queue holds
            // the same suspicion already.
            let _ = replica.suspects.try_send(from);
            Err(status)
        }
    }
}

pub(crate) fn append_request(
    message: wire::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    if checksum(&message.entries) != message.crc32c {
        return Err(Status::data_loss("entries were damaged on their way"));
    }
    let entries: Result<Vec<_>, _> = message.entries.into_iter().map(decode_entry).collect();
    Ok(AppendEntriesRequest {
        vote: VoteT::from(message.vote.unwrap_or_default()),
        prev_log_id: message.prev_log_id.map(LogIdT::from),
        entries: entries.map_err(|error| Status::invalid_argument(error.to_string()))?,
        leader_commit: message.leader_commit.map(LogIdT::from),
    })
}

fn append_response(
    result: Result<Option<LogIdT>, StreamAppendError<TypeConfig>>,
) -> wire::AppendResponse {
    use append_response::Result as R;
    let result = match result {
        Ok(log_id) => R::Matched(wire::Matched {
            log_id: log_id.map(Into::into),
        }),
        Err(StreamAppendError::Conflict(log_id)) => R::Conflict(log_id.into()),
        Err(StreamAppendError::HigherVote(vote)) => R::HigherVote(vote.into()),
    };
    wire::AppendResponse {
        result: Some(result),
    }
}

fn vote_request(message: wire::VoteRequest) -> VoteRequest<TypeConfig> {
    let vote = VoteT::from(message.vote.unwrap_or_default());
    let mut request = VoteRequest::new(vote, message.last_log_id.map(LogIdT::from));
    request.leadership_transfer = message.leadership_transfer;
    request
}

fn vote_response(
    response: openraft::raft::VoteResponse<TypeConfig>,
) -> Response<wire::VoteResponse> {
    Response::new(wire::VoteResponse {
        vote: Some(response.vote.into()),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.map(Into::into),
    })
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        // A member without a past cannot say which cluster it means; its
        // certificate is all that is asked of it.
        let cluster = request.metadata().get(META_CLUSTER);
        let from = if cluster.is_some_and(|cluster| cluster == "0") {
            0
        } else {
            self.caller(&request)?
        };
        let replica = &self.replica;
        Ok(Response::new(wire::HelloResponse {
            cluster_id: replica.identity.cluster_id,
            removed: members::was_removed(replica, from),
            member: Some(replica.own_member()),
            initialized: formation::is_initialized(replica),
            leader_id: replica.leader_now().unwrap_or_default(),
            members: replica.members(),
            feature_level: agreement::FEATURE_LEVEL,
            last_log_id: replica.last_log_id().await.map(Into::into),
        }))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let from = self.caller(&request)?;
        let wire::JoinRequest { member, moved } = request.into_inner();
        let member = member.filter(|member| member.id == from);
        let member =
            member.ok_or_else(|| Status::invalid_argument("a member can only ask for itself"))?;
        Ok(Response::new(
            formation::take_back(&self.replica, member, moved).await,
        ))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        self.admitted(&request)?;
        self.replica
            .raft
            .vote(vote_request(request.into_inner()))
            .await
            .map(vote_response)
            .map_err(fatal)
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        self.admitted(&request)?;
        self.replica
            .raft
            .pre_vote(vote_request(request.into_inner()))
            .await
            .map(vote_response)
            .map_err(fatal)
    }

    type AppendStream = BoxStream<'static, Result<wire::AppendResponse, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.admitted(&request)?;
        let requests = futures::stream::unfold(
            (self.replica.clone(), request.into_inner()),
            move |(replica, mut messages)| async move {
                match next_append(&replica, from, &mut messages).await {
                    Ok(request) => Some((request, (replica, messages))),
                    Err(status) => {
                        tracing::debug!(peer = from, %status, "a replication stream ended");
                        None
                    }
                }
            },
        );
        // The library wants a stream that can be moved.
        let requests = Box::pin(requests);
        let answers = self.replica.raft.stream_append(requests);
        let answers = answers.map(|answer| answer.map(append_response).map_err(fatal));
        Ok(Response::new(answers.boxed()))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotRequest>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        self.admitted(&request)?;
        let vote = receive_snapshot(&self.replica, request.into_inner()).await?;
        Ok(Response::new(wire::SnapshotResponse {
            vote: Some(vote.into()),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        self.admitted(&request)?;
        let message = request.into_inner();
        let vote = VoteT::from(message.from_leader.unwrap_or_default());
        let transfer =
            TransferLeaderRequest::new(vote, message.to, message.last_log_id.map(LogIdT::from));
        let answer = self
            .replica
            .raft
            .handle_transfer_leader(transfer)
            .await
            .map_err(fatal)?;
        let reason = answer
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        Ok(Response::new(wire::TransferLeaderResponse {
            accepted: answer.is_ok(),
            reason,
        }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        self.caller(&request)?;
        let index = self
            .replica
            .confirmed_index()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(wire::ReadIndexResponse { index }))
    }

    type ProposeStream = ReceiverStream<Result<wire::ProposeResponse, Status>>;

    async fn propose(
        &self,
        request: Request<Streaming<wire::ProposeRequest>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        self.caller(&request)?;
        let (answers, receiver) = mpsc::channel(ANSWERS_WAITING);
        tokio::spawn(serve_proposals(
            self.replica.clone(),
            request.into_inner(),
            answers,
        ));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn change_member(
        &self,
        request: Request<wire::ChangeMemberRequest>,
    ) -> Result<Response<wire::ChangeMemberResponse>, Status> {
        self.caller(&request)?;
        let change = serde_json::from_slice(&request.into_inner().change)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let changed = members::change(&self.replica, change).await?;
        let answer = members::encode_answer(changed);
        Ok(Response::new(wire::ChangeMemberResponse { answer }))
    }

    async fn hash_kv(
        &self,
        request: Request<wire::HashKvRequest>,
    ) -> Result<Response<wire::HashKvResponse>, Status> {
        self.caller(&request)?;
        let revision = request.into_inner().revision;
        let hash = agreement::hash_for_peer(&self.replica, revision).await?;
        Ok(Response::new(hash))
    }

    async fn keep_alive(
        &self,
        request: Request<wire::KeepAliveRequest>,
    ) -> Result<Response<wire::KeepAliveResponse>, Status> {
        self.caller(&request)?;
        let ttl_seconds = renew_lease(&self.replica, request.into_inner().lease).await?;
        Ok(Response::new(wire::KeepAliveResponse { ttl_seconds }))
    }

    async fn time_to_live(
        &self,
        request: Request<wire::TimeToLiveRequest>,
    ) -> Result<Response<wire::TimeToLiveResponse>, Status> {
        self.caller(&request)?;
        leases_known(&self.replica).await?;
        let remaining = self.replica.lessor.remaining(request.into_inner().lease);
        let ttl_seconds =
            remaining.map_err(|_| Status::unavailable("this member does not lead"))?;
        Ok(Response::new(wire::TimeToLiveResponse { ttl_seconds }))
    }
}

/// Renews a lease as the leader. A quorum confirms the leadership first: a
/// leader that was replaced must not promise time that its successor does not know of.
pub(crate) async fn renew_lease(replica: &Replica, lease: i64) -> Result<i64, Status> {
    leases_known(replica).await?;
    replica
        .lessor
        .renew(lease)
        .map_err(|_| Status::unavailable("this member does not lead"))
}

/// Waits until this leader has applied what a quorum confirms: a lease that was
/// granted elsewhere a moment ago is not one that does not exist.
async fn leases_known(replica: &Replica) -> Result<(), Status> {
    let confirmed = replica.confirmed_index().await;
    let confirmed = confirmed.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut applied = replica.applied.clone();
    match applied.wait_for(|applied| *applied >= confirmed).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Status::unavailable("this member stops")),
    }
}

/// Proposes what a peer forwards; ends when its stream does.
async fn serve_proposals(
    replica: Arc<Replica>,
    mut requests: Streaming<wire::ProposeRequest>,
    answers: mpsc::Sender<Result<wire::ProposeResponse, Status>>,
) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            // The answers first: there are never more of them than requests.
            Some((sequence, proposed)) = under_way.next() => {
                let result = match proposed {
                    Proposed::Committed => propose_response::Result::Committed,
                    Proposed::Refused => propose_response::Result::NotLeader,
                    Proposed::Unknown => propose_response::Result::Unknown,
                };
                let response = wire::ProposeResponse { sequence, result: result.into() };
                if answers.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            request = requests.next(), if under_way.len() < PROPOSALS_MAX => {
                let Some(Ok(request)) = request else { return };
                if crc32c::crc32c(&request.proposal) != request.crc32c {
                    let _ = answers.send(Err(Status::data_loss("a proposal was damaged on its way"))).await;
                    return;
                }
                let replica = replica.clone();
                under_way.push(async move {
                    let proposed = replica.propose_here(Proposal(request.proposal)).await;
                    (request.sequence, proposed)
                });
            }
        }
    }
}

async fn receive_snapshot(
    replica: &Replica,
    mut requests: Streaming<wire::SnapshotRequest>,
) -> Result<VoteT, Status> {
    use snapshot_request::Part;
    let refused = |error: &dyn std::fmt::Display| Status::aborted(error.to_string());
    let Some(Part::Start(start)) = requests.message().await?.and_then(|request| request.part)
    else {
        return Err(Status::invalid_argument("a snapshot begins with its start"));
    };
    let position = Position::decode(Some(start.position)).map_err(|error| refused(&error))?;
    let mut installer = replica.content.install().map_err(|error| refused(&error))?;
    let mut chunks = 0;
    loop {
        match requests.message().await?.and_then(|request| request.part) {
            Some(Part::Chunk(chunk)) => {
                if crc32c::crc32c(&chunk.data) != chunk.crc32c {
                    return Err(Status::data_loss("a snapshot chunk was damaged on its way"));
                }
                chunks += 1;
                // Off this thread: the engine may have to wait for its disk.
                let push = move || {
                    let pushed = installer.push(chunk.data);
                    (installer, pushed)
                };
                let pushed = replica.workers.run(push).await;
                let (back, pushed) = pushed.map_err(|error| refused(&error))?;
                pushed.map_err(|error| refused(&error))?;
                installer = back;
            }
            Some(Part::End(end)) if end.chunks == chunks => break,
            _ => {
                return Err(Status::aborted(
                    "the snapshot came incomplete; send it again",
                ));
            }
        }
    }
    let meta = SnapshotMetaOf::<TypeConfig> {
        last_log_id: position.applied,
        last_membership: position.membership,
    };
    let snapshot = SnapshotOf::<TypeConfig, SnapshotContent> {
        meta,
        snapshot: SnapshotContent::Incoming(Box::new(installer)),
    };
    let vote = VoteT::from(start.vote.unwrap_or_default());
    let response = replica
        .raft
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(fatal)?;
    Ok(response.vote)
}
