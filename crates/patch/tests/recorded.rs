//! Answers recorded from a real server, replayed against this crate: the
//! owners after each write, the merged objects, and the texts of errors. Runs
//! where the recordings are (`KONTIKI_CORPUS` names their directory).

use std::collections::BTreeSet;
use std::path::PathBuf;

use kontiki_patch::fields::FieldSet;
use kontiki_patch::managed;
use kontiki_patch::ssa::{Writer, apply, empty_object, track_update};
use kontiki_patch::{PatchError, json_patch, merge_patch, strategic_merge_patch};
use kontiki_schema::node::Node;
use kontiki_schema::{Schema, normal};
use serde_json::{Value, json};

fn recordings() -> Option<PathBuf> {
    let dir = std::env::var_os("KONTIKI_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let cases = dir.join("corpus");
    cases.is_dir().then_some(cases)
}

struct Case {
    name: String,
    steps: Vec<Value>,
}

fn cases(themes: &[&str]) -> Vec<Case> {
    let Some(dir) = recordings() else {
        return Vec::new();
    };
    let mut cases = Vec::new();
    for theme in themes {
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir.join(theme))
            .expect("a theme")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        for file in files
            .into_iter()
            .filter(|file| file.extension().is_some_and(|found| found == "json"))
        {
            let text = std::fs::read_to_string(&file).expect("readable");
            let mut case: Value = serde_json::from_str(&text).expect("JSON");
            let steps = case["steps"].take().as_array().cloned().unwrap_or_default();
            cases.push(Case {
                name: format!(
                    "{theme}/{}",
                    file.file_stem().expect("a name").to_string_lossy()
                ),
                steps,
            });
        }
    }
    cases
}

/// Objects of built-in kinds that the server answered with status 200 or 201.
fn answer(step: &Value) -> Option<&Value> {
    let status = step.pointer("/expect/status").and_then(Value::as_u64)?;
    let body = step.pointer("/expect/body")?;
    // A partial object is a view of what is stored.
    let whole = body["apiVersion"] != "meta.k8s.io/v1" && body["kind"] != "Status";
    let served = matches!(status, 200 | 201) && body["metadata"].is_object() && whole;
    (served && node_of(body).is_some()).then_some(body)
}

fn node_of(object: &Value) -> Option<Node<'static>> {
    let ty = Schema::get()
        .type_for_api_version(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    Some(Node::of(ty))
}

#[test]
fn every_recorded_object_is_in_normal_form() {
    let mut wrong = Vec::new();
    for case in cases(&[
        "apply",
        "kinds",
        "lifecycle",
        "patch",
        "roundtrip",
        "services",
        "subresources",
        "watch",
    ]) {
        for step in &case.steps {
            let Some(body) = answer(step) else { continue };
            let mut normal = body.clone();
            normal::normalise(
                node_of(body).and_then(Node::type_ref).expect("built in"),
                &mut normal,
            );
            let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
            leaves(body, "", &mut left);
            leaves(&normal, "", &mut right);
            if left != right {
                let differences: Vec<_> = left.symmetric_difference(&right).take(6).collect();
                wrong.push(format!("{} {}: {differences:?}", case.name, step["req"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members
                .iter()
                .for_each(|(name, value)| leaves(value, &format!("{path}.{name}"), out));
        }
        Value::Array(items) if !items.is_empty() => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, value)| leaves(value, &format!("{path}[{at}]"), out));
        }
        other => {
            out.insert(format!("{path}={other}"));
        }
    }
}

/// What a request asks of one object.
struct Request<'a> {
    method: &'a str,
    manager: String,
    force: bool,
    subresource: &'a str,
}

impl<'a> Request<'a> {
    fn of(step: &'a Value) -> Self {
        let (method, url) = step["req"]
            .as_str()
            .expect("a request")
            .split_once(' ')
            .expect("method and path");
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let last = path.rsplit('/').next().unwrap_or_default();
        let subresource = if matches!(
            last,
            "status"
                | "scale"
                | "eviction"
                | "binding"
                | "approval"
                | "resize"
                | "finalize"
                | "ephemeralcontainers"
                | "token"
        ) {
            last
        } else {
            ""
        };
        Self {
            method,
            manager: parameter("fieldManager").unwrap_or("corpus").to_owned(),
            force: parameter("force") == Some("true"),
            subresource,
        }
    }
}

/// What is wrong with the owners. A create may own more than was recorded: the
/// server fills in values (addresses, finalizers, a token's volume) after it
/// has noted who wrote what, and the recording shows them filled in.
fn compare_owners(ours: &Value, recorded: &Value, create: bool) -> Option<String> {
    let (ours, theirs) = (
        managed::decode(ours).expect("valid"),
        managed::decode(recorded).expect("valid"),
    );
    for (manager, owned) in &theirs {
        // This one runs in the server and writes by itself.
        if manager.name.starts_with("api-priority-and-fairness") {
            continue;
        }
        let Some(own) = ours.get(manager) else {
            return Some(format!("{manager:?} is missing"));
        };
        let (lost, extra) = (
            owned.fields.difference(&own.fields),
            own.fields.difference(&owned.fields),
        );
        if !lost.is_empty() || !(create || extra.is_empty()) {
            return Some(format!(
                "{}: lost {} extra {}",
                manager.name,
                lost.to_fields_v1(),
                extra.to_fields_v1()
            ));
        }
        if own.time != owned.time {
            return Some(format!(
                "{}: time {:?}, recorded {:?}",
                manager.name, own.time, owned.time
            ));
        }
    }
    let extra = ours.keys().find(|manager| !theirs.contains_key(manager));
    extra.map(|manager| format!("{manager:?} is not recorded"))
}

/// Replays one step against the object as it was; tells what went wrong.
fn replay(step: &Value, live: Option<&Value>) -> Option<String> {
    let request = Request::of(step);
    let media = step["type"].as_str().unwrap_or_default();
    let body = step.get("body").filter(|body| !body.is_null());
    let expected = step.pointer("/expect/body")?;
    let status = step.pointer("/expect/status")?.as_u64()?;
    let served = answer(step);
    let like = served.or(live).or(body)?;
    let node = node_of(like)?;
    let api_version = like["apiVersion"].as_str()?;
    let reset = if request.subresource == "status" {
        FieldSet::of_members(&[
            &["spec"],
            &["metadata", "labels"],
            &["metadata", "annotations"],
        ])
    } else {
        FieldSet::of_members(&[&["status"]])
    };
    // Another kind is answered than is stored.
    if expected["apiVersion"] == "meta.k8s.io/v1" || request.subresource == "scale" {
        return None;
    }
    let writer = Writer {
        manager: &request.manager,
        api_version,
        subresource: request.subresource,
        now: "<time>",
        reset: &reset,
    };
    let empty = empty_object(node, api_version, like["kind"].as_str()?);
    let old = live.unwrap_or(&empty);
    if media.contains("apply-patch") {
        let body = body?;
        return match (apply(node, old, body, writer, request.force), served) {
            (Ok(merged), Some(served)) => compare_owners(&merged, served, false),
            // The answer is that of a later check.
            (Ok(_), None) => None,
            (Err(error), _) => {
                let text = error.to_string();
                (expected["message"] != text.as_str())
                    .then(|| format!("{status} {}\n  {text}", expected["message"]))
            }
        };
    }
    if request.method == "PATCH" {
        let patch = body.map_or_else(
            || step["text"].as_str().unwrap_or_default().to_owned(),
            Value::to_string,
        );
        let patched = match media {
            "application/json-patch+json" => json_patch(old, patch.as_bytes()),
            "application/merge-patch+json" => merge_patch(old, patch.as_bytes()),
            _ => strategic_merge_patch(node, old, patch.as_bytes()),
        };
        match patched {
            Ok(patched) => {
                if let Some(served) = served.filter(|_| request.subresource.is_empty()) {
                    let mut patched = patched;
                    normal::normalise(node.type_ref()?, &mut patched);
                    patched.as_object_mut()?.remove("metadata");
                    if let Some(lost) = missing(&patched, served, "") {
                        return Some(format!("patched {lost}"));
                    }
                }
            }
            Err(PatchError::Malformed(text)) if text.contains("expected") => {}
            Err(error) => {
                let text = error.to_string();
                let told = expected["message"].as_str().unwrap_or_default();
                return (!told.contains(text.as_str()))
                    .then(|| format!("{status} {told}\n  {text}"));
            }
        }
    }
    // Defaulting is not this crate's: the served object is what was stored.
    let served = served?;
    let mut new = served.clone();
    new["metadata"].as_object_mut()?.remove("managedFields");
    if let Some(given) = body.and_then(|body| body.pointer("/metadata/managedFields")) {
        new["metadata"]["managedFields"] = given.clone();
    }
    let tracked = track_update(node, old, &new, writer);
    compare_owners(&tracked, served, request.method == "POST")
}

/// A leaf of `part` that `whole` lacks.
fn missing(part: &Value, whole: &Value, path: &str) -> Option<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(_)) => part.iter().find_map(|(name, value)| {
            missing(
                value,
                whole.get(name).unwrap_or(&Value::Null),
                &format!("{path}.{name}"),
            )
        }),
        (Value::Array(part), Value::Array(items)) if part.len() == items.len() => part
            .iter()
            .zip(items)
            .enumerate()
            .find_map(|(at, (part, whole))| missing(part, whole, &format!("{path}[{at}]"))),
        _ => (part != whole).then(|| format!("{path}: {part} is {whole}")),
    }
}

#[test]
fn recorded_writes_have_the_recorded_owners() {
    let mut wrong = Vec::new();
    let mut steps = 0;
    for case in cases(&["apply", "patch", "kinds"]) {
        let mut live: Option<Value> = None;
        let mut known = true;
        for step in &case.steps {
            let request = Request::of(step);
            if !matches!(request.method, "POST" | "PUT" | "PATCH")
                || step["req"]
                    .as_str()
                    .is_some_and(|req| req.contains("dryRun"))
            {
                continue;
            }
            if request.method == "POST" {
                live = None;
                known = true;
            }
            if known && step.get("skip").is_none() {
                steps += 1;
                if let Some(problem) = replay(step, live.as_ref()) {
                    wrong.push(format!("{} {}: {problem}", case.name, step["req"]));
                }
            }
            match answer(step)
                .filter(|_| request.subresource.is_empty() || request.subresource == "status")
            {
                Some(served) => {
                    live = Some(served.clone());
                    known = true;
                }
                // Without defaults, what was created is only known of simple kinds.
                None if request.method == "POST" && step.get("skip").is_some() => {
                    live = step.get("body").cloned().map(|body| created(&body));
                    known = step
                        .pointer("/body/kind")
                        .is_some_and(|kind| kind == "ConfigMap");
                }
                None => known &= step.get("skip").is_none(),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {steps}\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// An object whose creation was not recorded, as far as it is known.
fn created(body: &Value) -> Value {
    let Some(node) = node_of(body) else {
        return body.clone();
    };
    let api_version = body["apiVersion"].as_str().unwrap_or_default();
    let reset = FieldSet::of_members(&[&["status"]]);
    let writer = Writer {
        manager: "corpus",
        api_version,
        subresource: "",
        now: "<time>",
        reset: &reset,
    };
    let mut new = body.clone();
    if let Some(ty) = node.type_ref() {
        normal::normalise(ty, &mut new);
    }
    let empty = empty_object(node, api_version, body["kind"].as_str().unwrap_or_default());
    let mut tracked = track_update(node, &empty, &new, writer);
    tracked["metadata"]["uid"] = json!("<uid:1>");
    tracked
}
