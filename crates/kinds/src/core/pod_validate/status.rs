//! Validation of what nodes report about pods.

use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::ip;
use crate::names;
use crate::view::{View, named};
use std::collections::BTreeSet;

/// Complaints about a changed status.
pub(crate) fn status(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (status, before) = (View::of(new, "status"), View::of(old, "status"));
    let meta = View::of(new, "metadata");
    for (index, condition) in status.maps("conditions").enumerate() {
        let kind = condition.text("type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let path = meta.at("conditions").index(index).child("Type");
            named(&mut errors, &path, kind, names::is_qualified_name);
        }
    }
    if status.text("nominatedNodeName") != before.text("nominatedNodeName") {
        status.name(
            &mut errors,
            "nominatedNodeName",
            names::is_dns1123_subdomain,
        );
    }
    let spec = View::of(old, "spec");
    let policy = spec.text("restartPolicy");
    transitions(
        &mut errors,
        &status,
        &before,
        "containerStatuses",
        policy,
        &[],
    );
    let sidecars: Vec<&str> = spec
        .maps("initContainers")
        .filter(|container| container.text("restartPolicy") == "Always")
        .map(|container| container.text("name"))
        .collect();
    let field = "initContainerStatuses";
    transitions(&mut errors, &status, &before, field, policy, &sidecars);
    let field = "ephemeralContainerStatuses";
    transitions(&mut errors, &status, &before, field, "Never", &[]);
    resource_claims(&mut errors, &status, &View::of(new, "spec"));
    addresses(&mut errors, &status, "podIPs");
    let first = status.maps("hostIPs").next();
    if let Some(first) = first.filter(|first| first.text("ip") != status.text("hostIP")) {
        first.invalid(&mut errors, "ip", "must be equal to `hostIP`");
    }
    addresses(&mut errors, &status, "hostIPs");
    errors
}

/// What has ended and is not restarted stays so.
fn transitions(
    errors: &mut FieldErrors,
    new: &View<'_>,
    old: &View<'_>,
    field: &str,
    policy: &str,
    exempt: &[&str],
) {
    if policy == "Always" {
        return;
    }
    for before in old.maps(field) {
        let name = before.text("name");
        let Some(ended) = before.inner("state").map("terminated") else {
            continue;
        };
        let failed = ended.number("exitCode").unwrap_or_default() != 0;
        if (failed && policy == "OnFailure") || exempt.contains(&name) {
            continue;
        }
        for now in new.maps(field) {
            if now.text("name") == name && !now.inner("state").has("terminated") {
                let why = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(&before.at("state"), why));
            }
        }
    }
}

fn resource_claims(errors: &mut FieldErrors, status: &View<'_>, spec: &View<'_>) {
    let mut seen = BTreeSet::new();
    for claim in status.maps("resourceClaimStatuses") {
        let name = claim.text("name");
        if !spec
            .maps("resourceClaims")
            .any(|one| one.text("name") == name)
        {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            claim.invalid(errors, "name", why);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&claim.at("name"), name));
        }
        let own = claim.text("resourceClaimName");
        if claim.has("resourceClaimName") {
            named(errors, &claim.at("name"), own, names::is_dns1123_subdomain);
        }
    }
}

/// At most one address of each family.
fn addresses(errors: &mut FieldErrors, status: &View<'_>, field: &str) {
    let all: Vec<View<'_>> = status.maps(field).collect();
    for one in &all {
        ip::valid_ip(errors, &one.at("ip"), one.text("ip"), &[]);
    }
    if all.len() < 2 {
        return;
    }
    let parsed: Vec<_> = all.iter().map(|one| ip::sloppy(one.text("ip"))).collect();
    if !ip::is_dual_stack(&parsed) || all.len() > 2 {
        let why = "may specify no more than one IP for each IP family";
        status.invalid(errors, field, why);
    }
    let mut seen = BTreeSet::new();
    for one in &all {
        if !seen.insert(one.text("ip")) {
            let shown = one.tree.clone();
            errors.push(FieldError::duplicate(&one.path, shown));
        }
    }
}
