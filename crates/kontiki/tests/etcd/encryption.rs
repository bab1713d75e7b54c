//! Members whose data is encrypted on the disk.

use crate::process::{Member, Running, fail, http, kontiki};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::slice::from_ref;

/// 32 bytes in base64.
const SECRETS: [&str; 2] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
];
/// `planted/key` and `planted value`.
const KEY: &str = "cGxhbnRlZC9rZXk=";
const VALUE: &str = "cGxhbnRlZCB2YWx1ZQ==";

fn write_keys(path: &Path, keys: &[(&str, usize)]) {
    let lines = keys
        .iter()
        .map(|(name, secret)| format!("- {{name: {name}, secret: {}}}\n", SECRETS[*secret]));
    // Renamed into place, as whoever changes it should.
    let aside = path.with_extension("new");
    let text = format!("keys:\n{}", lines.collect::<String>());
    std::fs::write(&aside, text).expect("written");
    std::fs::set_permissions(&aside, PermissionsExt::from_mode(0o600)).expect("set");
    std::fs::rename(&aside, path).expect("renamed");
}

/// The files below a folder that show what was planted.
fn showing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(showing(&path));
            continue;
        }
        let content = std::fs::read(&path).expect("a file");
        let shows = |text: &[u8]| content.windows(text.len()).any(|window| window == text);
        if shows(b"planted") {
            found.push(path.display().to_string());
        }
    }
    found
}

fn put(member: &Member, key: &str) {
    let body = format!(r#"{{"key":"{key}","value":"{VALUE}"}}"#);
    let (told, body) = http(member.client_port(), "POST", "/v3/kv/put", &body);
    assert!(told.contains("200"), "{body}");
}

fn holds(member: &Member) -> bool {
    let body = format!(r#"{{"key":"{KEY}"}}"#);
    let (_, body) = http(member.client_port(), "POST", "/v3/kv/range", &body);
    body.contains(VALUE)
}

#[test]
fn what_lies_on_the_disk_cannot_be_read_and_keys_change_while_the_member_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member::new(dir.path(), "m", "http");
    let keys = dir.path().join("keys.yaml");
    let flag = [format!("--encryption-key-file={}", keys.display())];
    let start = |more: &[String]| -> Running { member.start(from_ref(&member), "new", more) };

    // It began in the clear.
    let mut running = start(&[]).ready();
    put(&member, KEY);
    assert!(running.stop());
    assert!(!showing(&member.dir).is_empty());

    write_keys(&keys, &[("first", 0)]);
    let mut running = start(&flag).ready();
    assert!(holds(&member));
    for _ in 0..20 {
        put(&member, KEY);
    }
    assert!(running.stop());
    // The log shows until it is cut what it held when encryption was turned on.
    let log = showing(&member.dir);
    assert!(
        log.iter()
            .all(|file| file.ends_with("0000000000000001.wal")),
        "{log:?}"
    );

    // Without the key, with another of its name and without any it does not start,
    // and nothing happens to its data.
    let refused = |more: &[String], reason: &str| {
        let mut command = kontiki(&["etcd"]);
        command.args(member.flags(from_ref(&member), "new"));
        let told = fail(command.args(more));
        assert!(told.contains(reason), "{told}");
        assert!(member.dir.join("store").is_dir());
    };
    refused(&[], "no key file is given");
    write_keys(&keys, &[("second", 1)]);
    refused(&flag, "does not hold");
    write_keys(&keys, &[("first", 1)]);
    refused(&flag, "does not open");
    let store_of_keys = member.dir.join("store/KEYS");
    std::fs::rename(&store_of_keys, dir.path().join("KEYS")).expect("moved");
    write_keys(&keys, &[("first", 0)]);
    refused(&flag, "put back the file KEYS");
    std::fs::rename(dir.path().join("KEYS"), &store_of_keys).expect("moved");

    let mut running = start(&flag).ready();
    write_keys(&keys, &[("second", 1), ("first", 0)]);
    running.says("another encryption key is in use");
    put(&member, "b3RoZXI=");
    let (_, metrics) = http(member.client_port(), "GET", "/metrics", "");
    assert!(
        metrics.contains(r#"kontiki_store_encryption_key_info{name="second"} 1"#),
        "{metrics}"
    );
    running.kill();
    write_keys(&keys, &[("second", 1)]);
    let _running = start(&flag).ready();
    assert!(holds(&member));
}

#[test]
fn a_member_that_was_always_encrypted_shows_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member::new(dir.path(), "m", "http");
    let keys = dir.path().join("keys.yaml");
    write_keys(&keys, &[("first", 0)]);
    let flag = [format!("--encryption-key-file={}", keys.display())];
    for _ in 0..2 {
        let mut running = member.start(from_ref(&member), "new", &flag).ready();
        for _ in 0..50 {
            put(&member, KEY);
        }
        assert!(holds(&member));
        assert!(running.stop());
        assert_eq!(showing(&member.dir), Vec::<String>::new());
    }
}
