//! The machines of a test cluster and their addresses.

use std::net::Ipv4Addr;

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs `kontiki server`.
    Server,
    /// Runs containerd and `kontiki agent`.
    Node,
    /// Both of them, for `cargo xtask dev`.
    Both,
    /// Runs clients only.
    Client,
}

/// One machine: a network namespace with one interface on the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name in the cluster, for instance `s1`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its address on the switch.
    pub address: Ipv4Addr,
}

/// A cluster's machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The cluster's name: prefix of its namespaces.
    pub cluster: String,
    /// The machines.
    pub machines: Vec<Machine>,
}

/// Port of the Kubernetes API on every server.
pub const API_PORT: u16 = 6443;
/// Port of the etcd API on every server.
pub const ETCD_PORT: u16 = 2379;
/// Length of the switch's network prefix.
pub const PREFIX: u8 = 24;

impl Topology {
    /// `servers` servers, `nodes` nodes and a client.
    #[must_use]
    pub fn new(cluster: &str, servers: u8, nodes: u8) -> Self {
        let machine = |prefix: &str, number: u8, role, base: u8| Machine {
            name: format!("{prefix}{number}"),
            role,
            address: Ipv4Addr::new(10, 89, 0, base + number),
        };
        let mut machines: Vec<Machine> = (1..=servers)
            .map(|n| machine("s", n, Role::Server, 10))
            .collect();
        machines.extend((1..=nodes).map(|n| machine("n", n, Role::Node, 20)));
        machines.push(Machine {
            name: "client".into(),
            role: Role::Client,
            address: Ipv4Addr::new(10, 89, 0, 31),
        });
        Self {
            cluster: cluster.to_owned(),
            machines,
        }
    }

    /// One machine that is server and node, and a client.
    #[must_use]
    pub fn single(cluster: &str) -> Self {
        let mut topology = Self::new(cluster, 1, 0);
        topology.machines[0].role = Role::Both;
        topology.machines[0].name = "dev".into();
        topology
    }

    /// The machines that run a server.
    pub fn servers(&self) -> impl Iterator<Item = &Machine> {
        self.machines
            .iter()
            .filter(|machine| matches!(machine.role, Role::Server | Role::Both))
    }

    /// The machines that run an agent.
    pub fn nodes(&self) -> impl Iterator<Item = &Machine> {
        self.machines
            .iter()
            .filter(|machine| matches!(machine.role, Role::Node | Role::Both))
    }

    /// The machine of the clients.
    ///
    /// # Panics
    /// Never: every topology has one.
    #[must_use]
    pub fn client(&self) -> &Machine {
        self.machines
            .iter()
            .find(|machine| machine.role == Role::Client)
            .expect("every topology has a client")
    }

    /// The namespace of a machine.
    #[must_use]
    pub fn namespace(&self, machine: &str) -> String {
        format!("{}-{machine}", self.cluster)
    }

    /// The namespace of the switch.
    #[must_use]
    pub fn switch(&self) -> String {
        self.namespace("switch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_machines_share_an_address() {
        let topology = Topology::new("kontiki", 5, 9);
        let addresses: HashSet<Ipv4Addr> = topology
            .machines
            .iter()
            .map(|machine| machine.address)
            .collect();
        assert_eq!(addresses.len(), 15);
        assert_eq!(topology.servers().count(), 5);
        assert_eq!(topology.nodes().count(), 9);
    }

    #[test]
    fn a_single_machine_is_server_and_node() {
        let topology = Topology::single("kontiki-dev");
        assert_eq!(topology.servers().count(), 1);
        assert_eq!(topology.nodes().count(), 1);
    }
}
