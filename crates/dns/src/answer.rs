//! From a question to an answer.

use crate::view::{Endpoint, Entry, Port, Target, View};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Aliases within the cluster are followed this far.
const ALIASES_MAX: usize = 4;

/// What is served with authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The cluster's domain, `cluster.local`.
    pub domain: String,
    /// How long answers may be kept; refusals too.
    pub ttl_seconds: u32,
}

/// How a question ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name exists, with or without records of the type.
    Found,
    /// The name does not exist.
    NoSuchName,
    /// The name is not the cluster's: ask upstream.
    NotOurs,
}

/// An answer, for the answer, authority and additional sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ends.
    pub outcome: Outcome,
    /// The answers.
    pub answers: Vec<Record>,
    /// With no answers: how long to remember that.
    pub authorities: Vec<Record>,
    /// Addresses of the names in the answers.
    pub additionals: Vec<Record>,
    /// A name outside of the cluster that an alias leads to.
    pub alias: Option<Name>,
}

impl Answer {
    fn ending(outcome: Outcome) -> Self {
        Self {
            outcome,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            alias: None,
        }
    }
}

/// Answers a question.
#[must_use]
pub fn answer(name: &Name, kind: RecordType, view: &View, zone: &Zone) -> Answer {
    let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let Some(below) = below(&text, &zone.domain) else {
        return reverse(name, &text, kind, view, zone);
    };
    let labels: Vec<&str> = below.split('.').filter(|label| !label.is_empty()).collect();
    let mut question = Question {
        name,
        kind,
        zone,
        view,
        answer: Answer::ending(Outcome::Found),
    };
    let exists = question.resolve(&labels);
    let mut answer = question.answer;
    if !exists {
        answer.outcome = Outcome::NoSuchName;
    }
    if answer.answers.is_empty() {
        answer.authorities = soa(zone).into_iter().collect();
    }
    answer
}

/// The part of a name below a domain.
fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(domain)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_suffix('.')
}

fn soa(zone: &Zone) -> Option<Record> {
    let domain = fqdn(&zone.domain)?;
    let server = fqdn(&format!("ns.dns.{}", zone.domain))?;
    let mail = fqdn(&format!("hostmaster.{}", zone.domain))?;
    let data = SOA::new(server, mail, 1, 7200, 1800, 86_400, zone.ttl_seconds);
    Some(Record::from_rdata(
        domain,
        zone.ttl_seconds,
        RData::SOA(data),
    ))
}

fn fqdn(text: &str) -> Option<Name> {
    Name::from_ascii(format!("{text}.")).ok()
}

struct Question<'a> {
    name: &'a Name,
    kind: RecordType,
    zone: &'a Zone,
    view: &'a View,
    answer: Answer,
}

impl Question<'_> {
    /// Whether the name exists; the records are added to the answer.
    fn resolve(&mut self, labels: &[&str]) -> bool {
        match labels {
            [] => {
                self.apex();
                true
            }
            ["svc" | "pod"] | ["dns"] => true,
            ["ns", "dns"] => true,
            ["dns-version"] => {
                if self.kind == RecordType::TXT {
                    self.add(RData::TXT(TXT::new(vec!["1.1.0".to_owned()])));
                }
                true
            }
            [namespace, "svc"] => self.view.services.contains_key(*namespace),
            [address, _namespace, "pod"] => match undashed(address) {
                Some(address) => {
                    self.add_address(address);
                    true
                }
                None => false,
            },
            // A namespace of pods: whether it exists is not known here.
            [_namespace, "pod"] => true,
            [name, namespace, "svc"] => self.service(namespace, name, None),
            [port, protocol, name, namespace, "svc"] => {
                match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                    (Some(port), Some(protocol)) => {
                        self.service(namespace, name, Some((port, protocol)))
                    }
                    _ => false,
                }
            }
            [protocol, name, namespace, "svc"] if protocol.starts_with('_') => {
                // An empty name between a Service and its ports.
                self.view.entry(namespace, name).is_some()
            }
            [label, name, namespace, "svc"] => self.endpoint(namespace, name, label),
            _ => false,
        }
    }

    fn add(&mut self, data: RData) {
        let record = Record::from_rdata(self.name.clone(), self.zone.ttl_seconds, data);
        if !self.answer.answers.contains(&record) {
            self.answer.answers.push(record);
        }
    }

    fn add_address(&mut self, address: IpAddr) {
        if let Some(data) = data_of(address)
            && matches!(
                (address, self.kind),
                (IpAddr::V4(_), RecordType::A | RecordType::ANY)
                    | (IpAddr::V6(_), RecordType::AAAA | RecordType::ANY)
            )
        {
            self.add(data);
        }
    }

    fn apex(&mut self) {
        if self.kind == RecordType::SOA {
            self.answer.answers.extend(soa(self.zone));
        }
        if self.kind == RecordType::NS
            && let Some(server) = fqdn(&format!("ns.dns.{}", self.zone.domain))
        {
            self.add(RData::NS(NS(server)));
        }
    }

    fn service(&mut self, namespace: &str, name: &str, port: Option<(&str, &str)>) -> bool {
        let view = self.view;
        let Some(entry) = view.entry(namespace, name) else {
            return false;
        };
        let own = format!("{name}.{namespace}.svc.{}", self.zone.domain);
        if let Target::Alias(to) = &entry.target {
            if port.is_none() {
                self.alias(to, ALIASES_MAX);
            }
            return port.is_none();
        }
        if self.kind == RecordType::SRV || port.is_some() {
            return self.ports(entry, &own, port);
        }
        match &entry.target {
            Target::Addresses(addresses, _) => {
                addresses
                    .iter()
                    .for_each(|address| self.add_address(*address));
            }
            _ => {
                for endpoint in &entry.endpoints {
                    self.add_address(endpoint.address);
                }
            }
        }
        true
    }

    /// SRV records; whether there is such a port.
    fn ports(&mut self, entry: &Entry, own: &str, wanted: Option<(&str, &str)>) -> bool {
        let matches = |port: &Port| {
            wanted.is_none_or(|(name, protocol)| port.name == name && port.protocol == protocol)
        };
        let mut found: Vec<(u16, String, Vec<IpAddr>)> = Vec::new();
        match &entry.target {
            Target::Addresses(addresses, ports) => {
                for port in ports.iter().filter(|port| matches(port)) {
                    found.push((port.number, own.to_owned(), addresses.clone()));
                }
            }
            _ => {
                for endpoint in &entry.endpoints {
                    for port in endpoint.ports.iter().filter(|port| matches(port)) {
                        let target = format!("{}.{own}", endpoint.label);
                        found.push((port.number, target, vec![endpoint.address]));
                    }
                }
            }
        }
        if self.kind == RecordType::SRV {
            let weight = u16::try_from(100 / found.len().max(1)).unwrap_or(1).max(1);
            for (number, target, addresses) in &found {
                self.add_srv(weight, *number, target, addresses);
            }
        }
        wanted.is_none() || !found.is_empty()
    }

    fn add_srv(&mut self, weight: u16, number: u16, target: &str, addresses: &[IpAddr]) {
        let Some(target) = fqdn(target) else {
            return;
        };
        self.add(RData::SRV(SRV::new(0, weight, number, target.clone())));
        for data in addresses.iter().filter_map(|address| data_of(*address)) {
            let record = Record::from_rdata(target.clone(), self.zone.ttl_seconds, data);
            if !self.answer.additionals.contains(&record) {
                self.answer.additionals.push(record);
            }
        }
    }

    fn endpoint(&mut self, namespace: &str, name: &str, label: &str) -> bool {
        let view = self.view;
        let Some(entry) = view.entry(namespace, name) else {
            return false;
        };
        let same: Vec<&Endpoint> = entry
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.label == label)
            .collect();
        for endpoint in &same {
            self.add_address(endpoint.address);
        }
        !same.is_empty()
    }

    /// The alias, and what it stands for.
    fn alias(&mut self, to: &str, left: usize) {
        let Some(target) = fqdn(to) else {
            return;
        };
        self.add(RData::CNAME(CNAME(target.clone())));
        if self.kind == RecordType::CNAME {
            return;
        }
        if below(to, &self.zone.domain).is_none() {
            self.answer.alias = Some(target);
            return;
        }
        if left == 0 {
            return;
        }
        let next = answer_alias(&target, to, self, left - 1);
        self.answer.answers.extend(next.answers);
        self.answer.alias = next.alias;
    }
}

fn answer_alias(name: &Name, text: &str, asked: &Question<'_>, left: usize) -> Answer {
    let labels: Vec<&str> = below(text, &asked.zone.domain)
        .unwrap_or_default()
        .split('.')
        .collect();
    let mut question = Question {
        name,
        kind: asked.kind,
        zone: asked.zone,
        view: asked.view,
        answer: Answer::ending(Outcome::Found),
    };
    if let [service, namespace, "svc"] = labels[..]
        && let Some(Entry {
            target: Target::Alias(to),
            ..
        }) = asked.view.entry(namespace, service)
    {
        question.alias(to, left);
    } else {
        question.resolve(&labels);
    }
    question.answer
}

fn data_of(address: IpAddr) -> Option<RData> {
    Some(match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    })
}

/// `10-244-0-5` as an address.
fn undashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6))
        .ok()
}

/// The address that a reverse name stands for.
fn address_of(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = rest.split('.').collect();
        parts.reverse();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let rest = text.strip_suffix(".ip6.arpa")?;
    let digits: Vec<&str> = rest.split('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let hex: String = digits.into_iter().rev().collect();
    u128::from_str_radix(&hex, 16)
        .ok()
        .map(|bits| IpAddr::V6(Ipv6Addr::from(bits)))
}

fn reverse(name: &Name, text: &str, kind: RecordType, view: &View, zone: &Zone) -> Answer {
    let names = address_of(text).and_then(|address| view.reverse.get(&address));
    let Some(names) = names else {
        return Answer::ending(Outcome::NotOurs);
    };
    let mut answer = Answer::ending(Outcome::Found);
    if matches!(kind, RecordType::PTR | RecordType::ANY) {
        for below in names {
            if let Some(target) = fqdn(&format!("{below}.svc.{}", zone.domain)) {
                let data = RData::PTR(PTR(target));
                let record = Record::from_rdata(name.clone(), zone.ttl_seconds, data);
                answer.answers.push(record);
            }
        }
    }
    answer
}

#[cfg(test)]
pub(crate) mod tests;
