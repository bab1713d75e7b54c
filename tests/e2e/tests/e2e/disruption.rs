//! Losing servers and agents: nothing acknowledged is lost, nothing that runs
//! is disturbed.

use kontiki_chaos::failover::{Manner, Run, run_valid};
use kontiki_e2e::{Scratch, cluster, eventually, fixture, kubectl};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::time::Duration;
use xtask::cluster::{agent_process, server_process};
use xtask::up::service_address;

/// A void run says nothing: the machine was busy with something else.
const ATTEMPTS: usize = 3;

fn nothing_is_lost(manner: Manner) {
    let _ = cluster();
    let outcome =
        run_valid(fixture::handle, manner, ATTEMPTS).unwrap_or_else(|error| panic!("{error:#}"));
    let Run::Done(outcome) = outcome else { return };
    let shown = kontiki_chaos::report::text(1, &outcome);
    assert_eq!(outcome.lost_writes, 0, "{shown}");
    assert!(outcome.failed_fetches.is_empty(), "{shown}");
    assert!(
        !outcome.timeline.orphaned,
        "a lease was never taken over\n{shown}"
    );
}

#[test]
fn killing_the_leader_under_load_loses_no_write_and_no_fetch() {
    nothing_is_lost(Manner::Kill);
}

#[test]
fn freezing_the_leader_under_load_loses_no_write_and_no_fetch() {
    nothing_is_lost(Manner::Pause);
}

/// The containers of the application: id, start time and restarts.
pub(crate) fn containers() -> BTreeMap<String, String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} \
                {.status.containerStatuses[0].state.running.startedAt} \
                {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    let listed = kubectl()
        .run(&["get", "pods", "-l", "app=web", "-o", path])
        .expect("pods");
    let split = |line: &str| {
        line.split_once(' ')
            .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
    };
    listed.lines().filter_map(split).collect()
}

pub(crate) fn wait_ready() {
    cluster()
        .wait_ready(&kubectl(), Duration::from_secs(60))
        .expect("the API is ready");
    cluster()
        .wait_nodes(&kubectl(), Duration::from_secs(90))
        .expect("the nodes are ready");
}

#[test]
fn stopping_all_servers_leaves_the_containers_running_and_the_page_served() {
    let address = service_address(&kubectl(), "web").expect("an address");
    let before = containers();
    assert_eq!(before.len(), 3);
    for server in cluster().topology.servers() {
        cluster()
            .processes
            .stop(&server_process(server))
            .expect("stops");
    }
    for _ in 0..20 {
        cluster()
            .fetch(address, Duration::from_secs(5))
            .expect("the page, without any server");
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster().start_servers().expect("start");
    wait_ready();
    assert_eq!(containers(), before);
    let scratch = Scratch::new("afterwards");
    scratch.pod("new", "sleep 3600");
}

#[test]
fn restarting_an_agent_leaves_its_containers_running() {
    let before = containers();
    let kubectl = kubectl();
    for node in cluster().topology.nodes() {
        cluster()
            .processes
            .signal(&agent_process(node), Signal::SIGKILL)
            .expect("is alive");
        eventually("the agent has ended", || {
            cluster()
                .processes
                .alive(&agent_process(node))
                .is_none()
                .then_some(())
        });
        cluster().start_node(node, &kubectl).expect("starts");
    }
    wait_ready();
    assert_eq!(containers(), before);
    // The agents work again: they run something new.
    let scratch = Scratch::new("restarted");
    scratch.pod("new", "echo here; sleep 3600");
    assert_eq!(scratch.clean(&["logs", "new"]), "here\n");
}

#[test]
fn a_server_whose_store_was_wiped_is_rebuilt_from_the_others() {
    let server = cluster()
        .topology
        .servers()
        .last()
        .expect("three servers")
        .clone();
    let process = server_process(&server);
    let scratch = Scratch::new("wiped");
    scratch.clean(&["create", "configmap", "before", "--from-literal=a=b"]);
    cluster().processes.stop(&process).expect("stops");
    let data = cluster().state().join("data").join(&server.name);
    // The keys and the configuration stay; everything the store wrote goes.
    for entry in std::fs::read_dir(&data).expect("a folder").flatten() {
        if entry.path().is_dir() && entry.file_name() != "pki" {
            std::fs::remove_dir_all(entry.path()).expect("removes");
        }
    }
    cluster().start_server(&server).expect("starts");
    eventually("it has caught up", || {
        let revisions = fixture::revisions();
        (revisions.len() == 3 && revisions.iter().max() == revisions.iter().min()).then_some(())
    });
    assert_eq!(scratch.field("configmap/before", "{.data.a}"), "b");
}

#[test]
fn writes_go_on_with_any_one_server_away() {
    let scratch = Scratch::new("minority");
    for server in cluster().topology.servers() {
        cluster()
            .processes
            .stop(&server_process(server))
            .expect("stops");
        let name = format!("without-{}", server.name);
        eventually("a write succeeds", || {
            let made = scratch.run(&["create", "configmap", &name]);
            (made.code == Some(0) || made.stderr.contains("AlreadyExists")).then_some(())
        });
        cluster().start_server(server).expect("starts");
        wait_ready();
    }
    for server in cluster().topology.servers() {
        assert!(
            scratch
                .clean(&["get", "configmaps", "-o", "name"])
                .contains(&format!("without-{}", server.name))
        );
    }
}
