//! Validation of probes and lifecycle hooks.

use crate::field::{FieldError, FieldErrors, Path};
use crate::names;
use crate::view::{View, named};
use kontiki_object::Value;

const ONE_ONLY: &str = "may not specify more than 1 handler type";

/// Checks the probes and hooks of a container that keeps running.
pub(super) fn check(errors: &mut FieldErrors, container: &View<'_>, grace: Option<i64>) {
    if let Some(lifecycle) = container.map("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.map(hook) {
                handler(
                    errors,
                    &hook,
                    &["exec", "httpGet", "tcpSocket", "sleep"],
                    grace,
                );
            }
        }
        signal(errors, &lifecycle);
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.map(field) {
            check_probe(errors, &probe, field, grace);
        }
    }
}

fn signal(errors: &mut FieldErrors, lifecycle: &View<'_>) {
    let signal = lifecycle.text("stopSignal");
    if !signal.is_empty() && !signal.starts_with("SIG") {
        errors.push(FieldError::not_supported(
            &lifecycle.at("stopSignal"),
            signal,
            &[],
        ));
    }
}

fn check_probe(errors: &mut FieldErrors, probe: &View<'_>, field: &str, grace: Option<i64>) {
    handler(
        errors,
        probe,
        &["exec", "httpGet", "tcpSocket", "grpc"],
        grace,
    );
    probe.not_negative(
        errors,
        &[
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ],
    );
    let own_grace = probe.number("terminationGracePeriodSeconds");
    if own_grace.is_some_and(|seconds| seconds <= 0) {
        probe.invalid(
            errors,
            "terminationGracePeriodSeconds",
            "must be greater than 0",
        );
    }
    if field == "readinessProbe" {
        if own_grace.is_some() {
            let why = "must not be set for readinessProbes";
            probe.invalid(errors, "terminationGracePeriodSeconds", why);
        }
    } else if probe.number("successThreshold").unwrap_or_default() != 1 {
        let shown = probe.number("successThreshold").unwrap_or_default();
        errors.push(FieldError::invalid(
            &probe.at("successThreshold"),
            shown,
            "must be 1",
        ));
    }
}

fn handler(errors: &mut FieldErrors, holder: &View<'_>, kinds: &[&str], grace: Option<i64>) {
    let mut found = false;
    for kind in kinds {
        let Some(action) = holder.map(kind) else {
            continue;
        };
        if found {
            errors.push(FieldError::forbidden(&action.path, ONE_ONLY));
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                if action.list("command").is_empty() {
                    errors.push(FieldError::required(&action.at("command"), ""));
                }
            }
            "httpGet" => http_get(errors, &action),
            "tcpSocket" => port(errors, action.value("port"), &action.at("port")),
            "grpc" => {
                let number = action.number("port").unwrap_or_default();
                port(errors, Some(&number.into()), &action.at("port"));
            }
            _ => sleep(errors, &action, grace),
        }
    }
    if !found {
        let why = "must specify a handler type";
        errors.push(FieldError::required(&holder.path, why));
    }
}

fn sleep(errors: &mut FieldErrors, action: &View<'_>, grace: Option<i64>) {
    let seconds = action.number("seconds").unwrap_or_default();
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(&action.path, seconds, why));
    }
}

fn http_get(errors: &mut FieldErrors, get: &View<'_>) {
    get.required(errors, "path");
    port(errors, get.value("port"), &get.at("port"));
    let schemes = ["HTTP", "HTTPS"];
    if !schemes.contains(&get.text("scheme")) {
        let scheme = get.text("scheme");
        errors.push(FieldError::not_supported(
            &get.at("scheme"),
            scheme,
            &schemes,
        ));
    }
    for header in get.maps("httpHeaders") {
        let path = get.at("httpHeaders");
        named(
            errors,
            &path,
            header.text("name"),
            names::is_http_header_name,
        );
    }
}

/// A port by its number or name.
pub(crate) fn port(errors: &mut FieldErrors, value: Option<&Value>, path: &Path) {
    match value {
        Some(Value::String(name)) => named(errors, path, name, names::is_port_name),
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or_default();
            for text in names::is_port_number(number) {
                errors.push(FieldError::invalid(path, number, text));
            }
        }
    }
}
