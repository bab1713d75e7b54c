//! The façade over loopback: its own clients, and `etcdctl` where it is installed.

mod auth;
mod etcdctl;
mod golden;
mod maintenance;
mod served;
mod watch;
