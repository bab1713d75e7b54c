//! Running programs and looking at what they say.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// What a program did.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Output {
    /// It succeeded and complained about nothing; returns what it printed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    #[must_use]
    pub fn clean(self) -> String {
        assert_eq!(self.stderr, "", "`{}` complains", self.command);
        self.good()
    }

    /// It succeeded; returns what it printed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    #[must_use]
    pub fn good(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "`{}` failed\n{}{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// It failed; returns what it complained.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    #[must_use]
    pub fn refused(self) -> String {
        assert_ne!(
            self.code,
            Some(0),
            "`{}` should have failed\n{}",
            self.command,
            self.stdout
        );
        self.stderr
    }
}

thread_local! {
    static LAST: RefCell<Option<Output>> = const { RefCell::new(None) };
}

/// What this thread's last program did, for the message of a wait that was in
/// vain.
#[must_use]
pub fn last_output() -> String {
    LAST.with_borrow(|last| match last {
        Some(last) => format!(
            "last seen: `{}` ended with {:?}\n{}{}",
            last.command, last.code, last.stdout, last.stderr
        ),
        None => "no program was run".to_owned(),
    })
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be run or does not end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    run_with_input(command, "")
}

/// Runs a program to its end with something on its standard input.
///
/// # Panics
/// If it cannot be run or does not end.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &str) -> Output {
    try_run(command, input).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a program to its end; an error says why that was not possible.
pub fn try_run(command: &mut Command, input: &str) -> Result<Output, String> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {shown}: {error}"))?;
    let mut stdin = child.stdin.take().expect("was piped");
    let input = input.to_owned();
    // A program that does not read all of it is not wrong.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = read_all(child.stdout.take().expect("was piped"));
    let stderr = read_all(child.stderr.take().expect("was piped"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{shown} does not end"));
        }
        thread::sleep(Duration::from_millis(5));
    };
    writer.join().expect("never panics");
    let output = Output {
        command: shown,
        code: status.code(),
        stdout: stdout.join().expect("never panics"),
        stderr: stderr.join().expect("never panics"),
    };
    LAST.set(Some(output.clone()));
    Ok(output)
}

fn read_all(mut from: impl std::io::Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a command line on a terminal of its own, typing `input`.
///
/// # Panics
/// If `script` cannot be run.
#[track_caller]
pub fn script(command: &Command, input: &str) -> Output {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| quote(&word.to_string_lossy())).collect();
    let mut terminal = Command::new("script");
    terminal.args([
        "--quiet",
        "--return",
        "--command",
        &line.join(" "),
        "/dev/null",
    ]);
    run_with_input(&mut terminal, input)
}

/// A word as a shell reads it back.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A program that goes on beside a test; ended when dropped.
pub struct Background {
    child: Child,
    said: Arc<Mutex<String>>,
    shown: String,
}

impl Background {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("was piped"), &said);
        collect(child.stderr.take().expect("was piped"), &said);
        Self { child, said, shown }
    }

    /// Everything it has said so far.
    ///
    /// # Panics
    /// Never: what collects it does not panic.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("never poisoned").clone()
    }

    /// Waits until it has said something.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            let ended = self.child.try_wait().expect("it is our child");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{} never says {text:?}, but\n{}",
                self.shown,
                self.said()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(from: impl std::io::Read + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = into.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = into.lock().expect("never poisoned");
            said.push_str(&line);
            said.push('\n');
        }
    });
}
