//! Validation of network policies and of what ingresses lead to.

use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::ip;
use crate::names;
use crate::view::{View, named};
use kontiki_object::Value;

/// The spec of a network policy.
pub(super) fn network_policy(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let selector = "podSelector";
    check::selector(&mut errors, spec.value(selector), &spec.at(selector));
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.maps(rules) {
            for one in rule.maps("ports") {
                policy_port(&mut errors, &one);
            }
            for one in rule.maps(peers) {
                peer(&mut errors, &one);
            }
        }
    }
    let types = ["Ingress", "Egress"];
    if spec.list("policyTypes").len() > types.len() {
        let why = "may not specify more than two policyTypes";
        spec.invalid(&mut errors, "policyTypes", why);
        return errors;
    }
    for (path, one) in spec.texts("policyTypes") {
        if !types.contains(&one) {
            errors.push(FieldError::not_supported(&path, one, &types));
        }
    }
    errors
}

fn policy_port(errors: &mut FieldErrors, port: &View<'_>) {
    port.one_of(errors, "protocol", &["TCP", "UDP", "SCTP"]);
    let end = port.number("endPort");
    match port.value("port") {
        Some(Value::String(name)) => {
            if end.is_some() {
                let why = "may not be specified when `port` is non-numeric";
                port.invalid(errors, "endPort", why);
            }
            named(errors, &port.at("port"), name, names::is_port_name);
        }
        Some(number) => {
            let first = number.as_i64().unwrap_or_default();
            for why in names::is_port_number(first) {
                port.invalid(errors, "port", why);
            }
            let Some(end) = end else {
                return;
            };
            if end < first {
                let why = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&port.at("endPort"), first, why));
            }
            for why in names::is_port_number(end) {
                port.invalid(errors, "endPort", why);
            }
        }
        None if end.is_some() => {
            let why = "may not be specified when `port` is not specified";
            port.invalid(errors, "endPort", why);
        }
        None => {}
    }
}

fn peer(errors: &mut FieldErrors, peer: &View<'_>) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.value(field) {
            count += 1;
            check::selector(errors, Some(selector), &peer.at(field));
        }
    }
    if let Some(block) = peer.map("ipBlock") {
        count += 1;
        ip_block(errors, &block);
    }
    if count == 0 {
        errors.push(FieldError::required(&peer.path, "must specify a peer"));
    } else if count > 1 && peer.has("ipBlock") {
        let why = "may not specify both ipBlock and another peer";
        errors.push(FieldError::forbidden(&peer.path, why));
    }
}

fn ip_block(errors: &mut FieldErrors, block: &View<'_>) {
    if !block.required(errors, "cidr") {
        return;
    }
    let text = block.text("cidr");
    ip::valid_cidr(errors, &block.at("cidr"), text, &[]);
    let Some(whole) = ip::sloppy_cidr(text) else {
        return;
    };
    for (path, text) in block.texts("except") {
        ip::valid_cidr(errors, &path, text, &[]);
        let Some(part) = ip::sloppy_cidr(text) else {
            continue;
        };
        if !ip::contains(whole, part.0) || whole.1 >= part.1 {
            let why = "must be a strict subset of `cidr`";
            errors.push(FieldError::invalid(&path, text, why));
        }
    }
}

/// Where an ingress sends requests.
pub(super) fn backend(errors: &mut FieldErrors, backend: &View<'_>) {
    let complain = |errors: &mut FieldErrors, why: &str| {
        errors.push(FieldError::invalid(&backend.path, "", why));
    };
    match (backend.map("resource"), backend.map("service")) {
        (Some(_), Some(_)) => {
            complain(errors, "cannot set both resource and service backends");
        }
        (Some(resource), None) => reference(errors, &resource),
        (None, Some(service)) => {
            service.required_name(errors, "name", names::is_dns1035_label);
            let port = service.inner("port");
            let number = port.number("number").filter(|number| *number != 0);
            match (port.text("name"), number) {
                ("", None) => {
                    let why = "port name or number is required";
                    errors.push(FieldError::required(&backend.path, why));
                }
                (_, None) => port.name(errors, "name", names::is_port_name),
                ("", Some(number)) => {
                    for why in names::is_port_number(number) {
                        port.invalid(errors, "number", why);
                    }
                }
                (_, Some(_)) => complain(errors, "cannot set both port name & port number"),
            }
        }
        (None, None) => complain(errors, "resource or service backend is required"),
    }
}

/// A reference to an object by its group, kind, and name.
pub(super) fn reference(errors: &mut FieldErrors, reference: &View<'_>) {
    if reference.has("apiGroup") {
        let path = reference.at("apiGroup");
        named(
            errors,
            &path,
            reference.text("apiGroup"),
            names::is_dns1123_subdomain,
        );
    }
    for field in ["kind", "name"] {
        if reference.text(field).is_empty() {
            let why = format!("{field} is required");
            errors.push(FieldError::required(&reference.at(field), why));
        } else {
            reference.name(errors, field, names::is_path_segment);
        }
    }
}

/// The host of a rule or certificate: a name, whose first label may be a star.
pub(super) fn host(errors: &mut FieldErrors, path: &Path, host: &str) {
    let rule = if host.contains('*') {
        names::is_wildcard_dns1123_subdomain
    } else {
        names::is_dns1123_subdomain
    };
    named(errors, path, host, rule);
}
