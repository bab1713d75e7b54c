//! Three members whose clients and peers show certificates.

use crate::process::{Ctl, Member, Running, fail};
use jiff::Timestamp;
use kontiki_pki::{Authority, Profile};
use std::path::{Path, PathBuf};

/// Certificates as files, as etcd's flags want them.
struct Pki {
    dir: PathBuf,
    authority: Authority,
}

impl Pki {
    fn create(dir: &Path) -> Self {
        let authority = Authority::create("store", Timestamp::now()).expect("an authority");
        std::fs::write(dir.join("ca.crt"), authority.certificate_pem()).expect("a file");
        Self {
            dir: dir.to_owned(),
            authority,
        }
    }

    fn issue(&self, profile: &Profile, name: &str) {
        let issued = self.authority.issue(profile, Timestamp::now());
        issued
            .expect("a certificate")
            .store(&self.dir.join(name))
            .expect("files");
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn server_flags(&self) -> Vec<String> {
        let mut flags = vec![
            "--client-cert-auth".to_owned(),
            "--peer-client-cert-auth".to_owned(),
        ];
        for side in ["", "peer-"] {
            flags.push(format!("--{side}cert-file={}", self.path("server.crt")));
            flags.push(format!("--{side}key-file={}", self.path("server.key")));
            flags.push(format!("--{side}trusted-ca-file={}", self.path("ca.crt")));
        }
        flags
    }

    fn client_flags(&self, name: &str) -> Vec<String> {
        vec![
            format!("--cacert={}", self.path("ca.crt")),
            format!("--cert={}", self.path(&format!("{name}.crt"))),
            format!("--key={}", self.path(&format!("{name}.key"))),
        ]
    }
}

#[test]
fn three_members_with_certificates_outlive_their_leader_and_know_their_clients() {
    let dir = tempfile::tempdir().expect("a folder");
    let pki = Pki::create(dir.path());
    pki.issue(&Profile::store_member("store", &[]), "server");
    for name in ["root", "guest"] {
        pki.issue(&Profile::client(name, &[]), name);
    }
    let members = ["m1", "m2", "m3"].map(|name| Member::new(dir.path(), name, "https"));
    let flags = pki.server_flags();
    let start = |member: &Member| member.start(&members, "new", &flags);
    let started: Vec<Running> = members.iter().map(start).collect();
    let mut running: Vec<Running> = started.into_iter().map(Running::ready).collect();
    let endpoints = [0, 1, 2].map(|i: usize| members[i].client.as_str());
    let Some(root) = Ctl::to(&endpoints, &pki.client_flags("root")) else {
        return;
    };
    root.run(&["put", "k", "before"]);
    let authority_only = &pki.client_flags("root")[..1];
    let nobody = Ctl::to(&endpoints, authority_only).expect("it is installed");
    fail(&mut nobody.command(&["get", "k", "--command-timeout=2s"]));

    let status = root.json(&["endpoint", "status"]);
    let leader = status
        .as_array()
        .expect("three of them")
        .iter()
        .position(|member| member["Status"]["leader"] == member["Status"]["header"]["member_id"]);
    let leader = leader.expect("somebody leads");
    running[leader].kill();
    let left: Vec<&str> = (0..3)
        .filter(|i| *i != leader)
        .map(|i| endpoints[i])
        .collect();
    let root = Ctl::to(&left, &pki.client_flags("root")).expect("it is installed");
    root.run(&["put", "k", "after", "--command-timeout=30s"]);
    assert_eq!(root.run(&["get", "k"]), "k\nafter\n");
    running[leader] = start(&members[leader]).ready();

    // A certificate's common name is a user.
    for args in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "k"],
        &["user", "add", "guest", "--no-password"],
        &["user", "grant-role", "guest", "reader"],
        &["auth", "enable"],
    ] {
        root.run(args);
    }
    let guest = Ctl::to(&left, &pki.client_flags("guest")).expect("it is installed");
    assert_eq!(guest.run(&["get", "k"]), "k\nafter\n");
    let refused = fail(&mut guest.command(&["put", "k", "mine"]));
    assert!(refused.contains("permission denied"), "{refused}");
    root.run(&["put", "k", "roots"]);
    let refused = fail(&mut guest.command(&["get", "k", "--user=guest:none"]));
    assert!(refused.contains("authentication failed"), "{refused}");
    root.run(&["auth", "disable"]);
    for member in &mut running {
        assert!(member.stop());
    }
}
