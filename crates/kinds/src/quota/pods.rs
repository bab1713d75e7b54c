//! What a pod uses: itself, and what its containers ask for.

use super::{Amounts, is_native, whole};
use crate::Tree;
use crate::tree::{at, list_at, text, text_at};
use crate::view::quantity;
use kontiki_object::Value;
use std::collections::{BTreeMap, BTreeSet};

const BASIC: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether a quota of this name is about what containers ask for.
pub(super) fn is_compute(name: &str) -> bool {
    let (side, resource) = match name.split_once('.') {
        Some((side @ ("requests" | "limits"), resource)) => (side, resource),
        _ => ("", name),
    };
    BASIC.contains(&resource)
        || resource.starts_with("hugepages-") && side != "limits"
        || side == "requests" && !is_native(resource)
}

/// What has ended uses nothing any more.
fn has_ended(pod: &Tree) -> bool {
    matches!(text_at(pod, &["status", "phase"]), "Failed" | "Succeeded")
}

fn of_container(container: &Value, side: &str) -> Amounts {
    amounts(&container["resources"][side])
}

fn amounts(map: &Value) -> Amounts {
    let map = map.as_object().into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

fn add(sum: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        *sum.entry(name).or_default() += amount;
    }
}

fn at_least(sum: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        let largest = sum.entry(name).or_insert(amount);
        *largest = amount.max(*largest);
    }
}

/// What a pod needs on one side: its containers together with those that run
/// beside them, or the hungriest of those that run before.
fn total(pod: &Tree, side: &str) -> Amounts {
    let mut sum = Amounts::new();
    for container in list_at(pod, &["spec", "containers"]) {
        add(&mut sum, of_container(container, side));
    }
    let (mut beside, mut before) = (Amounts::new(), Amounts::new());
    for container in list_at(pod, &["spec", "initContainers"]) {
        let own = of_container(container, side);
        if container["restartPolicy"] == "Always" {
            add(&mut beside, own);
            at_least(&mut before, beside.clone());
        } else {
            let mut with_others = own;
            add(&mut with_others, beside.clone());
            at_least(&mut before, with_others);
        }
    }
    add(&mut sum, beside);
    at_least(&mut sum, before);
    if let Some(whole_pod) = at(pod, &["spec", "resources", side]) {
        sum.extend(amounts(whole_pod));
    }
    if let Some(overhead) = at(pod, &["spec", "overhead"]) {
        for (name, amount) in amounts(overhead) {
            // A limit that nobody set is not set by the overhead either.
            if side == "requests" || sum.contains_key(&name) {
                *sum.entry(name).or_default() += amount;
            }
        }
    }
    sum
}

pub(super) fn usage(pod: &Tree) -> Amounts {
    let mut usage = Amounts::new();
    if has_ended(pod) {
        return usage;
    }
    usage.insert("pods".to_owned(), whole(1));
    for (name, amount) in total(pod, "requests") {
        if BASIC.contains(&&*name) || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in total(pod, "limits") {
        if BASIC.contains(&&*name) {
            usage.insert(format!("limits.{name}"), amount);
        }
    }
    usage
}

/// Which containers do not say what quotas are about: `cpu for: a,b; …`.
pub(super) fn unmet_constraints(names: &[String], pod: &Tree) -> Option<String> {
    let wanted: BTreeSet<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| BASIC.contains(&name.rsplit('.').next().unwrap_or(name)))
        .collect();
    let whole_pod = |side: &str| at(pod, &["spec", "resources", side]).map(amounts);
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["initContainers", "containers"] {
        for container in list_at(pod, &["spec", list]) {
            for name in &wanted {
                let (side, resource) = match name.split_once('.') {
                    Some((side, resource)) => (side, resource),
                    None => ("requests", *name),
                };
                let says = of_container(container, side).contains_key(resource)
                    || whole_pod(side).is_some_and(|all| all.contains_key(resource));
                if !says && let Some(container) = container.as_object() {
                    missing
                        .entry(*name)
                        .or_default()
                        .insert(text(container, "name"));
                }
            }
        }
    }
    if missing.is_empty() {
        return None;
    }
    let told: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| {
            let containers: Vec<&str> = containers.into_iter().collect();
            format!("{name} for: {}", containers.join(","))
        })
        .collect();
    Some(format!("must specify {}", told.join("; ")))
}
