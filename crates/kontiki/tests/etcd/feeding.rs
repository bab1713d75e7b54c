//! What a snapshot to a new member costs in memory, however much there is.
//!
//! Not part of the ordinary run: `cargo test --release -p kontiki --test etcd feeding
//! -- --ignored --nocapture`, with `KONTIKI_FEED_MEGABYTES` for the size. With
//! `KONTIKI_PROGRAM` another build is measured.

use crate::process::{Member, Running, http, kontiki, run};
use std::fs;
use std::slice::from_ref;
use std::time::{Duration, Instant};

const MEGABYTE: u64 = 1 << 20;
const DEFAULT_MEGABYTES: u64 = 300;
const VALUE_BYTES: usize = 96 << 10;
/// Above what it had before; a snapshot in memory would be a multiple.
const SENDER_GROWTH_MAX: u64 = 96 * MEGABYTE;
/// In all: program, buffers, cache.
const RECEIVER_MAX: u64 = 256 * MEGABYTE;

fn bytes(of: &Running, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", of.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let text = line.expect("it is there").trim_end_matches("kB").trim();
    text.parse::<u64>().expect("a number") * 1024
}

/// What nothing compresses, as base64 has it.
fn noise(seed: &mut u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(VALUE_BYTES / 3 * 4);
    while text.len() < VALUE_BYTES / 3 * 4 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        for shift in (0..60).step_by(6) {
            text.push(char::from(LETTERS[(*seed >> shift) as usize % 64]));
        }
    }
    text.truncate(VALUE_BYTES / 3 * 4);
    text
}

fn put(member: &Member, number: u64, value: &str) {
    let key = format!("{number:08}");
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    let (told, body) = http(member.client_port(), "POST", "/v3/kv/put", &body);
    assert!(told.contains("200"), "{body}");
}

#[test]
#[ignore = "measures with hundreds of megabytes or more"]
fn a_new_member_is_fed_by_a_snapshot_in_memory_that_does_not_grow_with_it() {
    let megabytes = std::env::var("KONTIKI_FEED_MEGABYTES").ok();
    let megabytes = megabytes.map_or(DEFAULT_MEGABYTES, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().expect("a folder");
    let (first, second) = (
        Member::new(dir.path(), "m1", "http"),
        Member::new(dir.path(), "m2", "http"),
    );
    let sender = first.start(from_ref(&first), "new", &[]).ready();
    let (mut seed, values) = (
        0x9e37_79b9_7f4a_7c15,
        megabytes * MEGABYTE / VALUE_BYTES as u64,
    );
    for number in 0..values {
        put(&first, number, &noise(&mut seed));
    }
    let before = bytes(&sender, "VmRSS:");
    // From now on its peak counts from here.
    fs::write(format!("/proc/{}/clear_refs", sender.id()), "5").expect("Linux");
    let address = second.peer.trim_start_matches("http://");
    run(kontiki(&["member", "add", "--peer-address", address])
        .arg(format!("--endpoints={}", first.client)));
    let both = [first.clone(), second.clone()];
    let began = Instant::now();
    let receiver = second.start(&both, "existing", &[]);
    let (mut slowest, mut written) = (Duration::ZERO, 0);
    // Writes go on meanwhile, and none of them waits for the snapshot.
    let revision = loop {
        let asked = Instant::now();
        put(&first, values + written, "YQ==");
        slowest = slowest.max(asked.elapsed());
        written += 1;
        let shown = kontiki(&["status", "--json", "--no-write-probe"])
            .arg(format!("--endpoints={}", second.client))
            .output()
            .expect("it starts");
        let rows: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        let revision = rows[0]["revision"].as_u64().unwrap_or(0);
        if rows[0]["role"] == "follower" && revision > values {
            break revision;
        }
        assert!(began.elapsed() < Duration::from_secs(1800), "{rows}");
    };
    let took = began.elapsed();
    let (sent, received) = (bytes(&sender, "VmHWM:"), bytes(&receiver, "VmHWM:"));
    eprintln!(
        "{megabytes} MiB in {values} values: a new member follows at revision {revision} after {took:.1?}; \
         the sender had {} MiB resident, at most {} MiB while it sent; the receiver at most {} MiB; \
         of {written} writes meanwhile the slowest took {slowest:.1?}",
        before / MEGABYTE,
        sent / MEGABYTE,
        received / MEGABYTE,
    );
    assert!(sent.saturating_sub(before) < SENDER_GROWTH_MAX);
    assert!(received < RECEIVER_MAX);
}
