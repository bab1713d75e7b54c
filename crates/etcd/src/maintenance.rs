//! The Maintenance service.

use crate::auth::refused;
use crate::error::into_status;
use crate::pb::etcdserverpb::{self as pb, alarm_request::AlarmAction};
use crate::server::{Etcd, Responses, VERSION};
use crate::snapshot::{self, SnapshotError};
use bytes::Bytes;
use kontiki_store::{Alarm, AlarmKind, Header, StoreError, StoreStatus};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

/// Bytes of a snapshot in one message.
const BLOB_BYTES: usize = 64 << 10;
/// Messages that wait for a slow client.
const BLOBS_WAITING: usize = 8;
const RPC_UNSUPPORTED: &str = "etcdserver: downgrades are not supported: the store's data is not that of another etcd version; move by a snapshot";

impl Etcd {
    pub(crate) fn status_header(&self, status: &StoreStatus) -> Option<pb::ResponseHeader> {
        self.answerer().header(Header {
            revision: status.revision,
            raft_term: status.raft_term,
        })
    }

    pub(crate) fn current(&self) -> StoreStatus {
        self.store.status().borrow().clone()
    }

    pub(crate) fn current_header(&self) -> Option<pb::ResponseHeader> {
        self.status_header(&self.current())
    }
}

fn wire_alarm(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember {
        member_id: alarm.member_id,
        alarm: kind.into(),
    }
}

/// What is wrong, with the alarms in etcd's words.
fn errors(status: &StoreStatus, alarms: &[Alarm]) -> Vec<String> {
    let mut errors = status.errors.clone();
    if status.leader_id == 0 {
        errors.push(StoreError::NoLeader.to_string());
    }
    for alarm in alarms {
        let kind = wire_alarm(*alarm);
        errors.push(format!(
            "memberID:{} alarm:{} ",
            kind.member_id,
            kind.alarm().as_str_name()
        ));
    }
    errors
}

#[async_trait]
impl pb::maintenance_server::Maintenance for Etcd {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let request = request.into_inner();
        let kind = match request.alarm() {
            pb::AlarmType::None => None,
            pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
            pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
        };
        let member = |id: u64| {
            if id == 0 {
                self.current().member_id
            } else {
                id
            }
        };
        let mut alarms = match request.action() {
            AlarmAction::Get => self.store.alarms().await.map_err(into_status)?,
            AlarmAction::Activate => {
                let kind =
                    kind.ok_or_else(|| Status::invalid_argument("etcdserver: no alarm is named"))?;
                let member_id = member(request.member_id);
                let alarm = Alarm { member_id, kind };
                self.store
                    .set_alarm(alarm, true)
                    .await
                    .map_err(into_status)?;
                vec![alarm]
            }
            AlarmAction::Deactivate => {
                let mut ended = self.store.alarms().await.map_err(into_status)?;
                ended.retain(|alarm| {
                    (request.member_id == 0 || alarm.member_id == request.member_id)
                        && kind.is_none_or(|kind| kind == alarm.kind)
                });
                for alarm in &ended {
                    self.store
                        .set_alarm(*alarm, false)
                        .await
                        .map_err(into_status)?;
                }
                ended
            }
        };
        if request.action() == AlarmAction::Get {
            alarms.retain(|alarm| kind.is_none_or(|kind| kind == alarm.kind));
        }
        Ok(Response::new(pb::AlarmResponse {
            header: self.current_header(),
            alarms: alarms.into_iter().map(wire_alarm).collect(),
        }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.permit(&request)?.known().map_err(refused)?;
        let status = self.current();
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        // A member that has lost the others answers with what it knows.
        let alarms = self.store.local_alarms();
        Ok(Response::new(pb::StatusResponse {
            header: self.status_header(&status),
            version: VERSION.to_owned(),
            db_size: size(status.db_size_bytes),
            leader: status.leader_id,
            raft_index: status.raft_index,
            raft_term: status.raft_term,
            raft_applied_index: status.applied_index,
            errors: errors(&status, &alarms),
            db_size_in_use: size(status.db_size_in_use_bytes),
            is_learner: status.is_learner,
            storage_version: VERSION.to_owned(),
            db_size_quota: size(status.db_quota_bytes),
        }))
    }

    /// The engine reuses space by itself; there is nothing to do, and the log says so.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        tracing::info!("defragment: nothing to do, space is reused while the store runs");
        Ok(Response::new(pb::DefragmentResponse {
            header: self.current_header(),
        }))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let hash = self.store.hash().await.map_err(into_status)?;
        Ok(Response::new(pb::HashResponse {
            header: self.current_header(),
            hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let revision = request.into_inner().revision;
        let hash = self.store.hash_kv(revision).await.map_err(into_status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.answerer().header(hash.header),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        }))
    }

    type SnapshotStream = Responses<pb::SnapshotResponse>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let dump = self.store.dump().await.map_err(into_status)?;
        let header = self.answerer().header(dump.header);
        let (dir, scheme) = (self.options.snapshot_dir.clone(), self.options.peer_scheme);
        let (blobs, receiver) = mpsc::channel(BLOBS_WAITING);
        tokio::task::spawn_blocking(move || {
            let written = tempfile::tempfile_in(&dir)
                .map_err(|error| SnapshotError::Io(dir.display().to_string(), error))
                .and_then(|file| snapshot::write(dump, scheme, file));
            let failed = match written {
                Ok((file, bytes)) => send(file, bytes, header, &blobs),
                Err(error) => Err(error),
            };
            if let Err(error) = failed {
                tracing::warn!(%error, "a snapshot could not be sent");
                let _ = blobs.blocking_send(Err(Status::unknown(error.to_string())));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let to = request.into_inner().target_id;
        self.store.move_leader(to).await.map_err(into_status)?;
        Ok(Response::new(pb::MoveLeaderResponse {
            header: self.current_header(),
        }))
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Status::unimplemented(RPC_UNSUPPORTED))
    }
}

/// Sends the file and, last, its SHA-256, as etcd does.
fn send(
    mut file: File,
    bytes: u64,
    header: Option<pb::ResponseHeader>,
    blobs: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
) -> Result<(), SnapshotError> {
    let io = |error| SnapshotError::Io("the snapshot".to_owned(), error);
    std::io::Seek::rewind(&mut file).map_err(io)?;
    let mut digest = Sha256::new();
    let mut left = bytes;
    let part = |blob: Bytes, remaining_bytes| pb::SnapshotResponse {
        header,
        remaining_bytes,
        blob,
        version: VERSION.to_owned(),
    };
    while left > 0 {
        let mut blob = vec![0; BLOB_BYTES.min(usize::try_from(left).unwrap_or(BLOB_BYTES))];
        file.read_exact(&mut blob).map_err(io)?;
        digest.update(&blob);
        left -= blob.len() as u64;
        if blobs.blocking_send(Ok(part(blob.into(), left))).is_err() {
            // The client is gone.
            return Ok(());
        }
    }
    let sum = Bytes::copy_from_slice(&digest.finalize());
    let _ = blobs.blocking_send(Ok(part(sum, 0)));
    Ok(())
}
