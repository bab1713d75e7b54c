//! The Cluster service.

use crate::auth::refused;
use crate::error::into_status;
use crate::pb::etcdserverpb as pb;
use crate::server::Etcd;
use kontiki_store::{Header, Member, MemberChange, MemberError};
use tonic::{Request, Response, Status, async_trait};

impl Etcd {
    /// As in etcd, a membership answer carries no revision.
    fn membership_header(&self) -> Option<pb::ResponseHeader> {
        let raft_term = self.store.status().borrow().raft_term;
        self.answerer().header(Header {
            raft_term,
            ..Header::default()
        })
    }

    fn member(&self, member: Member) -> pb::Member {
        let scheme = self.options.peer_scheme;
        let urls = member.peer_addresses.into_iter();
        pb::Member {
            id: member.id,
            name: member.name,
            peer_ur_ls: urls
                .map(|address| format!("{scheme}://{address}"))
                .collect(),
            client_ur_ls: member.client_urls,
            is_learner: member.is_learner,
        }
    }

    fn members(&self, members: Vec<Member>) -> Vec<pb::Member> {
        members
            .into_iter()
            .map(|member| self.member(member))
            .collect()
    }

    async fn change_member(&self, change: MemberChange) -> Result<(Member, Vec<Member>), Status> {
        self.store.change_member(change).await.map_err(into_status)
    }
}

/// `host:port` of the one address that a member has.
fn peer_address(urls: &[String]) -> Result<String, Status> {
    let bad = || into_status(MemberError::BadAddress.into());
    let [url] = urls else {
        return Err(bad());
    };
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(bad)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
    let plain = !host.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']);
    if !plain || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    Ok(rest.to_owned())
}

#[async_trait]
impl pb::cluster_server::Cluster for Etcd {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let request = request.into_inner();
        let change = MemberChange::Add {
            peer_address: peer_address(&request.peer_ur_ls)?,
            learner: request.is_learner,
        };
        let (member, members) = self.change_member(change).await?;
        Ok(Response::new(pb::MemberAddResponse {
            header: self.membership_header(),
            member: Some(self.member(member)),
            members: self.members(members),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let id = request.into_inner().id;
        let (_, members) = self.change_member(MemberChange::Remove { id }).await?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: self.membership_header(),
            members: self.members(members),
        }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let request = request.into_inner();
        let change = MemberChange::Readdress {
            id: request.id,
            peer_address: peer_address(&request.peer_ur_ls)?,
        };
        let (_, members) = self.change_member(change).await?;
        Ok(Response::new(pb::MemberUpdateResponse {
            header: self.membership_header(),
            members: self.members(members),
        }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.store.read_barrier().await.map_err(into_status)?;
        }
        let members = self.store.members().await.map_err(into_status)?;
        Ok(Response::new(pb::MemberListResponse {
            header: self.membership_header(),
            members: self.members(members),
        }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let id = request.into_inner().id;
        let (_, members) = self.change_member(MemberChange::Promote { id }).await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: self.membership_header(),
            members: self.members(members),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_url_is_a_scheme_a_host_and_a_port() {
        let address = |url: &str| peer_address(&[url.to_owned()]).ok();
        assert_eq!(
            address("http://10.0.0.1:2380").as_deref(),
            Some("10.0.0.1:2380")
        );
        assert_eq!(
            address("https://[fd00::1]:2380").as_deref(),
            Some("[fd00::1]:2380")
        );
        for bad in [
            "",
            "10.0.0.1:2380",
            "ftp://h:1",
            "http://h",
            "http://:1",
            "http://h:x",
            "http://h:70000",
            "http://h:1/path",
            "http://u@h:1",
            "unix://x:1",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert!(peer_address(&[]).is_err());
    }
}
