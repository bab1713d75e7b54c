//! `PodSecurity`: pods meet the Pod Security Standard that the labels of their
//! namespace ask for, or are refused or warned about. Workloads are only warned
//! about: it is their pods that count.

mod checks;
mod policy;

use super::{Attributes, Operation, Plugin};
use crate::error;
use async_trait::async_trait;
use checks::{Violation, violations};
use kontiki_kinds::Tree;
use kontiki_object::{SharedObject, Status, Value};
use policy::{Level, Policy, Standard};
use std::collections::BTreeMap;

/// How many pods are looked at when a namespace's labels change.
const PODS_MAX: usize = 3000;

pub(super) struct PodSecurity;

/// Where the objects of a kind hold the metadata and the spec of pods.
fn template_path(group: &str, resource: &str) -> Option<&'static [&'static str]> {
    Some(match (group, resource) {
        ("", "podtemplates") => &["template"],
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => &["spec", "template"],
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    })
}

fn at<'a>(object: &'a Tree, path: &[&str]) -> Option<&'a Tree> {
    path.iter()
        .try_fold(object, |map, name| map.get(*name)?.as_object())
}

/// `reason (detail), …`
fn told(violations: &[Violation]) -> String {
    let all: Vec<String> = violations
        .iter()
        .map(|violation| match &*violation.detail {
            "" => violation.reason.clone(),
            detail => format!("{} ({detail})", violation.reason),
        })
        .collect();
    all.join(", ")
}

/// Parts of a pod that say nothing about what it may do.
const OTHER_PARTS: [&str; 8] = [
    "attach",
    "binding",
    "eviction",
    "exec",
    "log",
    "portforward",
    "proxy",
    "status",
];

/// Whether an update changes what the standards look at: images, containers,
/// annotations about seccomp.
fn is_significant(new: &Tree, old: &Tree) -> bool {
    let containers = |pod: &Tree, list: &str| -> Vec<(String, String)> {
        let containers = at(pod, &["spec"]).and_then(|spec| spec.get(list)?.as_array());
        let text = |container: &Value, field: &str| {
            container[field].as_str().unwrap_or_default().to_owned()
        };
        containers
            .into_iter()
            .flatten()
            .map(|container| (text(container, "name"), text(container, "image")))
            .collect()
    };
    let seccomp = |pod: &Tree| -> BTreeMap<String, Value> {
        at(pod, &["metadata", "annotations"])
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.contains("seccomp.security.alpha.kubernetes.io/"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    seccomp(new) != seccomp(old)
        || lists
            .iter()
            .any(|list| containers(new, list) != containers(old, list))
}

/// The namespace's policy, as this server knows it.
async fn policy_of(attributes: &Attributes<'_>) -> Result<Policy, Status> {
    let name = &attributes.target.namespace;
    let look = || attributes.lookup("", "v1", "namespaces", "", name);
    let namespace = match look() {
        Some(namespace) => Some(namespace),
        None => {
            attributes.registry.fresh().await?;
            look()
        }
    };
    // Without its namespace nothing is made; that is not for this plugin to say.
    Ok(namespace.map_or_else(Policy::default, |namespace| Policy::of(namespace.tree()).0))
}

fn warn(attributes: &Attributes<'_>, standard: Standard, found: &[Violation]) {
    if !found.is_empty() {
        let text = format!("would violate PodSecurity \"{standard}\": {}", told(found));
        attributes.context.warn(text);
    }
}

async fn pod(attributes: &Attributes<'_>, object: &Tree) -> Result<(), Status> {
    if OTHER_PARTS.contains(&&*attributes.target.subresource) {
        return Ok(());
    }
    let policy = policy_of(attributes).await?;
    if let Some(old) = attributes.old
        && !is_significant(object, old)
    {
        return Ok(());
    }
    let Some(spec) = at(object, &["spec"]) else {
        return Ok(());
    };
    let metadata = at(object, &["metadata"]);
    let found = violations(policy.enforce, metadata, spec);
    if !found.is_empty() {
        return Err(attributes.forbidden(&format!(
            "violates PodSecurity \"{}\": {}",
            policy.enforce,
            told(&found)
        )));
    }
    if policy.warn != policy.enforce {
        let found = violations(policy.warn, metadata, spec);
        warn(attributes, policy.warn, &found);
    }
    Ok(())
}

async fn workload(attributes: &Attributes<'_>, object: &Tree, path: &[&str]) -> Result<(), Status> {
    let Some(template) = at(object, path) else {
        return Ok(());
    };
    let Some(spec) = at(template, &["spec"]) else {
        return Ok(());
    };
    let policy = policy_of(attributes).await?;
    let found = violations(policy.warn, at(template, &["metadata"]), spec);
    warn(attributes, policy.warn, &found);
    Ok(())
}

/// What is to be said about the pods that a namespace has already.
fn existing(name: &str, standard: Standard, pods: &[SharedObject]) -> Vec<String> {
    let mut by_reason: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let tree = pod.tree();
        let Some(spec) = at(tree, &["spec"]) else {
            continue;
        };
        let found = violations(standard, at(tree, &["metadata"]), spec);
        if found.is_empty() {
            continue;
        }
        let reasons: Vec<&str> = found.iter().map(|one| &*one.reason).collect();
        let (first, count) = by_reason
            .entry(reasons.join(", "))
            .or_insert((pod.name(), 0));
        *first = (*first).min(pod.name());
        *count += 1;
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !by_reason.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut told: Vec<String> = by_reason
        .into_iter()
        .map(|(reasons, (first, count))| match count {
            1 => format!("{first}: {reasons}"),
            2 => format!("{first} (and 1 other pod): {reasons}"),
            _ => format!("{first} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    told.sort();
    warnings.extend(told);
    warnings
}

fn namespace(attributes: &Attributes<'_>, object: &Tree) -> Result<(), Status> {
    let (new, errors) = Policy::of(object);
    let former = attributes.old.map(Policy::of);
    let is_new_mistake = former.as_ref().is_none_or(|(_, former)| *former != errors);
    let name = &attributes.target.name;
    if !errors.is_empty() && is_new_mistake {
        return Err(error::invalid(&attributes.target.kind, name, errors));
    }
    let Some((old, _)) = former else {
        return Ok(());
    };
    let (new, old) = (new.enforce, old.enforce);
    let is_relaxed = new.version == old.version && new.level <= old.level;
    if new.level == Level::Privileged || is_relaxed {
        return Ok(());
    }
    let pods = attributes.list("", "v1", "pods", name);
    for warning in existing(name, new, &pods) {
        attributes.context.warn(warning);
    }
    Ok(())
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !matches!(attributes.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let Some(object) = attributes.object.as_deref() else {
            return Ok(());
        };
        let kind = &attributes.target.kind;
        let is_whole = attributes.target.subresource.is_empty();
        match (&*kind.group, &*kind.plural) {
            ("", "pods") => pod(attributes, object).await,
            ("", "namespaces") if is_whole => namespace(attributes, object),
            (group, resource) => match template_path(group, resource) {
                Some(path) if is_whole => workload(attributes, object, path).await,
                _ => Ok(()),
            },
        }
    }
}
