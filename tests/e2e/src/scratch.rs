//! A namespace for one test.

use crate::process::{Output, run, run_with_input, script, try_run};
use crate::{eventually, fixture};
use serde_json::Value;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use xtask::images::BUSYBOX;
use xtask::kubectl::Kubectl;

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A namespace of its own, removed when dropped, and a kubectl that works in it.
pub struct Scratch {
    /// The namespace's name.
    pub namespace: String,
    kubectl: Kubectl,
}

impl Scratch {
    /// With kubectl of the version that the product serves.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with(name, fixture::kubectl())
    }

    /// With a given kubectl.
    ///
    /// # Panics
    /// If the namespace cannot be made.
    #[must_use]
    pub fn with(name: &str, kubectl: Kubectl) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{name}-{}-{number}", std::process::id());
        let made = run(&mut kubectl.command(&["create", "namespace", &namespace]));
        let _ = made.clean();
        let scratch = Self { namespace, kubectl };
        eventually("the default service account", || {
            (scratch.run(&["get", "serviceaccount", "default"]).code == Some(0)).then_some(())
        });
        scratch
    }

    /// A kubectl command in the namespace.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.kubectl.command(&["--namespace", &self.namespace]);
        command.args(args);
        command
    }

    /// Runs kubectl in the namespace.
    #[track_caller]
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    /// Runs kubectl, which must succeed without a complaint.
    #[track_caller]
    pub fn clean(&self, args: &[&str]) -> String {
        self.run(args).clean()
    }

    /// Runs kubectl on a terminal.
    #[track_caller]
    #[must_use]
    pub fn on_terminal(&self, args: &[&str], input: &str) -> Output {
        script(&self.command(args), input)
    }

    /// Applies a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        run_with_input(&mut self.command(&["apply", "-f", "-"]), manifest).clean()
    }

    /// One field by a JSON path, for instance `{.status.phase}`.
    #[must_use]
    pub fn field(&self, object: &str, path: &str) -> String {
        self.run(&["get", object, "-o", &format!("jsonpath={path}")])
            .stdout
    }

    /// An object as JSON.
    ///
    /// # Panics
    /// If it is not there.
    #[track_caller]
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        serde_json::from_str(&self.clean(&args)).expect("kubectl prints JSON")
    }

    /// Waits until a field has a value.
    #[track_caller]
    pub fn until(&self, object: &str, path: &str, wanted: &str) {
        let mut last = String::new();
        let what = format!(
            "{path} of {object} in {} becomes {wanted:?}",
            self.namespace
        );
        eventually(&what, || {
            last = self.field(object, path);
            (last == wanted).then_some(())
        });
    }

    /// Runs a pod with a shell script and waits until it is ready.
    #[track_caller]
    pub fn pod(&self, name: &str, script: &str) {
        self.apply(&pod(name, script));
        self.clean(&[
            "wait",
            "--for=condition=Ready",
            &format!("pod/{name}"),
            "--timeout=90s",
        ]);
    }

    /// Runs a command in a pod; returns what it printed.
    #[track_caller]
    pub fn exec(&self, pod: &str, words: &[&str]) -> Output {
        let mut args = vec!["exec", pod, "--"];
        args.extend(words);
        self.run(&args)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing in here may panic: that would end all tests, not this one.
        let ask = |args: &[&str]| {
            let mut command = self.command(&["--request-timeout=20s"]);
            try_run(command.args(args), "")
        };
        if std::thread::panicking() {
            // Somebody will want to know what was there.
            let mut stderr = std::io::stderr();
            for args in [
                &["get", "all,events", "-o", "wide"][..],
                &["get", "--raw", "/api/v1/nodes/n1/proxy/metrics"],
                &["get", "--raw", "/api/v1/nodes/n2/proxy/metrics"],
            ] {
                let shown = match ask(args) {
                    Ok(output) => output.stdout + &output.stderr,
                    Err(error) => error,
                };
                let _ = std::io::Write::write_all(&mut stderr, shown.as_bytes());
            }
        }
        let _ = ask(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

/// A pod of one busybox container that runs a script.
#[must_use]
pub fn pod(name: &str, script: &str) -> String {
    let script = serde_json::Value::from(script);
    format!(
        r#"apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels:
    app: {name}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {BUSYBOX}
    command: ["sh", "-c", {script}]
"#
    )
}

/// A Deployment of a web server that shows its pod's name.
#[must_use]
pub fn web(name: &str, replicas: u32) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: {BUSYBOX}
        command: ["sh", "-c", "mkdir -p /www; hostname > /www/index.html; echo serving; exec httpd -f -p 8080 -h /www"]
        ports:
        - name: http
          containerPort: 8080
        readinessProbe:
          httpGet:
            path: /
            port: http
          periodSeconds: 1
"#
    )
}
