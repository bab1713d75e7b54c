//! How a replica is doing, asked and measured when somebody wants to know.

use crate::peers::Lane;
use crate::replica::Replica;
use crate::store::ReplicatedStore;
use crate::wire::HelloRequest;
use futures::future::join_all;
use kontiki_mvcc::Command;
use kontiki_store::{
    DeleteRangeRequest, Diagnosis, KeyRange, Op, PeerDiagnosis, StoreError, TxnRequest,
};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// A key that nobody has: deleting it takes a write's whole way and changes nothing.
const PROBE: &[u8] = b"\0kontiki/write-probe";

impl ReplicatedStore {
    pub(crate) async fn examine(&self, write_probe: bool) -> Diagnosis {
        let replica = &self.replica;
        let peers = replica.members().into_iter();
        let peers = peers.filter(|member| member.id != replica.id());
        let peers = join_all(peers.map(|member| peer(replica, member.id)));
        let probe = async {
            match write_probe {
                true => Some(self.probe().await),
                false => None,
            }
        };
        let (peers, write_probe) = tokio::join!(peers, probe);
        Diagnosis {
            fsync_p99: replica.metrics.fsyncs.p99(),
            log_bytes: replica.wal.health().bytes,
            disk_free_bytes: free_bytes(&replica.config.data_dir),
            write_probe,
            feature_level: replica.content.feature_level(),
            remarks: replica
                .config
                .remarks
                .as_ref()
                .map_or_else(Vec::new, |remarks| remarks()),
            peers,
        }
    }

    async fn probe(&self) -> Result<Duration, StoreError> {
        let delete = DeleteRangeRequest {
            range: KeyRange::one(PROBE),
            prev_kv: false,
        };
        let txn = TxnRequest {
            success: vec![Op::DeleteRange(delete)],
            ..TxnRequest::default()
        };
        let began = Instant::now();
        self.propose(Command::Txn(txn)).await?;
        Ok(began.elapsed())
    }
}

async fn peer(replica: &Replica, id: u64) -> PeerDiagnosis {
    let node = replica.peer_node(id);
    let mut client = replica.peers.client(id, &node.peer_address, Lane::Control);
    let hello = HelloRequest {
        member: Some(replica.own_member()),
    };
    let began = Instant::now();
    let answer = tokio::time::timeout(replica.round_trip_max(), client.hello(hello)).await;
    let round_trip = matches!(answer, Ok(Ok(_))).then(|| began.elapsed());
    PeerDiagnosis {
        id,
        name: node.name,
        round_trip,
        lag_entries: lag(replica, id),
    }
}

/// Entries that the leader has and the member lacks; only the leader knows.
fn lag(replica: &Replica, id: u64) -> Option<u64> {
    let metrics = replica.raft_metrics();
    let matched = metrics.replication.as_ref()?.get(&id)?.as_ref();
    let last = metrics.last_log_index.unwrap_or(0);
    Some(last.saturating_sub(matched.map_or(0, |matched| matched.index)))
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let disk = nix::sys::statvfs::statvfs(dir).ok()?;
    // Their widths differ from one architecture to the next.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let bytes = (disk.blocks_available() as u64).checked_mul(disk.fragment_size() as u64);
    bytes
}
