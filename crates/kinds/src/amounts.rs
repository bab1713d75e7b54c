//! Names and amounts of resources (`cpu: 100m`), as requests, limits, quotas and
//! capacities hold them.

use crate::field::{FieldError, FieldErrors, Path};
use crate::names;
use crate::view::{View, named, quantity};
use kontiki_object::{Quantity, Value};
use std::collections::BTreeSet;

const HUGE_PAGES: &str = "hugepages-";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// What quotas count by objects: whole numbers.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_container_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name)
}

/// Whether a name is one that quotas know without a domain.
pub(crate) fn is_quota_resource(name: &str) -> bool {
    let asked = name
        .strip_prefix("requests.")
        .or_else(|| name.strip_prefix("limits."))
        .unwrap_or(name);
    COUNTED.contains(&name)
        || matches!(asked, "cpu" | "memory" | "ephemeral-storage")
        || name == "requests.storage"
        || name
            .strip_prefix("requests.")
            .unwrap_or(name)
            .starts_with(HUGE_PAGES)
}

fn is_standard(name: &str) -> bool {
    is_quota_resource(name) || name == "storage"
}

/// Whether a name stands for huge pages.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether a resource is Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be lower than limits.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Which names are allowed where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any resource.
    Any,
    /// What a container may ask for.
    Container,
    /// What a pod as a whole may ask for.
    Pod,
    /// What a quota may limit.
    Quota,
}

/// Complaints about the name of a resource.
pub(crate) fn name(errors: &mut FieldErrors, kind: Names, value: &str, path: &Path) {
    let before = errors.len();
    named(errors, path, value, names::is_qualified_name);
    let is_plain = !value.contains('/');
    if errors.len() == before && is_plain && !is_standard(value) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, value, why));
    }
    match kind {
        Names::Any => {}
        Names::Container if is_plain => {
            if !is_container_resource(value) {
                let why = "must be a standard resource for containers";
                errors.push(FieldError::invalid(path, value, why));
            }
        }
        Names::Container => {
            if !is_native(value) && !is_extended(value) {
                let why = "doesn't follow extended resource name standard";
                errors.push(FieldError::invalid(path, value, why));
            }
        }
        Names::Pod => {
            let fits = matches!(value, "cpu" | "memory") || is_huge_page(value);
            if errors.len() == before && !fits {
                let supported = ["cpu", HUGE_PAGES, "memory"];
                errors.push(FieldError::not_supported(path, value, &supported));
            }
        }
        Names::Quota => {
            if is_plain && !is_quota_resource(value) {
                let why = "must be a standard resource for quota";
                errors.push(FieldError::invalid(path, value, why));
            }
        }
    }
}

/// Complaints about the amount of a resource.
pub(crate) fn amount(errors: &mut FieldErrors, name: &str, value: &Value, path: &Path) {
    let Some(amount) = quantity(value) else {
        return;
    };
    if amount.is_negative() {
        let shown = amount.to_string();
        errors.push(FieldError::invalid(path, shown, NOT_NEGATIVE));
    }
    if (COUNTED.contains(&name) || is_extended(name)) && amount.milli() % 1000 != 0 {
        let shown = amount.to_string();
        errors.push(FieldError::invalid(path, shown, "must be an integer"));
    }
}

/// Complaints about an amount that must be more than nothing.
pub(crate) fn positive(errors: &mut FieldErrors, value: &Value, path: &Path) -> bool {
    let amount = quantity(value).filter(|amount| amount.is_negative() || amount.is_zero());
    if let Some(amount) = amount {
        let why = "must be greater than zero";
        errors.push(FieldError::invalid(path, amount.to_string(), why));
    }
    amount.is_none()
}

/// Complaints about every name and amount of a list.
pub(crate) fn list(errors: &mut FieldErrors, kind: Names, parent: &View<'_>, field: &str) {
    for (path, key, value) in parent.entries(field) {
        name(errors, kind, key, &path);
        amount(errors, key, value, &path);
    }
}

fn huge_pages(errors: &mut FieldErrors, name: &str, value: &Value, path: &Path) {
    let page = name.strip_prefix(HUGE_PAGES);
    let page = page.and_then(|size| size.parse::<Quantity>().ok());
    let Some(amount) = quantity(value) else {
        return;
    };
    let fits = page.is_some_and(|page| page.units() > 0 && amount.units() % page.units() == 0);
    if !fits {
        let why = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, amount.to_string(), why));
    }
}

/// Complaints about `requests`, `limits` and `claims`; `claim_names` are the
/// claims of the pod.
pub(crate) fn requirements(
    errors: &mut FieldErrors,
    resources: &View<'_>,
    kind: Names,
    claim_names: &BTreeSet<&str>,
) {
    let is_basic = |name: &str| matches!(name, "cpu" | "memory");
    let (mut has_basic, mut has_huge) = (false, false);
    for (path, key, value) in resources.entries("limits") {
        name(errors, kind, key, &path);
        amount(errors, key, value, &path);
        if is_huge_page(key) {
            has_huge = true;
            huge_pages(errors, key, value, &path);
        }
        has_basic |= is_basic(key);
    }
    let limits = resources.inner("limits");
    for (path, key, value) in resources.entries("requests") {
        name(errors, kind, key, &path);
        amount(errors, key, value, &path);
        compare(errors, resources, key, value, limits.value(key));
        if is_huge_page(key) {
            has_huge = true;
            huge_pages(errors, key, value, &path);
        }
        has_basic |= is_basic(key);
    }
    if has_huge && !has_basic {
        let why = "HugePages require cpu or memory";
        errors.push(FieldError::forbidden(&resources.path, why));
    }
    claims(errors, resources, claim_names);
}

fn compare(
    errors: &mut FieldErrors,
    resources: &View<'_>,
    name: &str,
    request: &Value,
    limit: Option<&Value>,
) {
    let Some(limit) = limit else {
        if !may_overcommit(name) {
            let why = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(&resources.at("limits"), why));
        }
        return;
    };
    let (Some(asked), Some(most)) = (quantity(request), quantity(limit)) else {
        return;
    };
    let why = if asked != most && !may_overcommit(name) {
        format!("must be equal to {name} limit of {most}")
    } else if asked > most {
        format!("must be less than or equal to {name} limit of {most}")
    } else {
        return;
    };
    let path = resources.at("requests");
    errors.push(FieldError::invalid(&path, asked.to_string(), why));
}

fn claims(errors: &mut FieldErrors, resources: &View<'_>, known: &BTreeSet<&str>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in resources.maps("claims") {
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(FieldError::required(&claim.path, ""));
            continue;
        }
        if seen.contains(name) {
            errors.push(FieldError::duplicate(&claim.path, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                claim.name(errors, "request", names::is_dns1123_label);
                key = format!("{name}/{request}");
            }
            let part_of = |other: &&String| {
                let whole = other.split_once('/').map(|(whole, _)| whole);
                whole == Some(name)
            };
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(&claim.path, key.as_str()));
            } else if request.is_empty() {
                let overlaps = seen.iter().filter(part_of).count();
                errors.extend((0..overlaps).map(|_| FieldError::duplicate(&claim.path, name)));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let all: Vec<&str> = known.iter().copied().collect();
            let why = match &all[..] {
                [] => "must be one of the names in pod.spec.resourceClaims which is empty".into(),
                all => format!(
                    "must be one of the names in pod.spec.resourceClaims: {}",
                    all.join(", ")
                ),
            };
            errors.push(FieldError::not_found(&claim.path, name).because(&why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn complaints(resources: Value) -> Vec<String> {
        let tree = resources.as_object().expect("a map").clone();
        let mut errors = FieldErrors::new();
        let view = View::new(&tree, Path::new("r"));
        let known = BTreeSet::from(["c"]);
        requirements(&mut errors, &view, Names::Container, &known);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_fit_their_limits() {
        for (resources, expected) in [
            (
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}),
                vec![],
            ),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                vec![
                    "r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                ],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}}),
                vec![
                    "r.limits: Required value: Limit must be set for non overcommitable resources",
                ],
            ),
            (
                json!({"limits": {"example.com/gpu": "1500m"}}),
                vec!["r.limits[example.com/gpu]: Invalid value: \"1500m\": must be an integer"],
            ),
            (
                json!({"limits": {"bananas": "1"}}),
                vec![
                    "r.limits[bananas]: Invalid value: \"bananas\": must be a standard resource type or fully qualified",
                    "r.limits[bananas]: Invalid value: \"bananas\": must be a standard resource for containers",
                ],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}}),
                vec![
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "r: Forbidden: HugePages require cpu or memory",
                ],
            ),
            (
                json!({"claims": [{"name": "c", "request": "a"}, {"name": "c"}, {"name": "d"}]}),
                vec![
                    "r.claims[1]: Duplicate value: \"c\"",
                    "r.claims[2]: Not found: \"d\": must be one of the names in pod.spec.resourceClaims: c",
                ],
            ),
        ] {
            assert_eq!(complaints(resources.clone()), expected, "{resources}");
        }
    }
}
