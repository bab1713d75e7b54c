//! Members and etcds as processes, and the tools that talk to them.

use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Both say so once they serve.
const READY: &str = "ready to serve client requests";
/// A test that has to wait longer is broken.
const PATIENCE: Duration = Duration::from_secs(90);
const LINES_KEPT: usize = 40;

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// A program of the system's, if it is there.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

pub fn kontiki(args: &[&str]) -> Command {
    // Measurements are of a release build.
    let program = std::env::var_os("KONTIKI_PROGRAM");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_kontiki").into());
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Runs a command that has to succeed; what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command that has to fail; what it printed.
pub fn fail(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(!output.status.success(), "{command:?}: {}", shown(&output));
    shown(&output)
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Where a member listens.
#[derive(Clone)]
pub struct Member {
    pub name: String,
    pub client: String,
    pub peer: String,
    pub dir: PathBuf,
}

impl Member {
    pub fn new(dir: &Path, name: &str, scheme: &str) -> Self {
        let url = || format!("{scheme}://127.0.0.1:{}", free_port());
        Self {
            name: name.to_owned(),
            client: url(),
            peer: url(),
            dir: dir.join(name),
        }
    }

    pub fn client_port(&self) -> u16 {
        let (_, port) = self.client.rsplit_once(':').expect("a port");
        port.parse().expect("a number")
    }

    /// etcd's flags for this member among `all`.
    pub fn flags(&self, all: &[Member], state: &str) -> Vec<String> {
        vec![
            format!("--name={}", self.name),
            format!("--data-dir={}", self.dir.display()),
            format!("--listen-client-urls={}", self.client),
            format!("--advertise-client-urls={}", self.client),
            format!("--listen-peer-urls={}", self.peer),
            format!("--initial-advertise-peer-urls={}", self.peer),
            format!("--initial-cluster={}", cluster(all)),
            format!("--initial-cluster-state={state}"),
        ]
    }

    /// `kontiki etcd` with more flags.
    pub fn start(&self, all: &[Member], state: &str, more: &[String]) -> Running {
        let mut command = kontiki(&["etcd"]);
        command.args(self.flags(all, state)).args(more);
        Running::spawn(command)
    }
}

/// `NAME=URL` of all of them.
pub fn cluster(members: &[Member]) -> String {
    let named = members
        .iter()
        .map(|member| format!("{}={}", member.name, member.peer));
    named.collect::<Vec<_>>().join(",")
}

/// A process that serves; killed with its test.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    last: VecDeque<String>,
}

impl Running {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        // Read to the end, whether anybody listens or not: a full pipe would block the process.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines,
            last: VecDeque::new(),
        }
    }

    /// Waits until it says that it serves.
    pub fn ready(mut self) -> Self {
        self.says(READY);
        self
    }

    pub fn says(&mut self, text: &str) {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("it never said {text:?}; its last words: {:#?}", self.last);
            };
            let said = line.contains(text);
            self.last.push_back(line);
            if self.last.len() > LINES_KEPT {
                self.last.pop_front();
            }
            if said {
                return;
            }
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without notice.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop; whether it did so with success.
    pub fn stop(&mut self) -> bool {
        let id = i32::try_from(self.child.id()).expect("an id");
        let pid = nix::unistd::Pid::from_raw(id);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
        self.child.wait().expect("it ends").success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `etcdctl`, told where and who.
#[derive(Clone)]
pub struct Ctl {
    program: PathBuf,
    flags: Vec<String>,
}

impl Ctl {
    /// `None` where it is not installed.
    pub fn to(endpoints: &[&str], flags: &[String]) -> Option<Self> {
        let program = installed("etcdctl")?;
        let mut all = vec![format!("--endpoints={}", endpoints.join(","))];
        all.extend_from_slice(flags);
        Some(Self {
            program,
            flags: all,
        })
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("ETCDCTL_API", "3").args(&self.flags).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }

    /// Some commands tell their results on the standard error.
    pub fn run_loudly(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("it starts");
        assert!(output.status.success(), "{args:?}: {}", shown(&output));
        shown(&output)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let printed = self.run(&[args, &["--write-out=json"]].concat());
        serde_json::from_str(&printed).expect("JSON")
    }
}

/// Speaks HTTP/1.1; the status line with the headers, and the body.
pub fn http(port: u16, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    (head.to_owned(), body.to_owned())
}
