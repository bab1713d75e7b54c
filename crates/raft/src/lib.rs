//! The replicated store: [`ReplicatedStore`] is [`kontiki_store::Store`] on a
//! Raft group of peers.
//!
//! Requests are batched into log entries, a quorum writes them to its
//! write-ahead logs, and every replica applies them to its own MVCC state
//! machine, which answers reads and watches locally.
//!
//! **Invariants**
//! - No type of the consensus library is part of this crate's interface.
//! - An acknowledged write is on disk on a quorum and applied where it was asked for.
//! - A linearizable read asked a quorum, through the leader; leases of leaders
//!   are never trusted for reads.
//! - A member whose disk the membership does not name stays silent.

mod agreement;
mod config;
mod corruption;
#[cfg(test)]
mod damage;
mod diagnosis;
mod formation;
mod forward;
mod identity;
mod lessor;
mod log_store;
mod loss;
mod machine;
mod members;
mod metrics;
mod net;
mod operations;
mod peers;
mod position;
mod proposer;
mod pulse;
mod raft_network;
mod random;
mod reads;
mod rebuild;
mod recent;
mod replica;
mod restore;
mod server;
mod snapshot;
mod start;
mod status;
mod store;
mod surviving;
mod suspicion;
mod types;
mod upkeep;
mod waiters;
mod watch;
mod window;
mod workers;

mod wire {
    tonic::include_proto!("kontiki.raft.v1");

    pub(crate) mod state {
        tonic::include_proto!("kontiki.raft.state.v1");
    }
}

pub use agreement::FEATURE_LEVEL;
pub use config::{
    ConfigError, InitialMember, InitialState, PeerTls, Remarks, ReplicatedConfig, StoreLimits,
    Timing, TraceContext,
};
pub use net::{Network, PeerListener, PeerStream, TcpNetwork};
pub use random::seed_this_thread;
pub use rebuild::{RebuildRefusal, await_consent};
pub use restore::{RestoreError, RestorePlan};
pub use start::{Environment, StartError, WallClock};
pub use store::ReplicatedStore;
pub use surviving::{LogEnd, Surviving, SurvivingError};
pub use workers::Workers;
