use super::*;
use crate::answer::tests::{object, view};
use crate::forward::upstreams_of;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use serde_json::json;
use std::net::Ipv4Addr;
use tokio::io::AsyncWriteExt;

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("encodes")
}

fn server(upstreams: Vec<SocketAddr>) -> Arc<Dns> {
    let dns = Dns::new(DnsConfig::new(Vec::new(), upstreams));
    dns.view.store(Arc::new(view()));
    Arc::new(dns)
}

/// Serves on free ports of loopback; gives the UDP and the TCP address.
async fn serve(dns: Arc<Dns>) -> (SocketAddr, SocketAddr) {
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let socket = UdpSocket::bind(any).await.expect("a port");
    let listener = TcpListener::bind(any).await.expect("a port");
    let addresses = (
        socket.local_addr().expect("bound"),
        listener.local_addr().expect("bound"),
    );
    tokio::spawn(dns.clone().serve_udp(Arc::new(socket)));
    tokio::spawn(dns.serve_tcp(listener));
    addresses
}

async fn ask_udp(server: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.send_to(bytes, server).await.expect("sent");
    let mut buffer = vec![0; 4096];
    let size = socket.recv(&mut buffer).await.expect("an answer");
    Message::from_vec(&buffer[..size]).expect("well-formed")
}

async fn ask_tcp(server: SocketAddr, bytes: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).await.expect("connected");
    write_framed(&mut stream, bytes).await.expect("sent");
    let size = stream.read_u16().await.expect("an answer");
    let mut answer = vec![0; usize::from(size)];
    stream.read_exact(&mut answer).await.expect("an answer");
    Message::from_vec(&answer).expect("well-formed")
}

#[tokio::test]
async fn both_transports_answer() {
    let (udp, tcp) = serve(server(Vec::new())).await;
    let bytes = query("web.ns.svc.cluster.local.", RecordType::A);
    for message in [ask_udp(udp, &bytes).await, ask_tcp(tcp, &bytes).await] {
        assert_eq!(message.metadata.id, 7);
        assert!(message.metadata.authoritative);
        assert_eq!(
            message.answers[0].data,
            RData::A(A(Ipv4Addr::new(10, 96, 0, 10)))
        );
    }
    let gone = ask_udp(udp, &query("gone.ns.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(gone.authorities.len(), 1);
    let other = ask_udp(udp, &query("example.org.", RecordType::A)).await;
    assert_eq!(other.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn what_does_not_fit_is_cut_and_complete_over_tcp() {
    let addresses: Vec<_> = (1..=100)
        .map(|n| json!({"addresses": [format!("10.244.0.{n}")]}))
        .collect();
    let slice = object(
        "EndpointSlice",
        "ns",
        "big-x",
        json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "big"}}, "addressType": "IPv4",
        "endpoints": addresses, "ports": []}),
    );
    let service = object(
        "Service",
        "ns",
        "big",
        json!({"spec": {"clusterIP": "None"}}),
    );
    let dns = server(Vec::new());
    dns.view.store(Arc::new(View::build(&[service], &[slice])));
    let (udp, tcp) = serve(dns).await;
    let bytes = query("big.ns.svc.cluster.local.", RecordType::A);
    assert!(ask_udp(udp, &bytes).await.metadata.truncation);
    assert_eq!(ask_tcp(tcp, &bytes).await.answers.len(), 100);
}

#[tokio::test]
async fn other_names_are_asked_upstream_and_aliases_are_completed() {
    // The upstream knows everything as 192.0.2.1.
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let answer = |bytes: &[u8]| {
        let asked = Message::from_vec(bytes).expect("well-formed");
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.add_queries(asked.queries.iter().cloned());
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
        message.add_answer(Record::from_rdata(asked.queries[0].name.clone(), 60, data));
        message.to_vec().expect("encodes")
    };
    let listener = TcpListener::bind(any).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let socket = UdpSocket::bind(address).await.expect("the same port");
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (size, client) = socket.recv_from(&mut buffer).await.expect("a question");
            // Something forged comes first.
            socket.send_to(b"nonsense", client).await.expect("sent");
            socket
                .send_to(&answer(&buffer[..size]), client)
                .await
                .expect("sent");
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let size = stream.read_u16().await.expect("a question");
            let mut bytes = vec![0; usize::from(size)];
            stream.read_exact(&mut bytes).await.expect("a question");
            write_framed(&mut stream, &answer(&bytes))
                .await
                .expect("sent");
        }
    });
    let (udp, tcp) = serve(server(vec![address])).await;
    let bytes = query("example.org.", RecordType::A);
    assert_eq!(ask_udp(udp, &bytes).await.answers.len(), 1);
    assert_eq!(ask_tcp(tcp, &bytes).await.answers.len(), 1);
    let alias = ask_udp(udp, &query("ext.ns.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(alias.answers.len(), 2, "the alias and its address");
}

#[tokio::test]
async fn a_dead_upstream_is_a_failure_and_nonsense_gets_no_answer() {
    let (udp, tcp) = serve(server(vec!["127.0.0.1:1".parse().expect("an address")])).await;
    let failed = ask_udp(udp, &query("example.org.", RecordType::A)).await;
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);

    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.send_to(b"nonsense", udp).await.expect("sent");
    let mut stream = TcpStream::connect(tcp).await.expect("connected");
    stream.write_all(b"\0\x08nonsense").await.expect("sent");
    assert_eq!(stream.read(&mut [0; 16]).await.expect("closed"), 0);
    let mut empty = Message::new(9, MessageType::Query, OpCode::Query);
    let malformed = ask_udp(udp, &empty.to_vec().expect("encodes")).await;
    assert_eq!(malformed.metadata.response_code, ResponseCode::FormErr);
    empty.metadata.op_code = OpCode::Update;
    let unknown = ask_udp(udp, &empty.to_vec().expect("encodes")).await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NotImp);
}

#[test]
fn upstreams_come_from_resolv_conf_but_never_ourselves() {
    let text = "# comment\nsearch a b\nnameserver 192.0.2.1\nnameserver 10.96.0.10\nnameserver x\nnameserver\n";
    let own = ["10.96.0.10:53".parse().expect("an address")];
    let expected: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().expect("an address")];
    assert_eq!(upstreams_of(text, &own), expected);
}
