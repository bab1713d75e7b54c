//! Recorded conversations with kube-apiserver, replayed against this server.
//!
//! The recordings lie beside the checkout (`../shared/corpus`); without them, or
//! without the Python that replays them, there is nothing to test. A case that
//! once passed may not fail again: `tests/corpus-passed.txt` lists them. Where a
//! recording shows an accident of that one server, `tests/corpus-exceptions.toml`
//! names the step that is answered otherwise, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Servers that share the cases: most of a case is waiting.
const SERVERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn kontiki(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    command.args(args).stdout(Stdio::null());
    command
}

/// A server with store and API alone; ended with the test.
struct Server {
    process: Child,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(dir: PathBuf) -> Self {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        // Held until all are known, so that they differ.
        let ports: Vec<TcpListener> = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0"))
            .map(|listener| listener.expect("a port"))
            .take(3)
            .collect();
        let ports: Vec<u16> = ports
            .iter()
            .map(|listener| listener.local_addr().expect("bound").port())
            .collect();
        fs::create_dir_all(dir.join("data")).expect("a folder");
        let (pki, output) = (text(dir.join("data/pki")), text(dir.join("kubeconfig")));
        let url = format!("https://127.0.0.1:{}", ports[0]);
        let user = ["kubeconfig", "user", "--client-name", "corpus-admin"];
        let rest = ["--org", "system:masters", "--pki-dir", &pki];
        let to = ["--server", &url, "--output", &output];
        for args in [
            &["pki", "init", "--dir", &pki][..],
            &[&user[..], &rest, &to].concat(),
        ] {
            let done = kontiki(args).status().expect("runs");
            assert!(done.success(), "{args:?}");
        }
        let config = serde_json::json!({
            "name": "one",
            "dataDir": dir.join("data"),
            "servers": [{"name": "one", "address": "127.0.0.1"}],
            "listenAddress": "127.0.0.1",
            "apiPort": ports[0],
            "etcdPort": ports[1],
            "peerPort": ports[2],
            "components": [],
        });
        let path = dir.join("server.yaml");
        fs::write(&path, config.to_string()).expect("writes");
        let log = fs::File::create(dir.join("log")).expect("a file");
        let process = kontiki(&["server", "--config", &text(path)])
            .stderr(log)
            .spawn()
            .expect("starts");
        Self { process, dir }
    }

    /// Replays cases; answers what the tool says of them, a line each.
    fn replay(&mut self, corpus: &Path, cases: &[&str]) -> Result<Child, String> {
        let share = self.dir.join("cases");
        for case in cases {
            let link = share.join(format!("{case}.json"));
            let theme = link.parent().expect("below a theme");
            fs::create_dir_all(theme).expect("a folder");
            let recorded = corpus.join("corpus").join(format!("{case}.json"));
            symlink(recorded, link).expect("a link");
        }
        self.wait_ready(corpus)?;
        Command::new("python3")
            .arg(corpus.join("replay.py"))
            .args(["check", "--keep-going", "--kubeconfig"])
            .arg(self.dir.join("kubeconfig"))
            .arg(share)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())
    }

    fn wait_ready(&mut self, corpus: &Path) -> Result<(), String> {
        const ASK: &str = "import sys; sys.path.insert(0, sys.argv[1]); import corpuslib; \
            sys.exit(corpuslib.Client(sys.argv[2]).json('GET', '/readyz')[0] != 200)";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = Command::new("python3")
                .args(["-c", ASK])
                .arg(corpus)
                .arg(self.dir.join("kubeconfig"))
                .stderr(Stdio::null())
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            let has_ended = self
                .process
                .try_wait()
                .map_or(true, |ended| ended.is_some());
            if has_ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                return Err(format!("the server is not ready:\n{log}"));
            }
        }
    }
}

/// How many exceptions there may be.
const EXCEPTIONS_MAX: usize = 15;

/// Cases and their steps that are answered otherwise, each with a reason.
fn exceptions() -> BTreeMap<String, BTreeSet<String>> {
    let path = workspace().join("tests/corpus-exceptions.toml");
    let text = fs::read_to_string(path).expect("the exceptions are in the repository");
    let value = |entry: &str, key: &str| {
        let mut lines = entry.lines();
        let line = lines.find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
        let value = line.map(|value| value.trim().trim_matches('"').to_owned());
        value.filter(|value| !value.is_empty())
    };
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let entries: Vec<&str> = text.split("[[exception]]").skip(1).collect();
    assert!(
        entries.len() <= EXCEPTIONS_MAX,
        "{} exceptions",
        entries.len()
    );
    for entry in entries {
        let get = |key: &str| value(entry, key).unwrap_or_else(|| panic!("{key}: {entry}"));
        let (case, step, _reason) = (get("case"), get("step"), get("reason"));
        all.entry(case).or_default().insert(step);
    }
    all
}

/// The steps that the tool says of each failed case.
fn failed_steps(told: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut case = String::new();
    for line in told.lines() {
        if let Some(name) = line.strip_prefix("FAIL") {
            name.trim().clone_into(&mut case);
            all.entry(case.clone()).or_default();
        } else if let Some(step) = line.trim().strip_prefix("step ") {
            let number = step.split_whitespace().next().unwrap_or_default();
            all.entry(case.clone())
                .or_default()
                .insert(number.to_owned());
        }
    }
    all
}

fn has_python() -> bool {
    let python = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    python.is_ok_and(|status| status.success())
}

#[test]
fn what_once_was_as_upstream_answers_stays_so() {
    let corpus = workspace().join("../shared/corpus");
    if !corpus.join("replay.py").is_file() || !has_python() {
        eprintln!("no recordings beside the checkout: nothing is replayed");
        return;
    }
    let list = workspace().join("tests/corpus-passed.txt");
    let list = fs::read_to_string(list).expect("the list is in the repository");
    let exceptions = exceptions();
    let known: BTreeSet<&str> = list.lines().filter(|line| !line.is_empty()).collect();
    assert!(!known.is_empty(), "the list names cases");
    let twice = exceptions.keys().find(|case| known.contains(case.as_str()));
    assert_eq!(twice, None, "a case that passes is no exception");
    let excepted = exceptions.keys().map(String::as_str);
    let cases: Vec<&str> = known.iter().copied().chain(excepted).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let mut servers: Vec<Server> = (0..SERVERS)
        .map(|at| Server::start(dir.path().join(at.to_string())))
        .collect();
    let replays: Vec<Child> = servers
        .iter_mut()
        .enumerate()
        .map(|(at, server)| {
            let share: Vec<&str> = cases.iter().copied().skip(at).step_by(SERVERS).collect();
            server.replay(&corpus, &share).expect("a replay")
        })
        .collect();
    let mut passed = BTreeSet::new();
    let mut told = String::new();
    for replay in replays {
        let output = replay.wait_with_output().expect("ends");
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines() {
            match line.strip_prefix("ok") {
                Some(case) => {
                    passed.insert(case.trim().to_owned());
                }
                None => told.extend([line, "\n"]),
            }
        }
    }
    let steps = failed_steps(&told);
    let is_as_listed = |case: &str| match exceptions.get(case) {
        Some(listed) => steps.get(case) == Some(listed),
        None => passed.contains(case),
    };
    let failed: Vec<&&str> = cases.iter().filter(|case| !is_as_listed(case)).collect();
    assert!(
        failed.is_empty(),
        "{failed:?} passed once, or differ otherwise than is listed:\n{told}"
    );
}
