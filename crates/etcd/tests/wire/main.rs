//! The façade over loopback: its own clients, and `etcdctl` where it is installed.

mod auth;
mod behaviour;
mod client;
mod etcdctl;
mod gateway;
mod golden;
mod incidents;
mod maintenance;
mod range_stream;
mod served;
mod watch;
mod watching;
