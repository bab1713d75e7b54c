//! Controls of the restricted level: what a pod has to give up.

use super::{
    Subject, Violation, bad_proc_mount, bad_seccomp, is_good_seccomp, plural, quoted, setters,
    these,
};
use kontiki_object::Value;
use std::collections::BTreeSet;

pub(super) fn allow_privilege_escalation(subject: &Subject<'_>) -> Option<Violation> {
    if !subject.version.has(8) || subject.is_windows() {
        return None;
    }
    let names = subject.names_of(|container| {
        container.context("allowPrivilegeEscalation") != Some(&Value::Bool(false))
    });
    let who = setters(false, &names)?;
    Some(Violation::new(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    ))
}

pub(super) fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    if !subject.version.has(22) || subject.is_windows() {
        return None;
    }
    let keeping = subject.names_of(|container| container.capabilities("drop").all(|c| c != "ALL"));
    let mut bad = BTreeSet::new();
    let adding = subject.names_of(|container| {
        let own: Vec<&str> = container
            .capabilities("add")
            .filter(|name| *name != "NET_BIND_SERVICE")
            .collect();
        bad.extend(own.iter().copied());
        !own.is_empty()
    });
    let mut details = Vec::new();
    if let Some(who) = setters(false, &keeping) {
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if let Some(who) = setters(false, &adding) {
        let bad = quoted(bad);
        details.push(format!(
            "{who} must not include {bad} in securityContext.capabilities.add"
        ));
    }
    let detail = details.join("; ");
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", detail))
}

pub(super) fn proc_mount(subject: &Subject<'_>) -> Option<Violation> {
    if !subject.version.has(35) {
        return None;
    }
    bad_proc_mount(subject)
}

/// Volumes that live as long as the pod, or that an administrator provides.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The other kinds of volumes.
const OTHERS: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn volumes(subject: &Subject<'_>) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in subject.volumes() {
        let has = |kind: &&&str| volume.get(**kind).is_some_and(|source| !source.is_null());
        if VOLUMES.iter().any(|kind| has(&kind)) {
            continue;
        }
        let name = volume.get("name").and_then(Value::as_str);
        names.push(name.unwrap_or_default());
        let kind = OTHERS.iter().find(has).copied();
        kinds.insert(kind.unwrap_or("unknown"));
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural(names.len(), "volume", "volumes"),
        quoted(names.iter().copied()),
        plural(names.len(), "uses", "use"),
        plural(
            kinds.len(),
            "restricted volume type",
            "restricted volume types"
        ),
        quoted(kinds)
    );
    Some(Violation::new("restricted volume types", detail))
}

pub(super) fn run_as_non_root(subject: &Subject<'_>) -> Option<Violation> {
    if subject.has_own_users() {
        return None;
    }
    let own = subject
        .context()
        .and_then(|context| context.get("runAsNonRoot")?.as_bool());
    let says = |wanted: bool| {
        subject
            .names_of(|container| container.context("runAsNonRoot") == Some(&Value::Bool(wanted)))
    };
    let violation = |detail| Some(Violation::new("runAsNonRoot != true", detail));
    if let Some(who) = setters(own == Some(false), &says(false)) {
        return violation(format!(
            "{who} must not set securityContext.runAsNonRoot=false"
        ));
    }
    if own == Some(true) {
        return None;
    }
    let silent = subject.names_of(|container| container.context("runAsNonRoot").is_none());
    if silent.is_empty() {
        return None;
    }
    let who = these(&silent);
    violation(format!(
        "pod or {who} must set securityContext.runAsNonRoot=true"
    ))
}

pub(super) fn run_as_user(subject: &Subject<'_>) -> Option<Violation> {
    if !subject.version.has(23) || subject.has_own_users() {
        return None;
    }
    let is_root = |user: Option<&Value>| user.and_then(Value::as_i64) == Some(0);
    let own = subject
        .context()
        .and_then(|context| context.get("runAsUser"));
    let names = subject.names_of(|container| is_root(container.context("runAsUser")));
    let who = setters(is_root(own), &names)?;
    Some(Violation::new(
        "runAsUser=0",
        format!("{who} must not set runAsUser=0"),
    ))
}

pub(super) fn seccomp_profile(subject: &Subject<'_>) -> Option<Violation> {
    if !subject.version.has(19) || subject.is_windows() {
        return None;
    }
    if let Some(violation) = bad_seccomp(subject) {
        return Some(violation);
    }
    let own = subject
        .context()
        .and_then(|context| context.get("seccompProfile"));
    if own.is_some_and(is_good_seccomp) {
        return None;
    }
    let silent = subject.names_of(|container| container.context("seccompProfile").is_none());
    if silent.is_empty() {
        return None;
    }
    let who = these(&silent);
    Some(Violation::new(
        "seccompProfile",
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        ),
    ))
}
