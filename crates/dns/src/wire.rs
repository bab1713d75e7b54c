//! From a question in DNS's form to an answer in it.

use crate::zone::{Fact, Lookup, TTL_SECONDS, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// UDP answers of clients that do not say how much they take.
const PLAIN_UDP_BYTES: usize = 512;
/// What we take and send over UDP at most (DNS flag day 2020).
const UDP_BYTES_MAX: u16 = 1232;

/// What to do with a received message.
pub enum Outcome {
    /// Send this.
    Answer(Message),
    /// Somebody else has to be asked.
    Forward(Message),
    /// It is no question; answer nothing.
    Ignore,
}

/// Reads and answers a message as far as the cluster's own names go.
#[must_use]
pub fn handle(zone: &Zone, bytes: &[u8]) -> Outcome {
    let Ok(request) = Message::from_vec(bytes) else {
        return malformed(bytes).map_or(Outcome::Ignore, Outcome::Answer);
    };
    if request.metadata.message_type != MessageType::Query {
        // Answering an answer could go on for ever.
        return Outcome::Ignore;
    }
    if request.metadata.op_code != OpCode::Query {
        return Outcome::Answer(reply(&request, ResponseCode::NotImp));
    }
    let [query] = &request.queries[..] else {
        return Outcome::Answer(reply(&request, ResponseCode::FormErr));
    };
    if query.query_class() != DNSClass::IN {
        return Outcome::Answer(reply(&request, ResponseCode::Refused));
    }
    match zone.lookup(&query.name().to_ascii()) {
        Lookup::Elsewhere => Outcome::Forward(request),
        Lookup::Missing => Outcome::Answer(negative(zone, reply(&request, ResponseCode::NXDomain))),
        Lookup::Found(facts) => Outcome::Answer(positive(zone, &request, query, &facts)),
    }
}

fn malformed(bytes: &[u8]) -> Option<Message> {
    let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    Some(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
}

/// An empty answer with a code.
#[must_use]
pub fn reply(request: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.recursion_desired = request.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX);
        answer.set_edns(edns);
    }
    answer
}

fn name(text: &str) -> Option<Name> {
    // A Service may carry any external name; one that is no DNS name has no records.
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn positive(zone: &Zone, request: &Message, query: &Query, facts: &[Fact]) -> Message {
    let mut answer = reply(request, ResponseCode::NoError);
    answer.metadata.authoritative = true;
    let owner = query.name().clone();
    for fact in facts {
        let data = match fact {
            Fact::Address(address) => Some(address_data(*address)),
            Fact::Alias(target) => name(target).map(|target| RData::CNAME(CNAME(target))),
            Fact::Pointer(target) => name(target).map(|target| RData::PTR(PTR(target))),
            Fact::Text(text) => Some(RData::TXT(TXT::new(vec![(*text).to_owned()]))),
            Fact::Service {
                port,
                target,
                addresses,
            } => {
                service(&mut answer, query, target, addresses);
                name(target).map(|target| RData::SRV(SRV::new(0, 100, *port, target)))
            }
        };
        let Some(data) = data else { continue };
        let wanted = query.query_type() == data.record_type()
            || query.query_type() == RecordType::ANY
            // An alias answers every question about its name (RFC 1034, 3.6.2).
            || data.record_type() == RecordType::CNAME;
        if wanted {
            answer.add_answer(Record::from_rdata(owner.clone(), TTL_SECONDS, data));
        }
    }
    if answer.answers.is_empty() {
        negative(zone, answer)
    } else {
        answer
    }
}

fn service(answer: &mut Message, query: &Query, target: &str, addresses: &[IpAddr]) {
    if query.query_type() != RecordType::SRV {
        return;
    }
    if let Some(target) = name(target) {
        for address in addresses {
            answer.add_additional(Record::from_rdata(
                target.clone(),
                TTL_SECONDS,
                address_data(*address),
            ));
        }
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// Says for how long the absence may be remembered (RFC 2308).
fn negative(zone: &Zone, mut answer: Message) -> Message {
    answer.metadata.authoritative = true;
    let (origin, host) = (name(&zone.domain), name(&format!("ns.dns.{}", zone.domain)));
    if let (Some(origin), Some(host)) = (origin, host) {
        let mail = name(&format!("hostmaster.{}", zone.domain)).unwrap_or_else(|| host.clone());
        let soa = SOA::new(host, mail, 1, 7200, 1800, 86_400, TTL_SECONDS);
        answer.add_authority(Record::from_rdata(origin, TTL_SECONDS, RData::SOA(soa)));
    }
    answer
}

/// The bytes of an answer that fits what the client takes over UDP; cut, and
/// marked so, if it does not fit.
#[must_use]
pub fn udp_bytes(request: &[u8], answer: &Message) -> Option<Vec<u8>> {
    let takes = Message::from_vec(request).map_or(PLAIN_UDP_BYTES, |request| {
        usize::from(request.max_payload().min(UDP_BYTES_MAX))
    });
    let whole = answer.to_vec().ok()?;
    if whole.len() <= takes {
        return Some(whole);
    }
    let mut cut = answer.clone();
    cut.answers.clear();
    cut.additionals.clear();
    cut.metadata.truncation = true;
    cut.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_client::{ObjectCache, index};
    use kontiki_object::Object;
    use serde_json::json;
    use std::sync::Arc;

    fn zone(endpoints: u32) -> Zone {
        let services = Arc::new(ObjectCache::new(vec![(index::IP, index::service_ips)]));
        let slices = Arc::new(ObjectCache::new(vec![(
            index::SERVICE,
            index::slice_service,
        )]));
        let service =
            json!({"metadata": {"namespace": "n", "name": "db"}, "spec": {"clusterIP": "None"}});
        services.upsert(Arc::new(Object::from_value(service).expect("a map")));
        let endpoints: Vec<_> = (1..=endpoints)
            .map(|n| json!({"addresses": [format!("10.244.{}.{}", n / 250, n % 250 + 1)]}))
            .collect();
        let slice = json!({
            "metadata": {"namespace": "n", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": endpoints,
        });
        slices.upsert(Arc::new(Object::from_value(slice).expect("a map")));
        Zone {
            domain: "cluster.local".into(),
            services,
            slices,
        }
    }

    fn question(text: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.add_query(Query::query(Name::from_ascii(text).expect("a name"), kind));
        message.to_vec().expect("encodes")
    }

    fn ask(zone: &Zone, text: &str, kind: RecordType) -> Message {
        match handle(zone, &question(text, kind)) {
            Outcome::Answer(answer) => {
                Message::from_vec(&answer.to_vec().expect("encodes")).expect("decodes")
            }
            _ => panic!("{text}: no answer"),
        }
    }

    #[test]
    fn a_question_gets_its_records() {
        let answer = ask(&zone(3), "db.n.svc.cluster.local.", RecordType::A);
        assert_eq!(
            (answer.metadata.id, answer.metadata.response_code),
            (7, ResponseCode::NoError)
        );
        assert!(answer.metadata.authoritative);
        assert_eq!(answer.answers.len(), 3);
    }

    #[test]
    fn no_such_name_and_no_such_record_differ() {
        let missing = ask(&zone(1), "x.n.svc.cluster.local.", RecordType::A);
        assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(missing.authorities.len(), 1);
        let none = ask(&zone(1), "db.n.svc.cluster.local.", RecordType::AAAA);
        assert_eq!(none.metadata.response_code, ResponseCode::NoError);
        assert!(none.answers.is_empty() && none.authorities.len() == 1);
    }

    #[test]
    fn a_long_answer_is_cut_over_udp_and_says_so() {
        let zone = zone(100);
        let request = question("db.n.svc.cluster.local.", RecordType::A);
        let Outcome::Answer(answer) = handle(&zone, &request) else {
            panic!("no answer")
        };
        let cut =
            Message::from_vec(&udp_bytes(&request, &answer).expect("encodes")).expect("decodes");
        assert!(cut.metadata.truncation && cut.answers.is_empty());
    }

    #[test]
    fn what_is_no_question_is_ignored_or_refused() {
        let zone = zone(1);
        assert!(matches!(handle(&zone, b""), Outcome::Ignore));
        assert!(
            matches!(handle(&zone, b"\x01\x02\xff"), Outcome::Answer(m) if m.metadata.response_code == ResponseCode::FormErr)
        );
        let mut answer = Message::from_vec(&question("a.", RecordType::A)).expect("decodes");
        answer.metadata.message_type = MessageType::Response;
        assert!(matches!(
            handle(&zone, &answer.to_vec().expect("encodes")),
            Outcome::Ignore
        ));
        assert!(matches!(
            handle(&zone, &question("example.org.", RecordType::A)),
            Outcome::Forward(_)
        ));
    }
}
