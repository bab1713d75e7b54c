//! `networking.k8s.io/v1` `Ingress`.

use super::checks;
use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::ip;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{list_at, text_at};
use crate::view::{View, named};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ing"]),
        subresources: vec![Subresource::status("Ingress")],
        strategy: Rules {
            warnings,
            validate,
            validate_create,
            validate_status,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses")
            .stored_at("/registry/ingress")
    }
}

fn warnings(new: &Tree, _: Option<&Tree>) -> Vec<String> {
    let annotation = "kubernetes.io/ingress.class";
    let is_set = crate::tree::at(new, &["metadata", "annotations", annotation]).is_some();
    let text = format!(
        "annotation {annotation:?} is deprecated, please use 'spec.ingressClassName' instead"
    );
    is_set.then_some(text).into_iter().collect()
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
    let spec = View::of(object, "spec");
    if !spec.has("defaultBackend") && spec.list("rules").is_empty() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&spec.path, Value::Null, why));
    }
    if let Some(backend) = spec.map("defaultBackend") {
        checks::backend(&mut errors, &backend);
    }
    for rule in spec.maps("rules") {
        let host = rule.text("host");
        if !host.is_empty() {
            if ip::sloppy(host).is_some() {
                let why = "must be a DNS name, not an IP address";
                rule.invalid(&mut errors, "host", why);
            }
            checks::host(&mut errors, &rule.at("host"), host);
        }
        if let Some(http) = rule.map("http") {
            if http.list("paths").is_empty() {
                errors.push(FieldError::required(&http.at("paths"), ""));
            }
            for one in http.maps("paths") {
                validate_path(&mut errors, &one);
            }
        }
    }
    for tls in spec.maps("tls") {
        for (path, host) in tls.texts("hosts") {
            checks::host(&mut errors, &path, host);
        }
        tls.name(&mut errors, "secretName", names::is_dns1123_subdomain);
    }
    if spec.has("ingressClassName") {
        let path = spec.at("ingressClassName");
        let class = spec.text("ingressClassName");
        named(&mut errors, &path, class, names::is_dns1123_subdomain);
    }
    errors
}

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

fn validate_create(object: &Tree) -> FieldErrors {
    let annotation = text_at(object, &["metadata", "annotations", CLASS_ANNOTATION]);
    let class = text_at(object, &["spec", "ingressClassName"]);
    if annotation.is_empty() || class.is_empty() || annotation == class {
        return FieldErrors::new();
    }
    let why = "must match `ingressClassName` when both are specified";
    let path = Path::new("annotations").child(CLASS_ANNOTATION);
    vec![FieldError::invalid(&path, annotation, why)]
}

fn validate_status(new: &Tree, _: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let balancer = View::of(new, "status").inner("loadBalancer");
    for entry in balancer.maps("ingress") {
        let address = entry.text("ip");
        if !address.is_empty() {
            ip::valid_ip(&mut errors, &entry.at("ip"), address, &[]);
        }
        check::host_name(&mut errors, &entry, "hostname");
    }
    errors
}

const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];

fn validate_path(errors: &mut FieldErrors, one: &View<'_>) {
    let place = one.text("path");
    let kind = one.text("pathType");
    if !one.has("pathType") {
        let why = "pathType must be specified";
        errors.push(FieldError::required(&one.at("pathType"), why));
        return;
    }
    let mut complain = |why: &str| {
        errors.push(FieldError::invalid(&one.at("path"), place, why));
    };
    match kind {
        "Exact" | "Prefix" => {
            if !place.starts_with('/') {
                complain("must be an absolute path");
            }
            for bad in BAD_SEQUENCES.iter().filter(|bad| place.contains(**bad)) {
                complain(&format!("must not contain '{bad}'"));
            }
            for bad in BAD_ENDS.iter().filter(|bad| place.ends_with(**bad)) {
                complain(&format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !place.is_empty() && !place.starts_with('/') {
                complain("must be an absolute path");
            }
        }
        _ => one.one_of(
            errors,
            "pathType",
            &["Exact", "ImplementationSpecific", "Prefix"],
        ),
    }
    checks::backend(errors, &one.inner("backend"));
}
