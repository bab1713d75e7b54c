//! Changing who belongs, by etcd's tool and by Kontiki's own.

use crate::process::{Ctl, Member, Running, fail, kontiki, run};

/// How often the members are listed until one of them votes.
const LISTINGS_MAX: usize = 1000;

fn tool(group: &str, verb: &[&str], endpoints: &str) -> String {
    let mut command = kontiki(&[group]);
    command.args(verb).arg(format!("--endpoints={endpoints}"));
    run(&mut command)
}

fn id_of(listed: &str, name: &str) -> String {
    let line = listed
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {listed}"));
    line.split_whitespace().next().expect("an id").to_owned()
}

#[test]
fn a_member_joins_votes_and_takes_the_place_of_one_that_lost_its_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut members: Vec<Member> = ["m1", "m2", "m3"]
        .map(|name| Member::new(dir.path(), name, "http"))
        .to_vec();
    let started: Vec<Running> = members
        .iter()
        .map(|member| member.start(&members, "new", &[]))
        .collect();
    let mut running: Vec<Running> = started.into_iter().map(Running::ready).collect();
    let all = |members: &[Member]| {
        members
            .iter()
            .map(|member| member.client.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    let status = tool("status", &[], &all(&members));
    assert_eq!(status.matches("follower").count(), 2, "{status}");
    assert_eq!(status.matches("leader").count(), 1, "{status}");

    // The third loses its disk: a new member takes its place.
    let listed = tool("member", &["list"], &all(&members[..2]));
    let lost = id_of(&listed, "m3");
    running[2].kill();
    std::fs::remove_dir_all(&members[2].dir).expect("it was there");
    let told = fail(kontiki(&["status"]).arg(format!("--endpoints={}", all(&members))));
    assert!(told.contains("unreachable"), "{told}");
    tool("member", &["remove", &lost], &all(&members[..2]));
    let replacement = Member::new(dir.path(), "m4", "http");
    let address = replacement.peer.trim_start_matches("http://");
    tool(
        "member",
        &["add", "--peer-address", address],
        &all(&members[..2]),
    );
    members[2] = replacement;
    running[2] = members[2].start(&members, "existing", &[]).ready();
    // It votes once it has caught up, without being told to.
    let listed = (0..LISTINGS_MAX)
        .map(|_| tool("member", &["list"], &all(&members)))
        .find(|listed| listed.matches("voter").count() == 3)
        .expect("the new member votes");

    let fourth = id_of(&listed, "m4");
    tool("member", &["move-leader", &fourth], &all(&members));
    let status = tool("status", &["--json"], &all(&members));
    let rows: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let leads = |row: &&serde_json::Value| row["role"] == "leader";
    let leader = rows
        .as_array()
        .expect("rows")
        .iter()
        .find(leads)
        .expect("a leader");
    assert_eq!(leader["id"], fourth.as_str());

    if let Some(ctl) = Ctl::to(&[&members[0].client], &[]) {
        let added = ctl.run(&[
            "member",
            "add",
            "m5",
            "--learner",
            "--peer-urls=http://127.0.0.1:1",
        ]);
        assert!(
            added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""),
            "{added}"
        );
        let id = added.split_whitespace().nth(1).expect("an id").to_owned();
        let refused = fail(&mut ctl.command(&["member", "promote", &id]));
        assert!(refused.contains("in sync with leader"), "{refused}");
        ctl.run(&["member", "update", &id, "--peer-urls=http://127.0.0.1:2"]);
        ctl.run(&["member", "remove", &id]);
        ctl.run(&["put", "k", "v"]);
    }
}
