//! Who hears whom: rules of the members' own packet filters.
//!
//! Packets are dropped where they arrive, which looks to both ends as if the
//! network had lost them. Clients' packets are never touched.

use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use xtask::{netns, shell};

/// The part of the packets from one member to another that gets lost, in
/// percent, where it is not none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links(BTreeMap<(usize, usize), u8>);

/// How a member is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Neither hears the other.
    Both,
    /// It hears nobody, but is heard.
    Deaf,
    /// Nobody hears it, but it hears.
    Mute,
}

impl Links {
    /// One member cut off from the others.
    pub(crate) fn cut(members: usize, who: usize, way: Way) -> Self {
        let others = (0..members).filter(|other| *other != who);
        let mut links = Self::default();
        for other in others {
            if way != Way::Deaf {
                links.0.insert((who, other), 100);
            }
            if way != Way::Mute {
                links.0.insert((other, who), 100);
            }
        }
        links
    }

    /// Nobody of one side hears anybody of the other.
    pub(crate) fn split(members: usize, side: &[usize]) -> Self {
        let mut links = Self::default();
        for a in 0..members {
            for b in (0..members).filter(|b| side.contains(&a) != side.contains(b)) {
                links.0.insert((a, b), 100);
            }
        }
        links
    }

    /// Two halves that only one member connects.
    pub(crate) fn bridge(members: usize, who: usize) -> Self {
        let side: Vec<usize> = (1..=members / 2)
            .map(|step| (who + step) % members)
            .collect();
        let mut links = Self::split(members, &side);
        links.0.retain(|(from, to), _| *from != who && *to != who);
        links
    }

    /// Every member hears only its two neighbours.
    pub(crate) fn ring(members: usize) -> Self {
        let mut links = Self::default();
        for a in 0..members {
            let near = [(a + 1) % members, (a + members - 1) % members, a];
            for b in (0..members).filter(|b| !near.contains(b)) {
                links.0.insert((a, b), 100);
            }
        }
        links
    }

    /// A part of all packets between members is lost.
    pub(crate) fn lossy(members: usize, percent: u8) -> Self {
        let mut links = Self::default();
        for a in 0..members {
            for b in (0..members).filter(|b| *b != a) {
                links.0.insert((a, b), percent);
            }
        }
        links
    }

    /// The rules of one member.
    pub(crate) fn rules(&self, member: usize, addresses: &[Ipv4Addr]) -> String {
        let mut rules = String::from(
            "table inet kontiki-chaos\ndelete table inet kontiki-chaos\ntable inet kontiki-chaos {\n  chain input {\n    type filter hook input priority 0; policy accept;\n",
        );
        for ((from, _), percent) in self.0.iter().filter(|((_, to), _)| *to == member) {
            let Some(address) = addresses.get(*from) else {
                continue;
            };
            let sometimes = match percent {
                100.. => String::new(),
                percent => format!("numgen random mod 100 < {percent} "),
            };
            let _ = writeln!(rules, "    ip saddr {address} {sometimes}drop");
        }
        rules.push_str("  }\n}\n");
        rules
    }
}

/// Loads a member's rules in its network namespace.
pub(crate) fn load(namespace: &str, rules: &str) -> Result<()> {
    let net = format!("--net={}", netns::path(namespace).display());
    let mut command = shell::command("nsenter", [net.as_str(), "--", "nft", "-f", "-"]);
    shell::output_with_input(&mut command, rules).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs that still hear each other.
    fn open(links: &Links, members: usize) -> Vec<(usize, usize)> {
        let pairs = (0..members).flat_map(|a| (0..members).map(move |b| (a, b)));
        pairs
            .filter(|(a, b)| a != b && !links.0.contains_key(&(*a, *b)))
            .collect()
    }

    #[test]
    fn who_is_cut_off_hears_nobody_or_is_not_heard() {
        let around = [(1, 2), (2, 1)];
        assert_eq!(open(&Links::cut(3, 0, Way::Both), 3), around);
        let deaf = open(&Links::cut(3, 0, Way::Deaf), 3);
        assert_eq!(deaf, [(0, 1), (0, 2), (1, 2), (2, 1)]);
        let mute = open(&Links::cut(3, 0, Way::Mute), 3);
        assert_eq!(mute, [(1, 0), (1, 2), (2, 0), (2, 1)]);
    }

    #[test]
    fn a_split_leaves_both_sides_whole() {
        let links = Links::split(5, &[1, 3]);
        let open = open(&links, 5);
        assert_eq!(open.len(), 2 + 6);
        assert!(open.contains(&(1, 3)) && open.contains(&(0, 4)) && !open.contains(&(0, 1)));
    }

    #[test]
    fn a_bridge_is_heard_by_both_halves() {
        let links = Links::bridge(5, 4);
        let open = open(&links, 5);
        assert!((0..4).all(|other| open.contains(&(4, other)) && open.contains(&(other, 4))));
        assert!(open.contains(&(0, 1)) && !open.contains(&(0, 2)));
    }

    #[test]
    fn a_ring_leaves_everybody_two_neighbours() {
        assert_eq!(open(&Links::ring(5), 5).len(), 10);
        assert_eq!(open(&Links::ring(3), 3).len(), 6);
    }

    #[test]
    fn rules_drop_what_comes_from_the_others() {
        let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let rules = Links::cut(3, 0, Way::Both).rules(1, &addresses);
        assert!(rules.contains("ip saddr 10.0.0.1 drop\n"));
        assert!(!rules.contains("10.0.0.3"));
        let rules = Links::lossy(3, 20).rules(0, &addresses);
        assert!(rules.contains("ip saddr 10.0.0.2 numgen random mod 100 < 20 drop\n"));
        assert!(
            Links::default()
                .rules(0, &addresses)
                .ends_with("accept;\n  }\n}\n")
        );
    }
}
