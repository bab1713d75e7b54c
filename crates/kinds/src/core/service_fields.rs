//! Fields of services that follow from each other and from the cluster: what
//! clients leave out of an update, what a type does not use, and the families
//! of addresses.

use super::service_checks::{addresses, is_external, needs_health_check};
use crate::Tree;
use crate::field::{FieldError, FieldErrors};
use crate::ip;
use crate::tree::{list, map, map_mut, maps, maps_mut, number, text};
use crate::view::View;
use kontiki_object::Value;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// A family of addresses, by its name in the API.
pub type Family = &'static str;

fn spec_of(object: &Tree) -> Tree {
    map(object, "spec").cloned().unwrap_or_default()
}

fn has_address(spec: &Tree) -> bool {
    text(spec, "type") != "ExternalName"
}

fn has_node_ports(spec: &Tree) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

fn checks_health(spec: &Tree) -> bool {
    needs_health_check(&View::new(spec, crate::Path::new("spec")))
}

fn node_ports(spec: &Tree) -> BTreeSet<i64> {
    maps(spec, "ports")
        .filter_map(|port| number(port, "nodePort"))
        .filter(|number| *number != 0)
        .collect()
}

fn copy(new: &mut Tree, old: &Tree, field: &str) {
    if let Some(value) = old.get(field) {
        new.insert(field.to_owned(), value.clone());
    }
}

/// Puts allocated values that an update leaves out back, so that sending what
/// one once created changes nothing.
pub fn carry_over(new: &mut Tree, old: &Tree) {
    let old = spec_of(old);
    let Some(new) = map_mut(new, "spec") else {
        return;
    };
    if has_address(&old) && has_address(new) {
        if text(new, "clusterIP").is_empty() {
            copy(new, &old, "clusterIP");
        }
        if list(new, "clusterIPs").is_empty() && text(new, "clusterIP") == text(&old, "clusterIP") {
            copy(new, &old, "clusterIPs");
        }
    }
    if has_node_ports(&old) && has_node_ports(new) {
        carry_over_node_ports(new, &old);
    }
    let health = "healthCheckNodePort";
    let checks = checks_health(&old) && checks_health(new);
    if checks && number(new, health).unwrap_or_default() == 0 {
        copy(new, &old, health);
    }
}

fn carry_over_node_ports(new: &mut Tree, old: &Tree) {
    let used: BTreeSet<i64> = node_ports(old)
        .intersection(&node_ports(new))
        .copied()
        .collect();
    let by_name: BTreeMap<&str, i64> = maps(old, "ports")
        .map(|port| {
            (
                text(port, "name"),
                number(port, "nodePort").unwrap_or_default(),
            )
        })
        .collect();
    for port in maps_mut(new, "ports") {
        let known = by_name.get(text(port, "name")).copied().unwrap_or_default();
        let lacks = number(port, "nodePort").unwrap_or_default() == 0;
        if lacks && known != 0 && !used.contains(&known) {
            port.insert("nodePort".to_owned(), known.into());
        }
    }
}

/// `clusterIP` and `clusterIPs` say the same where one only was changed.
pub fn join_cluster_ips(new: &mut Tree, old: Option<&Tree>) {
    let old = old.map(spec_of);
    let Some(new) = map_mut(new, "spec") else {
        return;
    };
    let one = text(new, "clusterIP").to_owned();
    let plural = |one: &str| json!([one]);
    let Some(old) = old else {
        if !one.is_empty() && list(new, "clusterIPs").is_empty() {
            new.insert("clusterIPs".to_owned(), plural(&one));
        }
        return;
    };
    let was = text(&old, "clusterIP");
    let same_list = list(new, "clusterIPs") == list(&old, "clusterIPs");
    if !was.is_empty() && one.is_empty() && same_list {
        new.remove("clusterIPs");
    }
    if !list(&old, "clusterIPs").is_empty() && list(new, "clusterIPs").is_empty() && one == was {
        new.remove("clusterIP");
    }
    if !one.is_empty() && one != was && (same_list || list(new, "clusterIPs").is_empty()) {
        new.insert("clusterIPs".to_owned(), plural(&one));
    }
}

/// Takes away what the new type of a service does not use, unless the same
/// update changed it: then validation says that it must not be there.
pub(crate) fn drop_unused(new: &mut Tree, old: &Tree) {
    let was = spec_of(old);
    let Some(spec) = map_mut(new, "spec") else {
        return;
    };
    let same = |spec: &Tree, field: &str| crate::meta::same(spec.get(field), was.get(field));
    if has_address(&was) && !has_address(spec) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, field) {
                spec.remove(field);
            }
        }
    }
    let drops_ports = has_node_ports(&was) && !has_node_ports(spec);
    if drops_ports && node_ports(spec).is_subset(&node_ports(&was)) {
        for port in maps_mut(spec, "ports") {
            port.remove("nodePort");
        }
    }
    let health = "healthCheckNodePort";
    if checks_health(&was) && !checks_health(spec) && same(spec, health) {
        spec.remove(health);
    }
    if text(&was, "type") == "LoadBalancer" && text(spec, "type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, field) {
                spec.remove(field);
            }
        }
    }
    let external = |spec: &Tree| is_external(&View::new(spec, crate::Path::new("spec")));
    let policy = "externalTrafficPolicy";
    if external(&was) && !external(spec) && same(spec, policy) {
        spec.remove(policy);
    }
    if text(spec, "type") != "LoadBalancer" {
        new.insert("status".to_owned(), json!({"loadBalancer": {}}));
    }
}

fn texts(spec: &Tree, field: &str) -> Vec<String> {
    crate::tree::texts(spec, field).map(str::to_owned).collect()
}

fn set(spec: &mut Tree, field: &str, values: &[String]) {
    spec.insert(field.to_owned(), values.into());
}

fn family_of(address: &str) -> Family {
    match ip::sloppy(address) {
        Some(address) if address.is_ipv6() => "IPv6",
        _ => "IPv4",
    }
}

fn other(family: &str) -> String {
    if family == "IPv4" { "IPv6" } else { "IPv4" }.to_owned()
}

/// Whether nothing changed about a service that takes both families if it can
/// get them: the cluster's having become dual-stack changes no such service.
fn stays_as_it_is(spec: &Tree, was: &Tree) -> bool {
    let same = |field: &str| crate::meta::same(spec.get(field), was.get(field));
    text(spec, "ipFamilyPolicy") == "PreferDualStack"
        && text(was, "ipFamilyPolicy") == "PreferDualStack"
        && ["type", "clusterIP", "clusterIPs", "ipFamilies"]
            .into_iter()
            .all(same)
}

/// Settles `ipFamilyPolicy` and `ipFamilies`; `known` are the cluster's
/// families, its own first.
///
/// # Errors
/// Complaints, if they cannot be had or contradict each other.
pub fn settle_families(
    new: &mut Tree,
    old: Option<&Tree>,
    known: &[Family],
) -> Result<(), FieldErrors> {
    let was = old.map(spec_of);
    let Some(spec) = map_mut(new, "spec") else {
        return Ok(());
    };
    if !has_address(spec) || was.as_ref().is_some_and(|was| stays_as_it_is(spec, was)) {
        return Ok(());
    }
    let headless = text(spec, "clusterIP") == "None";
    let selects = map(spec, "selector").is_some_and(|selector| !selector.is_empty());
    if text(spec, "ipFamilyPolicy").is_empty() {
        let before = was.as_ref().map_or("", |was| text(was, "ipFamilyPolicy"));
        let policy = match before {
            "" if headless && !selects => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        };
        spec.insert("ipFamilyPolicy".to_owned(), policy.into());
    }
    refuse(addresses(&View::new(spec, crate::Path::new("spec"))))?;
    let mut errors = FieldErrors::new();
    if let Some(was) = &was {
        release_second(&mut errors, spec, was);
    }
    infer_families(&mut errors, spec, known);
    refuse(errors)?;
    if headless && !selects {
        let mut families = texts(spec, "ipFamilies");
        if families.is_empty() {
            families.extend(known.first().map(|family| (*family).to_owned()));
        }
        if let [only] = &families[..]
            && text(spec, "ipFamilyPolicy") != "SingleStack"
        {
            let second = other(only);
            families.push(second);
        }
        set(spec, "ipFamilies", &families);
        return Ok(());
    }
    complete_families(spec, known)
}

fn refuse(errors: FieldErrors) -> Result<(), FieldErrors> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// A second address or family goes only if the policy says so.
fn release_second(errors: &mut FieldErrors, spec: &mut Tree, was: &Tree) {
    let is_single = text(spec, "ipFamilyPolicy") == "SingleStack";
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (texts(spec, field), texts(was, field));
        if is_single && now == before && now.len() > 1 {
            set(spec, field, &now[..1]);
        }
        let reduced = !now.is_empty() && before.len() > now.len() && before.starts_with(&now);
        if !is_single && reduced {
            let view = View::new(spec, crate::Path::new("spec"));
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            view.invalid(errors, "ipFamilyPolicy", why);
        }
    }
}

fn infer_families(errors: &mut FieldErrors, spec: &mut Tree, known: &[Family]) {
    let view = View::new(spec, crate::Path::new("spec"));
    let mut families = texts(spec, "ipFamilies");
    if text(spec, "ipFamilyPolicy") == "SingleStack" {
        for (count, what) in [
            (list(spec, "clusterIPs").len(), "cluster IPs"),
            (families.len(), "IP families"),
        ] {
            if count == 2 {
                let why = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                view.invalid(errors, "ipFamilyPolicy", why);
            }
        }
    }
    for (index, (path, address)) in view.texts("clusterIPs").enumerate() {
        if address == "None" {
            break;
        }
        if index < families.len() {
            continue;
        }
        let family = family_of(address);
        if known.contains(&family) {
            families.push(family.to_owned());
        } else {
            let shown = spec.get("clusterIPs").cloned().unwrap_or_default();
            let why = format!("{family} is not configured on this cluster");
            errors.push(FieldError::invalid(&path, shown, why));
        }
    }
    if !families.is_empty() {
        set(spec, "ipFamilies", &families);
    }
}

fn complete_families(spec: &mut Tree, known: &[Family]) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::new();
    let policy = text(spec, "ipFamilyPolicy").to_owned();
    let view = View::new(spec, crate::Path::new("spec"));
    if policy == "RequireDualStack" && known.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        view.invalid(&mut errors, "ipFamilyPolicy", why);
    }
    for (path, family) in view.texts("ipFamilies") {
        if !known.contains(&family) {
            let why = "not configured on this cluster";
            errors.push(FieldError::invalid(&path, family, why));
        }
    }
    refuse(errors)?;
    let mut families = texts(spec, "ipFamilies");
    if families.is_empty() {
        families.extend(known.first().map(|family| (*family).to_owned()));
    }
    if let [only] = &families[..]
        && policy != "SingleStack"
        && known.len() == 2
    {
        let second = other(only);
        families.push(second);
    }
    set(spec, "ipFamilies", &families);
    Ok(())
}

/// The family of each address that a service has or wants, in order; empty for
/// services without addresses.
#[must_use]
pub fn wanted_families(object: &Tree) -> Vec<String> {
    let spec = spec_of(object);
    if !has_address(&spec) || text(&spec, "clusterIP") == "None" {
        return Vec::new();
    }
    texts(&spec, "ipFamilies")
}

/// The addresses of a service, without `None` and empty ones.
#[must_use]
pub fn cluster_ips(object: &Tree) -> Vec<String> {
    let spec = spec_of(object);
    let mut all = texts(&spec, "clusterIPs");
    let one = text(&spec, "clusterIP");
    if all.is_empty() && !one.is_empty() {
        all.push(one.to_owned());
    }
    if !has_address(&spec) {
        all.clear();
    }
    all.retain(|address| !matches!(&**address, "" | "None"));
    all
}

/// Whether a health check port is given to a service.
#[must_use]
pub fn wants_health_port(object: &Tree) -> bool {
    checks_health(&spec_of(object))
}

/// Whether node ports are given to a service whose ports name none.
#[must_use]
pub fn wants_node_ports(object: &Tree) -> bool {
    let spec = spec_of(object);
    match text(&spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &Value) -> Tree {
        let object = json!({"spec": spec});
        object.as_object().expect("a map").clone()
    }

    #[test]
    fn what_an_update_leaves_out_stays() {
        let old = service(
            &json!({"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]}),
        );
        let mut new = service(&json!({"type": "NodePort",
            "ports": [{"name": "b", "port": 81}, {"name": "c", "port": 82}]}));
        carry_over(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.5");
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.5"]));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30002);
        assert_eq!(new["spec"]["ports"][1].get("nodePort"), None);
    }

    #[test]
    fn families_follow_the_policy_and_the_cluster() {
        let single: &[Family] = &["IPv4"];
        let dual: &[Family] = &["IPv4", "IPv6"];
        for (spec, known, families) in [
            (json!({"type": "ClusterIP"}), single, Some(vec!["IPv4"])),
            (
                json!({"ipFamilyPolicy": "PreferDualStack"}),
                single,
                Some(vec!["IPv4"]),
            ),
            (
                json!({"ipFamilyPolicy": "PreferDualStack"}),
                dual,
                Some(vec!["IPv4", "IPv6"]),
            ),
            (json!({"ipFamilyPolicy": "RequireDualStack"}), single, None),
            (json!({"ipFamilies": ["IPv6"]}), single, None),
            (json!({"ipFamilies": ["IPv6"]}), dual, Some(vec!["IPv6"])),
            (json!({"ipFamilies": ["IPv4", "IPv6"]}), dual, None),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None"]}),
                single,
                Some(vec!["IPv4", "IPv6"]),
            ),
        ] {
            let mut object = service(&spec);
            let answer = settle_families(&mut object, None, known);
            match families {
                None => assert!(answer.is_err(), "{spec}"),
                Some(families) => {
                    assert!(answer.is_ok(), "{spec}: {answer:?}");
                    assert_eq!(object["spec"]["ipFamilies"], json!(families), "{spec}");
                }
            }
        }
    }
}
