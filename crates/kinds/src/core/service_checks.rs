//! Validation of services.

use crate::Tree;
use crate::check;
use crate::core::pod_validate::port_number_or_name;
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_form;
use crate::ip;
use crate::meta;
use crate::names;
use crate::view::{View, named};
use std::collections::BTreeSet;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";

/// Whether a service has the one cluster IP `None`.
pub(crate) fn is_headless(spec: &View<'_>) -> bool {
    matches!(spec.list("clusterIPs"), [only] if only == "None")
}

/// Whether traffic from outside of the cluster reaches a service.
pub(crate) fn is_external(spec: &View<'_>) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.list("externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether a balancer asks nodes whether they have endpoints.
pub(crate) fn needs_health_check(spec: &View<'_>) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// Complaints about a service, new or changed.
pub(crate) fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let meta = View::of(object, "metadata");
    let notes = meta.inner("annotations");
    if notes.has(HINTS) && notes.has(MODE) && notes.text(HINTS) != notes.text(MODE) {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        let path = notes.path.key(MODE);
        errors.push(FieldError::invalid(&path, notes.text(MODE), why));
    }
    let spec = View::of(object, "spec");
    by_type(&mut errors, &spec);
    ports(&mut errors, &spec);
    errors.extend(meta::validate_labels(
        spec.value("selector"),
        &spec.at("selector"),
    ));
    affinity(&mut errors, &spec);
    errors.extend(addresses(&spec));
    for (path, address) in spec.texts("externalIPs") {
        let before = errors.len();
        ip::valid_ip(&mut errors, &path, address, &[]);
        if errors.len() == before {
            ip::not_special(&mut errors, &path, address);
        }
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    spec.required_one_of(&mut errors, "type", &types);
    node_ports(&mut errors, &spec);
    same_ports(&mut errors, &spec);
    source_ranges(&mut errors, &spec, &notes);
    let is_balancer = spec.text("type") == "LoadBalancer";
    if is_balancer && !spec.has("allocateLoadBalancerNodePorts") {
        let path = Path::new("allocateLoadBalancerNodePorts");
        errors.push(FieldError::required(&path, ""));
    }
    if !is_balancer {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            spec.forbid(&mut errors, field, FOR_BALANCERS);
        }
    } else if spec.has("loadBalancerClass") {
        let class = spec.text("loadBalancerClass");
        let path = spec.at("loadBalancerClass");
        named(&mut errors, &path, class, names::is_qualified_name);
    }
    traffic(&mut errors, &spec);
    errors
}

fn by_type(errors: &mut FieldErrors, spec: &View<'_>) {
    let kind = spec.text("type");
    let headless = is_headless(spec);
    if spec.list("ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&spec.at("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            let path = spec.at("clusterIPs").index(0);
            errors.push(FieldError::invalid(&path, "None", why));
        }
        "ExternalName" => {
            let why = "may not be set for ExternalName services";
            for field in ["clusterIPs", "ipFamilies"] {
                if !spec.list(field).is_empty() {
                    errors.push(FieldError::forbidden(&spec.at(field), why));
                }
            }
            spec.forbid(errors, "ipFamilyPolicy", why);
            let name = spec.text("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            let path = spec.at("externalName");
            if name.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else {
                named(errors, &path, name, names::is_dns1123_subdomain);
            }
        }
        _ => {}
    }
}

fn ports(errors: &mut FieldErrors, spec: &View<'_>) {
    let count = spec.list("ports").len();
    let mut seen = BTreeSet::new();
    for port in spec.maps("ports") {
        let name = port.text("name");
        if name.is_empty() {
            if count > 1 {
                errors.push(FieldError::required(&port.at("name"), ""));
            }
        } else {
            port.name(errors, "name", names::is_dns1123_label);
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&port.at("name"), name));
            }
        }
        let number = port.number("port").unwrap_or_default();
        for text in names::is_port_number(number) {
            errors.push(FieldError::invalid(&port.at("port"), number, text));
        }
        port.required_one_of(errors, "protocol", &["SCTP", "TCP", "UDP"]);
        port_number_or_name(errors, port.value("targetPort"), &port.at("targetPort"));
        if port.has("appProtocol") {
            let protocol = port.text("appProtocol");
            let path = port.at("appProtocol");
            named(errors, &path, protocol, names::is_qualified_name);
        }
    }
}

fn affinity(errors: &mut FieldErrors, spec: &View<'_>) {
    spec.required_one_of(errors, "sessionAffinity", &["ClientIP", "None"]);
    let config = spec.inner("sessionAffinityConfig");
    match spec.text("sessionAffinity") {
        "None" => {
            let why = "must not be set when session affinity is None";
            spec.forbid(errors, "sessionAffinityConfig", why);
        }
        "ClientIP" => {
            let why = "when session affinity type is ClientIP";
            let client = config.inner("clientIP");
            if !spec.has("sessionAffinityConfig") {
                errors.push(FieldError::required(&config.path, why));
            } else if !config.has("clientIP") {
                errors.push(FieldError::required(&client.path, why));
            } else if let Some(seconds) = client.number("timeoutSeconds") {
                if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                    let why =
                        format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    client.invalid(errors, "timeoutSeconds", why);
                }
            } else {
                errors.push(FieldError::required(&client.at("timeoutSeconds"), why));
            }
        }
        _ => {}
    }
}

fn node_ports(errors: &mut FieldErrors, spec: &View<'_>) {
    let number = |port: &View<'_>| port.number("nodePort").filter(|number| *number != 0);
    if spec.text("type") == "ClusterIP" {
        for port in spec.maps("ports").filter(|port| number(port).is_some()) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&port.at("nodePort"), why));
        }
    }
    let mut seen = BTreeSet::new();
    for port in spec.maps("ports") {
        if let Some(number) = number(&port)
            && !seen.insert((port.text("protocol"), number))
        {
            errors.push(FieldError::duplicate(&port.at("nodePort"), number));
        }
    }
}

fn same_ports(errors: &mut FieldErrors, spec: &View<'_>) {
    let mut seen = BTreeSet::new();
    for port in spec.maps("ports") {
        let (protocol, number) = (port.text("protocol"), port.number("port"));
        if !seen.insert((protocol, number)) {
            let mut key = Tree::new();
            key.insert("protocol".to_owned(), protocol.into());
            key.insert("port".to_owned(), number.unwrap_or_default().into());
            let shown = go_form::shown("io.k8s.api.core.v1.ServicePort", &key);
            errors.push(FieldError::duplicate_shown(&port.path, shown));
        }
    }
}

fn source_ranges(errors: &mut FieldErrors, spec: &View<'_>, notes: &View<'_>) {
    let is_balancer = spec.text("type") == "LoadBalancer";
    let ranges: Vec<&str> = spec
        .texts("loadBalancerSourceRanges")
        .map(|(_, range)| range.trim())
        .collect();
    if !ranges.is_empty() {
        // Upstream writes the field so.
        let path = spec.at("LoadBalancerSourceRanges");
        if !is_balancer {
            errors.push(FieldError::forbidden(&path, FOR_BALANCERS));
        }
        for (index, range) in ranges.into_iter().enumerate() {
            ip::valid_cidr(errors, &path.index(index), range, &[]);
        }
    } else if notes.has(SOURCE_RANGES) {
        let path = notes.path.key(SOURCE_RANGES);
        if !is_balancer {
            errors.push(FieldError::forbidden(&path, FOR_BALANCERS));
        }
        let ranges = notes.text(SOURCE_RANGES).trim();
        for range in ranges.split(',').filter(|_| !ranges.is_empty()) {
            ip::valid_cidr(errors, &path, range.trim(), &[]);
        }
    }
}

fn traffic(errors: &mut FieldErrors, spec: &View<'_>) {
    let policies = ["Cluster", "Local"];
    let policy = spec.text("externalTrafficPolicy");
    if is_external(spec) {
        spec.required_one_of(errors, "externalTrafficPolicy", &policies);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        spec.invalid(errors, "externalTrafficPolicy", why);
    }
    let health = spec.number("healthCheckNodePort").unwrap_or_default();
    let path = spec.at("healthCheckNodePort");
    if !needs_health_check(spec) {
        if health != 0 {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&path, health, why));
        }
    } else if health != 0 {
        // One that is not named yet is given out after this.
        for text in names::is_port_number(health) {
            errors.push(FieldError::invalid(&path, health, text));
        }
    }
    let kind = spec.text("type");
    let has_address = matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP");
    if has_address && !spec.has("internalTrafficPolicy") {
        let path = spec.at("internalTrafficPolicy");
        errors.push(FieldError::required(&path, ""));
    }
    spec.one_of(errors, "internalTrafficPolicy", &policies);
    let near = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    spec.one_of(errors, "trafficDistribution", &near);
}

/// Complaints about cluster IPs and their families.
pub(crate) fn addresses(spec: &View<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if spec.text("type") == "ExternalName" {
        return errors;
    }
    let (one, all) = (spec.text("clusterIP"), spec.list("clusterIPs"));
    let path = spec.at("clusterIPs");
    if one.is_empty() {
        if !all.is_empty() {
            let why = "must be empty when `clusterIP` is not specified";
            spec.invalid(&mut errors, "clusterIPs", why);
        }
    } else if all.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if all[0] != one {
        spec.invalid(
            &mut errors,
            "clusterIPs",
            "first value must match `clusterIP`",
        );
    }
    let mut seen = BTreeSet::new();
    for (path, family) in spec.texts("ipFamilies") {
        if !matches!(family, "IPv4" | "IPv6") {
            errors.push(FieldError::not_supported(&path, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(&path, family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    spec.one_of(&mut errors, "ipFamilyPolicy", &policies);
    let mut malformed = false;
    for (index, (path, address)) in spec.texts("clusterIPs").enumerate() {
        if index == 0 && address == "None" {
            if all.len() > 1 {
                malformed = true;
                let why = "'None' must be the first and only value";
                spec.invalid(&mut errors, "clusterIPs", why);
            }
            continue;
        }
        let before = errors.len();
        ip::valid_ip(&mut errors, &path, address, &[]);
        malformed |= errors.len() > before;
    }
    if all.len() > 2 {
        spec.invalid(&mut errors, "clusterIPs", "may only hold up to 2 values");
    }
    if malformed {
        return errors;
    }
    let parsed: Vec<_> = spec
        .texts("clusterIPs")
        .map(|(_, a)| ip::sloppy(a))
        .collect();
    if all.len() > 1 && !ip::is_dual_stack(&parsed) {
        let why = "may specify no more than one IP for each IP family";
        spec.invalid(&mut errors, "clusterIPs", why);
    }
    families(&mut errors, spec);
    errors
}

/// Every address is of the family that is named for it.
fn families(errors: &mut FieldErrors, spec: &View<'_>) {
    if is_headless(spec) {
        return;
    }
    let pairs = spec.texts("clusterIPs").zip(spec.texts("ipFamilies"));
    for (index, ((path, address), (_, family))) in pairs.enumerate() {
        let is_v6 = ip::sloppy(address).is_some_and(|address| address.is_ipv6());
        let wrong = match family {
            "IPv4" => is_v6,
            "IPv6" => !is_v6,
            _ => false,
        };
        if wrong {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&path, address, why));
        }
    }
}

/// Complaints about how a service changed.
pub(crate) fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (spec, before) = (View::of(new, "spec"), View::of(old, "spec"));
    let is_name = |spec: &View<'_>| spec.text("type") == "ExternalName";
    let headless = (is_headless(&before), is_headless(&spec));
    if !is_name(&spec) && !is_name(&before) {
        if headless != (true, true) {
            keeps_primary(&mut errors, &spec, &before, "clusterIPs", "clusterIP");
        }
        if headless == (false, false) {
            keeps_primary(&mut errors, &spec, &before, "ipFamilies", "ipFamily");
        }
    }
    let is_balancer = |spec: &View<'_>| spec.text("type") == "LoadBalancer";
    let class = "loadBalancerClass";
    if is_balancer(&spec) && is_balancer(&before) && spec.value(class) != before.value(class) {
        spec.invalid(&mut errors, class, "may not change once set");
    }
    let health = "healthCheckNodePort";
    let both_check = needs_health_check(&before) && needs_health_check(&spec);
    if both_check && spec.number(health) != before.number(health) {
        let why = "field is immutable";
        errors.push(FieldError::forbidden(&spec.at(health), why));
    }
    errors
}

/// The first of two stays; the second may come and go.
fn keeps_primary(
    errors: &mut FieldErrors,
    spec: &View<'_>,
    before: &View<'_>,
    field: &str,
    what: &str,
) {
    let (now, was) = (spec.list(field), before.list(field));
    let path = spec.at(field);
    let shown = || spec.value(field).cloned().unwrap_or_default();
    let changed = "may not change once set";
    if now.len() == was.len() {
        for (index, _) in was.iter().zip(now).enumerate().filter(|(_, (a, b))| a != b) {
            let at = if field == "ipFamilies" { 0 } else { index };
            errors.push(FieldError::invalid(&path.index(at), shown(), changed));
        }
        return;
    }
    if now.is_empty() {
        let why = format!("primary {what} can not be unset");
        errors.push(FieldError::invalid(&path.index(0), shown(), why));
        return;
    }
    if !was.is_empty() && now[0] != was[0] {
        errors.push(FieldError::invalid(&path.index(0), shown(), changed));
    }
    if was.len() > now.len() && now.len() == 1 && spec.text("ipFamilyPolicy") != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        spec.invalid(errors, "ipFamilyPolicy", why);
    }
}

/// Complaints about the addresses of a balancer.
/// What upstream warns about.
pub(crate) fn warnings(new: &Tree, old: Option<&Tree>) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = View::of(new, "spec");
    let is_new = |field: &str| {
        let former = old.and_then(|old| View::of(old, "spec").value(field));
        former.is_none() || former != spec.value(field)
    };
    let has_external = !spec.list("externalIPs").is_empty();
    if is_headless(&spec) {
        for (field, is_set) in [
            ("loadBalancerIP", !spec.text("loadBalancerIP").is_empty()),
            ("externalIPs", has_external),
        ] {
            if is_set {
                warnings.push(format!(
                    "spec.{field} is ignored when spec.clusterIP is \"None\""
                ));
            }
        }
        if !matches!(spec.text("sessionAffinity"), "" | "None") {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    } else if has_external && is_new("externalIPs") {
        let text =
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(text.to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" && is_new("trafficDistribution") {
        let text =
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(text.to_owned());
    }
    warnings
}

pub(crate) fn validate_status(new: &Tree, _: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let balancer = View::of(new, "status").inner("loadBalancer");
    let ingress = balancer.at("ingress");
    let is_balancer = View::of(new, "spec").text("type") == "LoadBalancer";
    if !is_balancer && !balancer.list("ingress").is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&ingress, why));
        return errors;
    }
    for one in balancer.maps("ingress") {
        let address = one.text("ip");
        if !address.is_empty() {
            ip::valid_ip(&mut errors, &one.at("ip"), address, &[]);
        }
        let mode = one.at("ipMode");
        if !one.has("ipMode") {
            if !address.is_empty() {
                let why = "must be specified when `ip` is set";
                errors.push(FieldError::required(&mode, why));
            }
        } else if address.is_empty() {
            let why = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(&mode, why));
        } else {
            one.one_of(&mut errors, "ipMode", &["Proxy", "VIP"]);
        }
        check::host_name(&mut errors, &one, "hostname");
    }
    errors
}
