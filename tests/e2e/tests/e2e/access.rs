//! Who may do what.

use kontiki_e2e::{Scratch, cluster, eventually, kubectl, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use xtask::kubectl::Kubectl;

/// The kubectl whose version the product serves, with another kubeconfig.
fn kubectl_with(kubeconfig: &Path) -> Kubectl {
    let program = kubectl().command(&[]).get_program().to_owned();
    Kubectl::new(Path::new(&program), kubeconfig)
}

/// A user's kubeconfig, made with the product's own command.
fn user(dir: &TempDir, name: &str, groups: &[&str]) -> PathBuf {
    let output = dir.path().join(name.replace(':', "-"));
    let mut command = Command::new(cluster().binary());
    command.args([
        "kubeconfig",
        "user",
        "--client-name",
        name,
        "--days",
        "1",
        "--pki-dir",
    ]);
    command.arg(cluster().state().join("pki"));
    for group in groups {
        command.args(["--org", group]);
    }
    let server = format!(
        "https://127.0.0.1:{}",
        cluster().ports().expect("ports").api
    );
    let _ = run(command.args(["--server", &server, "--output"]).arg(&output)).clean();
    output
}

#[test]
fn a_user_may_do_what_a_role_binding_says_and_nothing_else() {
    let scratch = Scratch::new("rbac");
    let dir = tempfile::tempdir().expect("a folder");
    let jane = kubectl_with(&user(&dir, "jane", &["dev"]));
    let read = || run(&mut jane.command(&["-n", &scratch.namespace, "get", "pods"]));
    let refused = read().refused();
    let expected = format!(
        "Error from server (Forbidden): pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" \
         in the namespace \"{}\"",
        scratch.namespace
    );
    assert_eq!(refused.trim(), expected);
    scratch.clean(&[
        "create",
        "role",
        "reader",
        "--verb=get,list",
        "--resource=pods",
    ]);
    scratch.clean(&[
        "create",
        "rolebinding",
        "readers",
        "--role=reader",
        "--group=dev",
    ]);
    eventually("the right is there", || {
        (read().code == Some(0)).then_some(())
    });
    let delete = ["-n", &scratch.namespace, "delete", "pod", "any"];
    let refused = run(&mut jane.command(&delete)).refused();
    assert!(refused.contains("cannot delete resource"), "{refused}");
    let _ = run(&mut jane.command(&["-n", "default", "get", "pods"])).refused();
    scratch.clean(&["delete", "rolebinding", "readers"]);
    eventually("the right is gone", || {
        (read().code != Some(0)).then_some(())
    });
}

#[test]
fn nobody_gives_rights_they_do_not_hold() {
    let scratch = Scratch::new("escalation");
    let dir = tempfile::tempdir().expect("a folder");
    let joe = kubectl_with(&user(&dir, "joe", &[]));
    scratch.clean(&[
        "create",
        "role",
        "roles",
        "--verb=create",
        "--resource=roles.rbac.authorization.k8s.io",
    ]);
    scratch.clean(&["create", "rolebinding", "joe", "--role=roles", "--user=joe"]);
    let args = [
        "-n",
        &scratch.namespace,
        "create",
        "role",
        "all",
        "--verb=*",
        "--resource=secrets",
    ];
    eventually("the refusal tells why", || {
        run(&mut joe.command(&args))
            .stderr
            .contains("attempting to grant RBAC permissions not currently held")
            .then_some(())
    });
}

/// A kubectl that shows a token and nothing else.
fn with_token(token: &str) -> Command {
    let dir = tempfile::tempdir().expect("a folder");
    let server = format!(
        "https://127.0.0.1:{}",
        cluster().ports().expect("ports").api
    );
    let authority = cluster().state().join("pki").join("ca.crt");
    let empty = dir.keep().join("none");
    std::fs::write(&empty, "").expect("writes");
    let mut command = kubectl_with(&empty).command(&[]);
    command
        .arg("--server")
        .arg(server)
        .arg("--certificate-authority")
        .arg(authority);
    command.arg("--token").arg(token);
    command
}

#[test]
fn forged_and_expired_tokens_are_unauthorized() {
    let scratch = Scratch::new("tokens");
    let token = scratch
        .clean(&["create", "token", "default"])
        .trim()
        .to_owned();
    let who = |token: &str| {
        run(with_token(token).args([
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
        ]))
    };
    let name = format!("system:serviceaccount:{}:default", scratch.namespace);
    assert_eq!(who(&token).clean(), name);
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    for wrong in [forged.as_str(), "abcdef.0123456789abcdef", "x"] {
        let refused = run(with_token(wrong).args(["get", "pods"])).refused();
        assert!(
            refused.contains("must be logged in") || refused.contains("Unauthorized"),
            "{refused}"
        );
    }
    // A token ends with the account it stands for.
    scratch.clean(&["create", "serviceaccount", "brief"]);
    let token = scratch
        .clean(&["create", "token", "brief"])
        .trim()
        .to_owned();
    let _ = who(&token).clean();
    scratch.clean(&["delete", "serviceaccount", "brief"]);
    eventually("the token is worth nothing", || {
        (who(&token).code != Some(0)).then_some(())
    });
}

#[test]
fn a_node_reads_only_the_secrets_of_its_own_pods() {
    let scratch = Scratch::new("nodes");
    for name in ["own", "foreign"] {
        scratch.clean(&["create", "secret", "generic", name, "--from-literal=a=b"]);
    }
    let mounts = "    volumeMounts: [{name: own, mountPath: /own}]\n  nodeName: n1\n  \
                  volumes: [{name: own, secret: {secretName: own}}]\n";
    scratch.apply(&format!(
        "{}{mounts}",
        kontiki_e2e::scratch::pod("holds", "sleep 3600")
    ));
    scratch.clean(&[
        "wait",
        "--for=condition=Ready",
        "pod/holds",
        "--timeout=90s",
    ]);
    let dir = tempfile::tempdir().expect("a folder");
    let node = |name: &str| {
        kubectl_with(&user(
            &dir,
            &format!("system:node:{name}"),
            &["system:nodes"],
        ))
    };
    let read = |kubectl: &Kubectl, secret: &str| {
        run(&mut kubectl.command(&["-n", &scratch.namespace, "get", "secret", secret]))
    };
    let (first, second) = (node("n1"), node("n2"));
    eventually("the node reads its pod's secret", || {
        (read(&first, "own").code == Some(0)).then_some(())
    });
    assert!(read(&first, "foreign").refused().contains("Forbidden"));
    assert!(read(&second, "own").refused().contains("Forbidden"));
    let labelled = run(&mut second.command(&["label", "node", "n1", "a=b"]));
    assert!(
        labelled.refused().contains("forbidden"),
        "a node changes only itself"
    );
}

#[test]
fn join_tokens_are_made_listed_and_revoked() {
    let token = |args: &[&str]| {
        let mut command = Command::new(cluster().binary());
        command
            .arg("token")
            .args(args)
            .arg("--kubeconfig")
            .arg(cluster().kubeconfig());
        run(&mut command)
    };
    let made = token(&["create", "--ttl", "1h", "--description", "e2e"]).clean();
    let parts: Vec<&str> = made.trim().split('.').collect();
    assert_eq!((parts.len(), parts[0]), (4, "kontiki1"));
    let listed = token(&["list"]).clean();
    let line = listed
        .lines()
        .find(|line| line.starts_with(parts[2]))
        .expect("it is listed");
    assert!(
        line.contains("e2e") && !listed.contains(parts[3]),
        "{listed}"
    );
    let _ = token(&["revoke", parts[2]]).clean();
    assert!(!token(&["list"]).clean().contains(parts[2]));
    assert!(
        token(&["revoke", parts[2]])
            .refused()
            .contains("there is no token")
    );
}
