//! Validation of projected volumes.

use super::volumes::{downward_file, items, mode};
use super::{Owner, paths};
use crate::check;
use crate::field::{FieldError, FieldErrors};
use crate::names;
use crate::view::View;
use std::collections::BTreeSet;

const TWICE: &str = "conflicting duplicate paths";

pub(super) fn check(errors: &mut FieldErrors, view: &View<'_>, _: &Owner<'_>) {
    mode(errors, view, "defaultMode");
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for source in view.maps("sources") {
        let mut count = 0;
        for field in ["secret", "configMap"] {
            if let Some(one) = source.map(field) {
                count += 1;
                one.required(errors, "name");
                items(errors, &one);
                for item in one.maps("items") {
                    let place = item.text("path");
                    if !place.is_empty() && !seen.insert(place.to_owned()) {
                        errors.push(FieldError::invalid(&view.path, one.text("name"), TWICE));
                    }
                }
            }
        }
        if let Some(one) = source.map("downwardAPI") {
            count += 1;
            for file in one.maps("items") {
                downward_file(errors, &file, &one.path);
                let place = file.text("path");
                if !place.is_empty() && !seen.insert(place.to_owned()) {
                    errors.push(FieldError::invalid(&view.path, place, TWICE));
                }
            }
        }
        if let Some(token) = source.map("serviceAccountToken") {
            count += 1;
            service_account_token(errors, &token, view);
        }
        if let Some(bundle) = source.map("clusterTrustBundle") {
            count += 1;
            trust_bundle(errors, &bundle);
            let place = bundle.text("path");
            if !seen.insert(place.to_owned()) {
                errors.push(FieldError::invalid(&view.path, place, TWICE));
            }
        }
        if count > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(&source.path, why));
        }
    }
}

fn service_account_token(errors: &mut FieldErrors, token: &View<'_>, volume: &View<'_>) {
    let seconds = token.number("expirationSeconds").unwrap_or_default();
    let path = token.at("expirationSeconds");
    if seconds < 600 {
        let why = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(&path, seconds, why));
    }
    if seconds > 1 << 32 {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(&path, seconds, why));
    }
    let place = token.text("path");
    if place.is_empty() {
        errors.push(FieldError::required(&volume.at("path"), ""));
    } else {
        paths::local(errors, place, &volume.at("path"));
    }
}

fn trust_bundle(errors: &mut FieldErrors, bundle: &View<'_>) {
    match (bundle.has("name"), bundle.has("signerName")) {
        (true, true) => {
            let why = "only one of name and signerName may be used";
            let shown = crate::go_form::shown(
                "io.k8s.api.core.v1.ClusterTrustBundleProjection",
                bundle.tree,
            );
            errors.push(FieldError::invalid_shown(&bundle.path, shown, why));
        }
        (true, false) => {
            let name = bundle.text("name");
            if name.is_empty() {
                let why = "must be a valid object name";
                errors.push(FieldError::required(&bundle.at("name"), why));
            }
            // A bundle of a signer is named `signer:domain:name`.
            let last = name.rsplit(':').next().unwrap_or(name);
            for text in names::is_dns1123_subdomain(last) {
                let why = format!("not a valid clustertrustbundlename: {text}");
                bundle.invalid(errors, "name", why);
            }
            if bundle.has("labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                bundle.invalid(errors, "labelSelector", why);
            }
        }
        (false, true) => {
            if bundle.text("signerName").is_empty() {
                let why = "must be a valid signer name";
                errors.push(FieldError::required(&bundle.at("signerName"), why));
            }
            check::signer_name(errors, bundle.text("signerName"), &bundle.at("signerName"));
            let path = bundle.at("labelSelector");
            check::selector(errors, bundle.value("labelSelector"), &path);
        }
        (false, false) => {
            let why = "either name or signerName must be specified";
            errors.push(FieldError::required(&bundle.path, why));
        }
    }
    bundle.required(errors, "path");
    paths::local(errors, bundle.text("path"), &bundle.at("path"));
}
