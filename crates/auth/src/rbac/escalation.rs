//! Nobody may give away what they do not have.
//!
//! A write of a role needs every permission in it, or the verb `escalate` on
//! it; a write of a binding needs every permission of its role, or the verb
//! `bind` on that role.

use super::{Policy, Rule};
use crate::authz::{Attributes, Authorizer};
use crate::user::UserInfo;
use kontiki_object::{Object, Status, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Splits rules so that each has one verb on one thing.
fn broken_down(rule: &Rule) -> Vec<Rule> {
    let mut parts = Vec::new();
    let one = |word: &String| vec![word.clone()];
    for verb in &rule.verbs {
        for url in &rule.non_resource_urls {
            parts.push(Rule {
                verbs: one(verb),
                non_resource_urls: one(url),
                ..Rule::default()
            });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let part = Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                    continue;
                }
                parts.extend(rule.resource_names.iter().map(|name| Rule {
                    resource_names: one(name),
                    ..part.clone()
                }));
            }
        }
    }
    parts
}

/// Whether every word is in the list, which may hold `*`.
fn has_all(list: &[String], words: &[String]) -> bool {
    list.iter().any(|own| own == "*") || words.iter().all(|word| list.contains(word))
}

fn resources_cover(own: &[String], wanted: &[String]) -> bool {
    has_all(own, wanted)
        || wanted.iter().all(|resource| {
            own.contains(resource)
                || resource
                    .split_once('/')
                    .is_some_and(|(_, sub)| own.iter().any(|o| *o == format!("*/{sub}")))
        })
}

/// Whether one rule gives all that a broken-down rule asks.
fn gives(own: &Rule, part: &Rule) -> bool {
    let names = own.resource_names.is_empty()
        || (!part.resource_names.is_empty()
            && part
                .resource_names
                .iter()
                .all(|n| own.resource_names.contains(n)));
    has_all(&own.verbs, &part.verbs)
        && has_all(&own.api_groups, &part.api_groups)
        && resources_cover(&own.resources, &part.resources)
        && names
        && part
            .non_resource_urls
            .iter()
            .all(|url| own.covers_path(url))
}

/// Whether `own` rules give everything that `wanted` rules do.
///
/// # Errors
/// What they do not give, with the verbs on one thing put together.
pub fn covers(own: &[Rule], wanted: &[Rule]) -> Result<(), Vec<Rule>> {
    let mut missing: Vec<Rule> = Vec::new();
    for part in wanted.iter().flat_map(broken_down) {
        if own.iter().any(|rule| gives(rule, &part)) {
            continue;
        }
        let same = |known: &&mut Rule| {
            Rule {
                verbs: Vec::new(),
                ..(**known).clone()
            } == Rule {
                verbs: Vec::new(),
                ..part.clone()
            }
        };
        match missing.iter_mut().find(same) {
            Some(known) if known.verbs.contains(&part.verbs[0]) => {}
            Some(known) => known.verbs.extend(part.verbs),
            None => missing.push(part),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(missing)
    }
}

fn refusal(user: &UserInfo, missing: &[Rule]) -> String {
    let lines: BTreeSet<String> = missing.iter().map(ToString::to_string).collect();
    let groups: Vec<String> = user
        .groups
        .iter()
        .map(|group| format!("{group:?}"))
        .collect();
    format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.into_iter().collect::<Vec<_>>().join("\n")
    )
}

async fn may(
    authorizer: &dyn Authorizer,
    user: &Arc<UserInfo>,
    verb: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let asked = Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        is_resource: true,
        ..Attributes::default()
    };
    authorizer.authorize(&asked).await.is_allowed()
}

fn resource_of(kind: &str) -> &'static str {
    match kind {
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "ClusterRoleBinding" => "clusterrolebindings",
        _ => "clusterroles",
    }
}

/// Everything there is to give.
fn full_authority() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            non_resource_urls: all(),
            ..Rule::default()
        },
    ]
}

fn gathers(role: &Object) -> bool {
    let selectors = role.get(&["aggregationRule", "clusterRoleSelectors"]);
    let selectors = selectors.and_then(Value::as_array);
    selectors.is_some_and(|selectors| !selectors.is_empty())
}

/// Checks a `Role` or `ClusterRole` that `user` wants to write. `name` is what
/// the request calls it: nothing if it creates one. `old` is what it replaces.
///
/// # Errors
/// 403 if the user has not all of its permissions and may not escalate.
pub async fn check_role(
    policy: &Policy,
    authorizer: &dyn Authorizer,
    user: &Arc<UserInfo>,
    name: &str,
    role: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let (resource, namespace) = (resource_of(role.kind()), role.namespace());
    if may(authorizer, user, "escalate", resource, namespace, name).await {
        return Ok(());
    }
    let refuse = |why: &str| Status::forbidden(GROUP, resource, role.name(), why);
    let held = policy.rules_for(user, namespace);
    covers(&held, &Rule::list(role.get(&["rules"])))
        .map_err(|missing| refuse(&refusal(user, &missing)))?;
    // What it will gather is not known, so it may be everything.
    if gathers(role) || old.is_some_and(gathers) {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        covers(&held, &full_authority()).map_err(|_| refuse(why))?;
    }
    Ok(())
}

/// Checks a `RoleBinding` or `ClusterRoleBinding` that `user` wants to write.
///
/// # Errors
/// 403 if the user has not all permissions of its role and may not bind it.
pub async fn check_binding(
    policy: &Policy,
    authorizer: &dyn Authorizer,
    user: &Arc<UserInfo>,
    binding: &Object,
) -> Result<(), Status> {
    let (resource, namespace) = (resource_of(binding.kind()), binding.namespace());
    let kind = binding.str_at(&["roleRef", "kind"]).unwrap_or_default();
    let role = binding.str_at(&["roleRef", "name"]).unwrap_or_default();
    if may(authorizer, user, "bind", resource_of(kind), namespace, role).await {
        return Ok(());
    }
    let refuse = |why: &str| Err(Status::forbidden(GROUP, resource, binding.name(), why));
    match policy.rules_of(kind == "ClusterRole", namespace, role) {
        Err(_) => Err(Status::not_found(GROUP, resource_of(kind), role)),
        Ok(wanted) => match covers(&policy.rules_for(user, namespace), wanted) {
            Ok(()) => Ok(()),
            Err(missing) => refuse(&refusal(user, &missing)),
        },
    }
}
