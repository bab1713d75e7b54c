//! The replicated store, a whole cluster of it, in one process and from one seed.
//!
//! Every member is the store's own code on a runtime of its own, whose clock
//! only moves when the simulation moves it; disks and the network between them
//! are simulated. Members are moved one after the other, a millisecond at a
//! time, all on the calling thread, so that a seed replays exactly. Clients work
//! on the cluster while it is troubled: processes are killed, machines lose
//! power in the middle of a write, links are cut one way or both, disks are
//! slow, full, failing, damaged or lost, processes freeze, clocks run at
//! different speeds. What the clients saw goes to `kontiki-checker`.
//!
//! **Invariants**
//! - Nothing here depends on real time, on another thread, or on the order of a
//!   hash map: the same seed gives the same trace.
//! - The store's code is not changed for it; [`Bug`]s are planted from outside.

mod bugs;
mod engine;
mod ledger;
mod nemesis;
mod network;
mod node;
mod operator;
mod panics;
mod simulation;
mod watchers;
mod workload;
mod world;

pub use bugs::Bug;
pub use nemesis::Troubles;
pub use simulation::{Failure, Plan, Report, simulate};
