//! Snapshots, there and back again.

use crate::process::{Ctl, Member, Running, fail, installed, kontiki, run};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::slice::from_ref;

fn etcd(member: &Member) -> Option<Running> {
    let mut command = Command::new(installed("etcd")?);
    command.args(member.flags(from_ref(member), "new"));
    Some(Running::spawn(command).ready())
}

fn fill(ctl: &Ctl) {
    for number in 0..40 {
        ctl.run(&[
            "put",
            &format!("/k/{}", number % 25),
            &format!("value {number}"),
        ]);
    }
    ctl.run(&["del", "/k/3"]);
    ctl.run(&["compaction", "20"]);
    let granted = ctl.run(&["lease", "grant", "5000"]);
    let lease = granted.split_whitespace().nth(1).expect("an id");
    ctl.run(&["put", "/leased", "value", &format!("--lease={lease}")]);
    ctl.run(&["role", "add", "r"]);
    ctl.run(&["role", "grant-permission", "r", "read", "/k/", "/k0"]);
    ctl.run(&["user", "add", "u:password"]);
    ctl.run(&["user", "grant-role", "u", "r"]);
}

/// Everything that a client can read, and the header that came with it.
fn content(ctl: &Ctl) -> (Vec<Value>, Value) {
    let read = ctl.json(&["get", "", "--from-key"]);
    let all = vec![
        read["kvs"].clone(),
        ctl.json(&["lease", "list"])["leases"].clone(),
        ctl.json(&["user", "get", "u"])["roles"].clone(),
        ctl.json(&["role", "get", "r"])["perm"].clone(),
    ];
    (all, read["header"].clone())
}

fn restore(file: &Path, member: &Member) {
    let mut command = kontiki(&["snapshot", "restore"]);
    command
        .arg(file)
        .args([
            "--name",
            &member.name,
            "--initial-cluster-token",
            "etcd-cluster",
        ])
        .args([
            "--initial-cluster",
            &format!("{}={}", member.name, member.peer),
        ])
        .arg("--data-dir")
        .arg(&member.dir);
    run(&mut command);
}

#[test]
fn a_cluster_moves_from_etcd_to_here_and_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let members = ["etcd", "kontiki", "back"].map(|name| Member::new(dir.path(), name, "http"));
    let [theirs, ours, back] = &members;
    let Some(mut running) = etcd(theirs) else {
        return;
    };
    let ctl = |member: &Member| Ctl::to(&[&member.client], &[]).expect("it came with etcd");
    let theirs = ctl(theirs);
    fill(&theirs);
    let (wanted, header) = content(&theirs);
    let file = dir.path().join("etcd.db");
    let path = file.to_str().expect("text");
    theirs.run(&["snapshot", "save", path]);
    running.kill();

    // Both tools see the same in the file.
    let told = theirs.json(&["snapshot", "status", path]);
    let hash = told["hash"].as_u64().expect("a number");
    let shown = run(&mut kontiki(&["snapshot", "status", path]));
    for expected in [
        format!("{hash:x}"),
        told["revision"].to_string(),
        told["totalKey"].to_string(),
    ] {
        assert!(shown.contains(&expected), "{expected} in {shown}");
    }
    run(&mut kontiki(&["snapshot", "verify", path]));

    restore(&file, ours);
    let mut running = ours.start(from_ref(ours), "new", &[]).ready();
    let ours = ctl(ours);
    let (found, moved) = content(&ours);
    assert_eq!(found, wanted);
    assert_ne!(moved["cluster_id"], header["cluster_id"]);
    let revision = |header: &Value| header["revision"].as_i64().expect("a number");
    assert!(revision(&moved) >= revision(&header) + 1_000_000_000);
    let old = fail(&mut ours.command(&["get", "/k/1", &format!("--rev={}", revision(&header))]));
    assert!(
        old.contains("required revision has been compacted"),
        "{old}"
    );
    ours.run(&["put", "/new", "written here"]);
    let (wanted, _) = content(&ours);

    // Saved by etcd's tool and by ours, taken by etcd's.
    let (etcds, own) = (dir.path().join("1.db"), dir.path().join("2.db"));
    ours.run(&["snapshot", "save", etcds.to_str().expect("text")]);
    let endpoint = format!("--endpoints={}", members[1].client);
    run(kontiki(&["snapshot", "save", &endpoint]).arg(&own));
    running.kill();
    let peer = format!("--initial-advertise-peer-urls={}", back.peer);
    let cluster = format!("--initial-cluster={}={}", back.name, back.peer);
    for file in [etcds, own] {
        let data = format!("--data-dir={}", back.dir.display());
        let name = format!("--name={}", back.name);
        let file = file.to_str().expect("text");
        ours.run(&["snapshot", "restore", file, &data, &name, &peer, &cluster]);
        let _running = etcd(back).expect("it is installed");
        assert_eq!(content(&ctl(back)).0, wanted);
        std::fs::remove_dir_all(&back.dir).expect("it was there");
    }
}

#[test]
fn a_damaged_snapshot_is_no_snapshot() {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member::new(dir.path(), "m", "http");
    let mut running = member.start(from_ref(&member), "new", &[]).ready();
    let file = dir.path().join("saved.db");
    let endpoint = format!("--endpoints={}", member.client);
    let saved = run(kontiki(&["snapshot", "save", &endpoint]).arg(&file));
    assert!(saved.contains("saved revision"), "{saved}");
    running.kill();
    let whole = std::fs::read(&file).expect("it was saved");
    let mut flipped = whole.clone();
    flipped[5000] ^= 1;
    for (what, bytes) in [
        ("flipped", flipped),
        ("cut", whole[..whole.len() - 512].to_vec()),
    ] {
        std::fs::write(&file, bytes).expect("a file");
        let told = fail(kontiki(&["snapshot", "verify"]).arg(&file));
        assert!(told.contains("is not a whole snapshot"), "{what}: {told}");
        let restored = kontiki(&["snapshot", "restore", "--name=m", "--initial-cluster=m=h:1"])
            .arg(&file)
            .arg("--data-dir")
            .arg(dir.path().join("never"))
            .output();
        assert!(!restored.expect("it starts").status.success(), "{what}");
    }
}
