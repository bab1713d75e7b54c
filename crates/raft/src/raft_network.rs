//! Raft's calls to its peers over gRPC.

use crate::peers::{Client, Lane, Peers};
use crate::pulse::Pulse;
use crate::snapshot::SnapshotContent;
use crate::types::{LogIdT, PeerNode, TypeConfig, VoteT, encode_entry};
use crate::wire::{self, append_response, snapshot_request};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotContent>;
type BoxFuture<'a, T> = futures::future::BoxFuture<'a, T>;

/// Snapshot requests that wait in memory to be sent.
const SNAPSHOT_REQUESTS_WAITING: usize = 4;
/// A snapshot transfer that moves nothing for this long is given up.
const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(30);

/// Makes the clients.
pub(crate) struct NetworkFactory {
    pub peers: Arc<Peers>,
}

/// Calls one peer.
pub(crate) struct PeerLink {
    peers: Arc<Peers>,
    target: u64,
    /// Its disk, as the membership names it.
    disk_id: u64,
    /// Its name, for people.
    name: String,
    /// Whether it carries the heartbeats, which never pause: the peer's loss is told by them.
    beats: bool,
    /// The stream of the heartbeats, while it is open.
    pulse: Option<Pulse>,
    /// Whether the last append went wrong.
    lost: bool,
    /// Where it was when the link was made.
    address: String,
}

impl PeerLink {
    /// Looked up for each call: members move.
    fn client(&self, lane: Lane) -> Client {
        self.peers.client(self.target, &self.address, lane)
    }
}

impl NetworkFactory {
    fn link(&self, target: u64, node: &PeerNode, beats: bool) -> PeerLink {
        PeerLink {
            peers: self.peers.clone(),
            target,
            disk_id: node.disk_id,
            name: node.name.clone(),
            beats,
            pulse: None,
            lost: false,
            address: node.peer_address.clone(),
        }
    }
}

impl PeerLink {
    /// Tells once that the peer is away, and once that it is back.
    fn note<T>(&mut self, outcome: &Result<T, RPCError<TypeConfig>>) {
        if !self.beats {
            return;
        }
        match outcome {
            Err(error) if !self.lost => {
                tracing::warn!(peer = self.name, %error, "a peer cannot be reached");
            }
            Ok(_) if self.lost => tracing::info!(peer = self.name, "a peer is reached again"),
            _ => {}
        }
        self.lost = outcome.is_err();
    }

    /// A heartbeat and its answer.
    async fn beat(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        limit: Duration,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        let mut message = append_request(&request);
        // Put back only after an answer after which the stream goes on.
        let open = self.pulse.take();
        let call = async {
            let mut pulse = match open {
                Some(pulse) => pulse,
                None => {
                    let disk = (self.target, self.disk_id);
                    message.acknowledged = self.peers.acknowledged.to(disk, request.vote);
                    Pulse::open(self.client(Lane::Control)).await?
                }
            };
            let answer = append_result(pulse.beat(message).await?)?;
            Ok((pulse, answer))
        };
        let (pulse, answer) = match tokio::time::timeout(limit, call).await {
            Ok(answered) => answered.map_err(|status: Status| failed(&status))?,
            Err(_) => return Err(timed_out()),
        };
        self.pulse = answer.is_ok().then_some(pulse);
        Ok(answer)
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = PeerLink;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> PeerLink {
        self.link(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> PeerLink {
        self.link(target, node, true)
    }
}

fn unreachable(status: &Status) -> Unreachable<TypeConfig> {
    Unreachable::from_string(format!("{:?}: {}", status.code(), status.message()))
}

fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::FailedPrecondition => {
            RPCError::Unreachable(unreachable(status))
        }
        _ => RPCError::Network(NetworkError::new(&AnyError::error(format!(
            "{:?}: {}",
            status.code(),
            status.message()
        )))),
    }
}

fn timed_out() -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string("the peer did not answer in time"))
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, RPCError<TypeConfig>> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failed(&status)),
        Err(_) => Err(timed_out()),
    }
}

fn append_request(request: &AppendEntriesRequest<TypeConfig>) -> wire::AppendRequest {
    let entries: Vec<Bytes> = request.entries.iter().map(encode_entry).collect();
    wire::AppendRequest {
        vote: Some(request.vote.into()),
        prev_log_id: request.prev_log_id.map(Into::into),
        leader_commit: request.leader_commit.map(Into::into),
        crc32c: checksum(&entries),
        entries,
        acknowledged: None,
    }
}

/// CRC-32C over entries, lengths included.
pub(crate) fn checksum(entries: &[Bytes]) -> u32 {
    entries.iter().fold(0, |crc, entry| {
        let crc = crc32c::crc32c_append(crc, &(entry.len() as u64).to_le_bytes());
        crc32c::crc32c_append(crc, entry)
    })
}

fn append_result(response: wire::AppendResponse) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use append_response::Result as R;
    match response.result {
        Some(R::Matched(matched)) => Ok(Ok(matched.log_id.map(LogIdT::from))),
        Some(R::Conflict(log_id)) => Ok(Err(StreamAppendError::Conflict(log_id.into()))),
        Some(R::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote.into()))),
        None => Err(Status::internal("an append was answered with nothing")),
    }
}

fn vote_request(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(request.vote.into()),
        last_log_id: request.last_log_id.map(Into::into),
        leadership_transfer: request.leadership_transfer,
    }
}

fn vote_response(response: wire::VoteResponse) -> VoteResponse<TypeConfig> {
    let vote = VoteT::from(response.vote.unwrap_or_default());
    VoteResponse::new(
        vote,
        response.last_log_id.map(LogIdT::from),
        response.granted,
    )
}

impl RaftNetworkV2<TypeConfig> for PeerLink {
    type SnapshotData = SnapshotContent;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let once = Box::pin(futures::stream::once(async move { request }));
        let mut answers = RaftNetworkV2::stream_append(self, once, option).await?;
        match answers.next().await {
            Some(answer) => answer.map(AppendEntriesResponse::from),
            None => Err(RPCError::Unreachable(Unreachable::from_string(
                "the peer closed the stream",
            ))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut input = input;
            // openraft waits out its back-off inside this stream. A peer that is
            // away must not be called before that, or it is called in a hot loop.
            let Some(first) = input.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            if self.beats {
                let answer = self.beat(first, option.soft_ttl()).await;
                self.note(&answer);
                return answer.map(|answer| futures::stream::iter([Ok(answer)]).boxed());
            }
            let (vote, disk) = (first.vote, (self.target, self.disk_id));
            let mut beginning = append_request(&first);
            beginning.acknowledged = self.peers.acknowledged.to(disk, vote);
            let requests = futures::stream::iter([beginning])
                .chain(input.map(|request| append_request(&request)));
            let mut client = self.client(Lane::Replication);
            let answers = within(option.soft_ttl(), client.append(requests)).await;
            let peers = self.peers.clone();
            let answers = answers?.map(move |answer| {
                let answer = answer
                    .and_then(append_result)
                    .map_err(|status| failed(&status));
                if let Ok(Ok(Some(log_id))) = &answer {
                    peers.acknowledged.note(disk, vote, *log_id);
                }
                answer
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client(Lane::Control);
        let call = client.vote(vote_request(&request));
        within(option.soft_ttl(), call).await.map(vote_response)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client(Lane::Control);
        let call = client.pre_vote(vote_request(&request));
        within(option.soft_ttl(), call).await.map(vote_response)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteT,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (requests, receiver) = mpsc::channel(SNAPSHOT_REQUESTS_WAITING);
        tracing::info!(peer = self.target, snapshot = %snapshot.meta, "sending a snapshot");
        let send = send_snapshot(vote, snapshot.snapshot, requests);
        let mut client = self.client(Lane::Snapshots);
        let call = client.snapshot(ReceiverStream::new(receiver));
        let transfer = async {
            // The call ends by itself when the sender stops: a snapshot without
            // an end is refused.
            let (sent, answer) = tokio::join!(send, call);
            sent.and(answer)
        };
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            answer = transfer => match answer {
                Ok(response) => {
                    let vote = response.into_inner().vote.unwrap_or_default();
                    Ok(SnapshotResponse::new(vote.into()))
                }
                Err(status) => Err(unreachable(&status).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = wire::TransferLeaderRequest {
            from_leader: Some((*request.from_leader()).into()),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().copied().map(Into::into),
        };
        let mut client = self.client(Lane::Control);
        let answer = within(option.soft_ttl(), client.transfer_leader(message)).await?;
        if answer.accepted {
            return Ok(Ok(()));
        }
        let expected = request.last_log_id().copied();
        Ok(Err(TransferLeaderError::LogNotFlushed {
            expected,
            actual: None,
        }))
    }
}

async fn send_snapshot(
    vote: VoteT,
    content: SnapshotContent,
    requests: mpsc::Sender<wire::SnapshotRequest>,
) -> Result<(), Status> {
    use snapshot_request::Part;
    let SnapshotContent::Outgoing(mut reader) = content else {
        return Err(Status::internal("this snapshot is not there to be sent"));
    };
    let send = |part| {
        let requests = requests.clone();
        async move {
            let sent = requests.send_timeout(
                wire::SnapshotRequest { part: Some(part) },
                SNAPSHOT_STALL_MAX,
            );
            sent.await
                .map_err(|_| Status::aborted("the peer stopped taking the snapshot"))
        }
    };
    let position = reader.meta().unwrap_or_default();
    send(Part::Start(wire::SnapshotStart {
        vote: Some(vote.into()),
        position,
    }))
    .await?;
    let mut chunks = 0;
    while let Some(chunk) = reader.next().await {
        let data = chunk.map_err(|error| Status::internal(error.to_string()))?;
        chunks += 1;
        let crc32c = crc32c::crc32c(&data);
        send(Part::Chunk(wire::SnapshotChunk { data, crc32c })).await?;
    }
    send(Part::End(wire::SnapshotEnd { chunks })).await
}
