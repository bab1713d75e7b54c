//! The Cluster and Maintenance services, as far as they only look.

use crate::error::into_status;
use crate::pb::etcdserverpb as pb;
use crate::server::{Etcd, VERSION};
use kontiki_store::{Header, StoreStatus};
use tonic::{Request, Response, Status, async_trait};

impl Etcd {
    fn status_header(&self, status: &StoreStatus) -> Option<pb::ResponseHeader> {
        self.answerer().header(Header {
            revision: status.revision,
            raft_term: status.raft_term,
        })
    }

    fn current(&self) -> StoreStatus {
        self.store.status().borrow().clone()
    }
}

#[async_trait]
impl pb::cluster_server::Cluster for Etcd {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.store.read_barrier().await.map_err(into_status)?;
        }
        let members = self.store.members().await.map_err(into_status)?;
        let members = members.into_iter().map(|member| pb::Member {
            id: member.id,
            name: member.name,
            peer_ur_ls: member
                .peer_addresses
                .into_iter()
                .map(|address| format!("https://{address}"))
                .collect(),
            client_ur_ls: member.client_urls,
            is_learner: member.is_learner,
        });
        // As in etcd, a membership answer carries no revision.
        let header = self.answerer().header(Header {
            raft_term: self.current().raft_term,
            ..Header::default()
        });
        Ok(Response::new(pb::MemberListResponse {
            header,
            members: members.collect(),
        }))
    }
}

#[async_trait]
impl pb::maintenance_server::Maintenance for Etcd {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let action = pb::alarm_request::AlarmAction::try_from(request.into_inner().action);
        if action == Ok(pb::alarm_request::AlarmAction::Activate) {
            return Err(Status::unimplemented(
                "alarms are raised by the store alone",
            ));
        }
        // Alarms clear themselves, so there is never one to list or to disarm.
        Ok(Response::new(pb::AlarmResponse {
            header: self.status_header(&self.current()),
            alarms: Vec::new(),
        }))
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.current();
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(Response::new(pb::StatusResponse {
            header: self.status_header(&status),
            version: VERSION.to_owned(),
            db_size: size(status.db_size_bytes),
            leader: status.leader_id,
            raft_index: status.raft_index,
            raft_term: status.raft_term,
            raft_applied_index: status.applied_index,
            errors: status.errors,
            db_size_in_use: size(status.db_size_in_use_bytes),
            is_learner: status.is_learner,
            storage_version: VERSION.to_owned(),
        }))
    }

    /// The engine reuses space by itself; there is nothing to do.
    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(pb::DefragmentResponse {
            header: self.status_header(&self.current()),
        }))
    }
}
