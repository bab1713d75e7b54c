//! Validation of requests for certificates, with upstream's texts.

use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::meta;
use crate::view::View;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeSet;

const SECONDS_MIN: i64 = 600;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

/// What a certificate may be used for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// What holds for every request, new or changed.
pub(crate) fn object(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    conditions(&mut errors, object);
    errors
}

/// What a new request must be.
pub(crate) fn create(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    if let Err(why) = pem_block(spec.text("request"), "CERTIFICATE REQUEST") {
        let shown = spec.value("request").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(&spec.at("request"), shown, why));
    }
    let path = spec.at("usages");
    if spec.list("usages").is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    let mut seen = BTreeSet::new();
    for (path, usage) in spec.texts("usages") {
        if !USAGES.contains(&usage) {
            errors.push(FieldError::not_supported(&path, usage, &USAGES));
        }
        if !seen.insert(usage) {
            errors.push(FieldError::duplicate(&path, usage));
        }
    }
    let signer = spec.text("signerName");
    if signer == LEGACY_SIGNER {
        let why = "the legacy signerName is not allowed via this API version";
        spec.invalid(&mut errors, "signerName", why);
    } else {
        check::signer_name(&mut errors, signer, &spec.at("signerName"));
    }
    let seconds = spec.number("expirationSeconds");
    if seconds.is_some_and(|seconds| seconds < SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        spec.invalid(&mut errors, "expirationSeconds", why);
    }
    errors
}

/// Whether a base64 text is one PEM block of a kind, without headers.
fn pem_block(encoded: &str, kind: &str) -> Result<(), String> {
    let text = STANDARD.decode(encoded).ok();
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    let begin = format!("-----BEGIN {kind}-----");
    let end = format!("-----END {kind}-----");
    let body = text.as_deref().and_then(|text| {
        let body = text.split_once(&begin)?.1;
        Some(body.split_once(&end)?.0)
    });
    let Some(body) = body else {
        return Err(format!("PEM block type must be {kind}"));
    };
    if body.contains(':') {
        return Err("no PEM block headers are permitted".to_owned());
    }
    let base64: String = body.split_whitespace().collect();
    match STANDARD.decode(base64) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the PEM block is not base64: {error}")),
    }
}

const VERDICTS: [&str; 2] = ["Approved", "Denied"];

fn conditions(errors: &mut FieldErrors, object: &Tree) {
    let status = View::of(object, "status");
    let mut seen = BTreeSet::new();
    for condition in status.maps("conditions") {
        let kind = condition.text("type");
        condition.required(errors, "type");
        let is_lasting = VERDICTS.contains(&kind) || kind == "Failed";
        let supported: &[&str] = if is_lasting {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        condition.required_one_of(errors, "status", supported);
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&condition.at("type"), kind));
        }
    }
    let has = |kind: &str| {
        status
            .maps("conditions")
            .any(|own| own.text("type") == kind)
    };
    if VERDICTS.iter().all(|kind| has(kind)) {
        let why = "Approved and Denied conditions are mutually exclusive";
        status.invalid(errors, "conditions", why);
    }
}

/// The types of conditions that came, and those that went.
fn moved(new: &Tree, old: &Tree) -> (BTreeSet<String>, BTreeSet<String>) {
    let kinds = |object: &Tree| -> BTreeSet<String> {
        let status = View::of(object, "status");
        let kinds = status.maps("conditions");
        kinds.map(|own| own.text("type").to_owned()).collect()
    };
    let (new, old) = (kinds(new), kinds(old));
    (
        new.difference(&old).cloned().collect(),
        old.difference(&new).cloned().collect(),
    )
}

fn forbid(errors: &mut FieldErrors, kinds: &BTreeSet<String>, what: &str, which: &[&str]) {
    let path = Path::new("status").child("conditions");
    for kind in which.iter().filter(|kind| kinds.contains(**kind)) {
        let why = format!("updates may not {what} a condition of type {kind:?}");
        errors.push(FieldError::forbidden(&path, why));
    }
}

const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

/// What an update may not do to conditions and the certificate.
pub(crate) fn update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (added, removed) = moved(new, old);
    forbid(&mut errors, &added, "add", &LASTING);
    forbid(&mut errors, &removed, "remove", &LASTING);
    keeps_certificate(&mut errors, new, old);
    errors
}

/// What a write of the status may not do.
pub(crate) fn status(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = object(new);
    let (added, removed) = moved(new, old);
    forbid(&mut errors, &added, "add", &VERDICTS);
    forbid(&mut errors, &removed, "remove", &LASTING);
    let certificate = View::of(new, "status");
    let issued = certificate.text("certificate");
    let former = View::of(old, "status");
    if !former.text("certificate").is_empty() && former.text("certificate") != issued {
        keeps_certificate(&mut errors, new, old);
    }
    if !issued.is_empty() {
        let holds = STANDARD.decode(issued).is_ok_and(|bytes| {
            String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----")
        });
        if !holds {
            let why = "must contain at least one CERTIFICATE PEM block";
            let path = certificate.at("certificate");
            errors.push(FieldError::invalid(&path, "<certificate data>", why));
        }
    }
    errors
}

/// What a verdict may not do.
pub(crate) fn approval(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = object(new);
    let (added, removed) = moved(new, old);
    forbid(&mut errors, &added, "add", &["Failed"]);
    forbid(&mut errors, &removed, "remove", &LASTING);
    keeps_certificate(&mut errors, new, old);
    errors
}

fn keeps_certificate(errors: &mut FieldErrors, new: &Tree, old: &Tree) {
    let certificate = |object: &Tree| View::of(object, "status").value("certificate").cloned();
    let path = Path::new("status").child("certificate");
    let (new, old) = (certificate(new), certificate(old));
    errors.extend(meta::immutable(new.as_ref(), old.as_ref(), &path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_of_the_right_kind_without_headers_is_taken() {
        for (text, is_good) in [
            ("-----BEGIN X-----\naGk=\n-----END X-----\n", true),
            ("hello", false),
            ("-----BEGIN Y-----\naGk=\n-----END Y-----\n", false),
            ("-----BEGIN X-----\nA: b\n\naGk=\n-----END X-----\n", false),
            ("-----BEGIN X-----\n***\n-----END X-----\n", false),
        ] {
            assert_eq!(
                pem_block(&STANDARD.encode(text), "X").is_ok(),
                is_good,
                "{text}"
            );
        }
        assert!(pem_block("***", "X").is_err());
    }
}
