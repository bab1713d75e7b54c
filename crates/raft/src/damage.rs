//! Damaged bytes from a disk or a peer: an error at most, never a panic.

use crate::identity::Identity;
use crate::position::Position;
use crate::types::{
    EntryT, Origin, PeerNode, Proposal, StoredMembershipT, decode_entry, encode_entry, log_id,
};
use crate::window::Window;
use crate::wire;
use bytes::Bytes;
use kontiki_mvcc::conformance::Random;
use openraft::entry::RaftEntry;
use openraft::{EntryPayload, Membership};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

const CASES: u64 = 20_000;

fn membership() -> Membership<u64, PeerNode> {
    let node = PeerNode {
        name: "a".into(),
        peer_address: "h:1".into(),
        disk_id: 77,
        ..PeerNode::default()
    };
    Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)])).unwrap()
}

fn proposal() -> Proposal {
    let origin = Origin {
        member: 1,
        boot: 2,
        sequence: 3,
    };
    Proposal::new(origin, "00-ab-cd-01", b"commands")
}

/// Hands damaged copies of `bytes` to `read`.
fn damaged(bytes: &[u8], mut read: impl FnMut(Bytes)) {
    for seed in 0..CASES {
        read(Random::new(seed).damage(bytes).into());
    }
}

#[test]
fn damaged_entries_and_proposals_are_refused_or_are_some() {
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(proposal()),
        EntryPayload::Membership(membership()),
    ];
    for payload in payloads {
        let whole = encode_entry(&EntryT::new(log_id(7, 9), payload));
        damaged(&whole, |bytes| {
            if let Ok(entry) = decode_entry(bytes) {
                let again = decode_entry(encode_entry(&entry)).unwrap();
                assert_eq!(again, entry);
                if let EntryPayload::Normal(proposal) = entry.payload {
                    let _ = proposal.parse();
                }
            }
        });
    }
}

#[test]
fn a_damaged_position_is_refused_or_is_one() {
    let mut position = Position::default();
    position.applied = Some(log_id(3, 40));
    position.set_membership(StoredMembershipT::new(Some(log_id(1, 1)), membership()));
    for sequence in [1, 2, 5, 9] {
        position.window.admit(Origin {
            member: 1,
            boot: 2,
            sequence,
        });
    }
    damaged(&position.encode(), |bytes| {
        if let Ok(mut position) = Position::decode(Some(bytes)) {
            // What it remembers of proposals must still take new ones.
            let origin = proposal().parse().unwrap().0;
            position.window.admit(origin);
            let again = Window::decode(position.window.encode());
            assert_eq!(again, position.window);
        }
    });
}

#[test]
fn a_damaged_identity_is_refused_or_is_one() {
    let identity = Identity {
        lost: false,
        cluster_id: 1,
        member_id: 2,
        disk_id: 3,
        boot: 4,
        admitted: true,
        name: "a".into(),
        token: "t".into(),
        configured: [("a".to_owned(), "h:1".to_owned())].into_iter().collect(),
    };
    let whole = serde_json::to_vec(&identity).unwrap();
    damaged(&whole, |bytes| {
        let _ = serde_json::from_slice::<Identity>(&bytes);
    });
}

#[test]
fn damaged_messages_of_peers_are_refused_or_are_some() {
    let append = wire::AppendRequest {
        acknowledged: None,
        vote: Some(wire::Vote {
            term: 3,
            voted_for: 1,
            committed: true,
        }),
        prev_log_id: Some(wire::LogId { term: 2, index: 8 }),
        leader_commit: Some(wire::LogId { term: 2, index: 7 }),
        crc32c: 5,
        entries: vec![encode_entry(&EntryT::new(
            log_id(3, 9),
            EntryPayload::Normal(proposal()),
        ))],
    };
    damaged(&append.encode_to_vec(), |bytes| {
        if let Ok(message) = wire::AppendRequest::decode(bytes) {
            let _ = crate::server::append_request(message);
        }
    });
    let start = wire::SnapshotStart {
        vote: append.vote,
        position: Bytes::from_static(b"position"),
    };
    damaged(&start.encode_to_vec(), |bytes| {
        if let Ok(message) = wire::SnapshotStart::decode(bytes) {
            let _ = Position::decode(Some(message.position));
        }
    });
}
