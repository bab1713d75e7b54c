//! `kontiki etcd` and `kontiki snapshot`, as processes: driven by `etcdctl`, beside
//! an `etcd` of the distribution where they are installed.

mod alone;
mod certificates;
mod encryption;
mod feeding;
mod members;
mod process;
mod quorum;
mod rebuild;
mod snapshots;
