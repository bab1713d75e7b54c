//! The Pod Security Standards: each control is a function that tells why a pod
//! does not meet it.

use super::policy::{Level, Standard, Version};
use kontiki_kinds::Tree;
use kontiki_object::Value;
use std::collections::BTreeSet;

mod baseline;
mod restricted;

/// Why a pod does not meet a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The control in few words.
    pub(super) reason: String,
    /// Who does what.
    pub(super) detail: String,
}

impl Violation {
    fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            detail: detail.into(),
        }
    }
}

/// A pod or a template of pods.
pub(super) struct Subject<'a> {
    annotations: Option<&'a Tree>,
    spec: &'a Tree,
    version: Version,
}

type Check = fn(&Subject<'_>) -> Option<Violation>;

/// Controls of the baseline level, in the order of their names.
const BASELINE: &[Check] = &[
    baseline::app_armor_profile,
    baseline::capabilities,
    baseline::host_namespaces,
    baseline::host_path_volumes,
    baseline::host_ports,
    baseline::host_probes,
    baseline::privileged,
    baseline::proc_mount,
    baseline::se_linux_options,
    baseline::seccomp_profile,
    baseline::sysctls,
    baseline::windows_host_process,
];

/// What of the baseline still counts where a stricter control takes the place
/// of the others.
fn still_counts(at: usize, version: Version) -> bool {
    match at {
        1 => !version.has(22),
        3 => false,
        7 => !version.has(35),
        9 => !version.has(19),
        _ => true,
    }
}

/// Controls that the restricted level adds, in the order of their names.
const RESTRICTED: &[Check] = &[
    restricted::allow_privilege_escalation,
    restricted::capabilities,
    restricted::proc_mount,
    restricted::volumes,
    restricted::run_as_non_root,
    restricted::run_as_user,
    restricted::seccomp_profile,
];

/// What keeps a pod from meeting a standard.
pub(super) fn violations(
    standard: Standard,
    metadata: Option<&Tree>,
    spec: &Tree,
) -> Vec<Violation> {
    let version = standard.version;
    let subject = Subject {
        annotations: metadata.and_then(|metadata| metadata.get("annotations")?.as_object()),
        spec,
        version,
    };
    let baseline = BASELINE.iter().enumerate();
    let baseline = |is_counted: &dyn Fn(usize) -> bool| -> Vec<Violation> {
        baseline
            .filter(|(at, _)| is_counted(*at))
            .filter_map(|(_, check)| check(&subject))
            .collect()
    };
    match standard.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline(&|_| true),
        Level::Restricted => {
            let mut all = baseline(&|at| still_counts(at, version));
            all.extend(RESTRICTED.iter().filter_map(|check| check(&subject)));
            all
        }
    }
}

impl<'a> Subject<'a> {
    /// All containers, in the order in which they start.
    fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .filter_map(|list| spec.get(list)?.as_array())
            .flatten()
            .map(Container)
    }

    /// The names of the containers of which something is true.
    fn names_of(&self, is_bad: impl FnMut(&Container<'a>) -> bool) -> Vec<&'a str> {
        self.containers().filter(is_bad).map(|c| c.name()).collect()
    }

    fn context(&self) -> Option<&'a Tree> {
        self.spec.get("securityContext")?.as_object()
    }

    fn is_true(&self, field: &str) -> bool {
        self.spec.get(field) == Some(&Value::Bool(true))
    }

    /// Whether the pod's users are not those of its node, and the version counts that.
    fn has_own_users(&self) -> bool {
        self.version.has(35) && self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }

    /// Whether the pod says that it is for Windows, and the version counts that.
    fn is_windows(&self) -> bool {
        let os = self.spec.get("os").and_then(|os| os.get("name"));
        self.version.has(25) && os.and_then(Value::as_str) == Some("windows")
    }

    fn volumes(&self) -> impl Iterator<Item = &'a Tree> {
        let volumes = self.spec.get("volumes").and_then(Value::as_array);
        volumes.into_iter().flatten().filter_map(Value::as_object)
    }
}

/// One container.
struct Container<'a>(&'a Value);

impl<'a> Container<'a> {
    fn name(&self) -> &'a str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// A field of its security context that is there.
    fn context(&self, field: &str) -> Option<&'a Value> {
        let value = self.0.get("securityContext")?.get(field)?;
        (!value.is_null()).then_some(value)
    }

    /// The texts of a list of its capabilities.
    fn capabilities(&self, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let list = self.context("capabilities").map(|all| &all[list]);
        let list = list.and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| format!("\"{item}\""))
        .collect();
    items.join(", ")
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn these(names: &[&str]) -> String {
    let word = plural(names.len(), "container", "containers");
    format!("{word} {}", quoted(names.iter().copied()))
}

/// The pod, if it is to blame, and the containers that are.
fn setters(is_pod: bool, names: &[&str]) -> Option<String> {
    let mut all = Vec::new();
    if is_pod {
        all.push("pod".to_owned());
    }
    if !names.is_empty() {
        all.push(these(names));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}

/// Values that occur, each once and sorted.
fn distinct<'a>(values: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    values.into_iter().collect()
}

fn is_good_seccomp(profile: &Value) -> bool {
    matches!(text(profile, "type"), "Localhost" | "RuntimeDefault")
}

/// Whoever sets a seccomp profile that is neither the runtime's nor the node's.
fn bad_seccomp(subject: &Subject<'_>) -> Option<Violation> {
    let own = subject
        .context()
        .and_then(|context| context.get("seccompProfile"))
        .filter(|profile| !profile.is_null() && !is_good_seccomp(profile));
    let mut bad = distinct(own.map(|profile| text(profile, "type")));
    let names = subject.names_of(|container| {
        let profile = container.context("seccompProfile");
        let profile = profile.filter(|profile| !is_good_seccomp(profile));
        bad.extend(profile.map(|profile| text(profile, "type")));
        profile.is_some()
    });
    let who = setters(own.is_some(), &names)?;
    let bad = quoted(bad);
    Some(Violation::new(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {bad}"),
    ))
}

/// Containers that show all of `/proc`.
fn bad_proc_mount(subject: &Subject<'_>) -> Option<Violation> {
    let mut bad = BTreeSet::new();
    let names = subject.names_of(|container| {
        let mount = container.context("procMount").and_then(Value::as_str);
        let mount = mount.filter(|mount| *mount != "Default");
        bad.extend(mount);
        mount.is_some()
    });
    let (who, bad) = (setters(false, &names)?, quoted(bad));
    Some(Violation::new(
        "procMount",
        format!("{who} must not set securityContext.procMount to {bad}"),
    ))
}

#[cfg(test)]
mod tests;
