//! `networking.k8s.io/v1` `Ingress`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{list, list_at, map, maps, text};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ing"]),
        subresources: vec![Subresource::status("Ingress")],
        strategy: Rules {
            validate,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses")
            .stored_at("/registry/ingress")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Class",
            "string",
            "The name of the IngressClass resource that should be used for additional configuration",
            |o, _| cells::text_or(o, &["spec", "ingressClassName"], "<none>"),
        ),
        Column::new(
            "Hosts",
            "string",
            "Hosts that incoming requests are matched against before the ingress rule",
            |o, _| cells::hosts(o),
        ),
        Column::new(
            "Address",
            "string",
            "Address is a list containing ingress points for the load-balancer",
            |o, _| cells::balancer(o),
        ),
        Column::new(
            "Ports",
            "string",
            "Ports of TLS configurations that open",
            |o, _| {
                (if list_at(o, &["spec", "tls"]).is_empty() {
                    "80"
                } else {
                    "80, 443"
                })
                .into()
            },
        ),
        Column::age(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    if map(spec, "defaultBackend").is_none() && list(spec, "rules").is_empty() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, Value::Null, why));
    }
    for (index, rule) in maps(spec, "rules").enumerate() {
        let path = path.child("rules").index(index);
        let host = text(rule, "host");
        if !host.is_empty() {
            let at = path.child("host");
            if host.parse::<std::net::IpAddr>().is_ok() {
                let why = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&at, host, why));
            } else if host.contains('*') {
                check::texts(
                    &mut errors,
                    &at,
                    host,
                    names::is_wildcard_dns1123_subdomain(host),
                );
            } else {
                check::texts(&mut errors, &at, host, names::is_dns1123_subdomain(host));
            }
        }
        let http = map(rule, "http").unwrap_or(&empty);
        for (index, one) in maps(http, "paths").enumerate() {
            let path = path.child("http").child("paths").index(index);
            validate_path(&mut errors, one, &path);
        }
    }
    let class = text(spec, "ingressClassName");
    if !class.is_empty() {
        let at = path.child("ingressClassName");
        check::texts(&mut errors, &at, class, names::is_dns1123_subdomain(class));
    }
    errors
}

fn validate_path(errors: &mut FieldErrors, one: &Tree, path: &Path) {
    match text(one, "pathType") {
        "" => {
            let why = "pathType must be specified";
            errors.push(FieldError::required(&path.child("pathType"), why));
        }
        "Exact" | "Prefix" => {
            let place = text(one, "path");
            if !place.starts_with('/') {
                let why = "must be an absolute path";
                errors.push(FieldError::invalid(&path.child("path"), place, why));
            }
        }
        _ => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            check::one_of(errors, one, "pathType", path, &supported);
        }
    }
}
