//! A member whose data is corrupt comes back by itself.

use crate::process::{Member, Running, fail, http, kontiki, run};
use std::path::{Path, PathBuf};

const KEYS: usize = 40;

/// Turns a bit in the middle of a member's log.
fn turn_a_bit(dir: &Path) {
    let log = dir.join("store/log/wal");
    let files = std::fs::read_dir(log).expect("a log");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut content = std::fs::read(&files[0]).expect("a segment");
    let at = content.len() / 2;
    content[at] ^= 0x04;
    std::fs::write(&files[0], content).expect("written");
}

fn hash(member: &Member) -> String {
    let (_, body) = http(member.client_port(), "POST", "/v3/maintenance/hash", "{}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    answer["hash"].to_string()
}

#[test]
fn a_follower_with_a_turned_bit_in_its_log_is_rebuilt_without_anybody_doing_anything() {
    let dir = tempfile::tempdir().expect("a folder");
    let members = ["m1", "m2", "m3"].map(|name| Member::new(dir.path(), name, "http"));
    let start = |member: &Member, more: &[String]| member.start(&members, "new", more);
    let started: Vec<Running> = members.iter().map(|member| start(member, &[])).collect();
    let mut running: Vec<Running> = started.into_iter().map(Running::ready).collect();
    let all = members.iter().map(|member| member.client.as_str());
    let all = format!("--endpoints={}", all.collect::<Vec<_>>().join(","));
    let status = run(kontiki(&["status", "--json"]).arg(&all));
    let rows: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let victim = (0..3)
        .find(|i: &usize| rows[i]["role"] == "follower")
        .expect("one follows");
    let port = members[victim].client_port();
    let put = |port: u16, number: usize| {
        let body = format!(r#"{{"key":"Zm9v{number:04}","value":"YmFy"}}"#);
        let (told, body) = http(port, "POST", "/v3/kv/put", &body);
        assert!(told.contains("200"), "{body}");
    };
    (0..KEYS).for_each(|number| put(port, number));
    running[victim].kill();
    turn_a_bit(&members[victim].dir);

    // Somebody who does not want it is told what to do, as ever.
    let off = ["--rebuild-corrupt-member=false".to_owned()];
    let mut refused = kontiki(&["etcd"]);
    refused
        .args(members[victim].flags(&members, "new"))
        .args(&off);
    let told = fail(&mut refused);
    assert!(told.contains("move its data directory away"), "{told}");

    running[victim] = start(&members[victim], &[]);
    running[victim].says("set the corrupt data aside");
    running[victim].says("ready to serve client requests");
    let others = members[(victim + 1) % 3].client_port();
    put(others, KEYS);
    // It takes part again: a write through it is answered.
    put(port, KEYS + 1);
    let hashes: Vec<String> = members.iter().map(hash).collect();
    assert!(
        hashes.iter().all(|other| *other == hashes[0]) && hashes[0] != "null",
        "{hashes:?}"
    );
    let endpoint = format!("--endpoints={}", members[victim].client);
    let shown = kontiki(&["status", "--json", "--no-write-probe"])
        .arg(endpoint)
        .output()
        .expect("it starts");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("rebuilt from its peers"), "{shown}");
    let (_, metrics) = http(port, "GET", "/metrics", "");
    assert!(
        metrics.contains("\nkontiki_store_set_aside_bytes "),
        "{metrics}"
    );
}
