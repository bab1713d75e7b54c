//! Small checks that most validations are made of. Each adds what it finds.

use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::ip;
use crate::meta;
use crate::names;
use crate::tree::{map, maps, number, text};
use crate::view::{TextRule, View};
use kontiki_object::{LabelSelector, Value};

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Numbers that must not be negative.
pub(crate) fn not_negative(errors: &mut FieldErrors, tree: &Tree, fields: &[&str], path: &Path) {
    for field in fields {
        if let Some(value) = number(tree, field).filter(|value| *value < 0) {
            errors.push(FieldError::invalid(&path.child(field), value, NOT_NEGATIVE));
        }
    }
}

/// A text that must be set.
pub(crate) fn required(errors: &mut FieldErrors, tree: &Tree, field: &str, path: &Path) -> bool {
    let missing = text(tree, field).is_empty();
    if missing {
        errors.push(FieldError::required(&path.child(field), ""));
    }
    !missing
}

/// A text that, if set, is one of a few.
pub(crate) fn one_of(
    errors: &mut FieldErrors,
    tree: &Tree,
    field: &str,
    path: &Path,
    supported: &[&str],
) {
    if let Some(value) = tree.get(field).and_then(Value::as_str)
        && !supported.contains(&value)
    {
        errors.push(FieldError::not_supported(
            &path.child(field),
            value,
            supported,
        ));
    }
}

/// Texts about a value, as complaints about a field.
pub(crate) fn texts(errors: &mut FieldErrors, path: &Path, value: &str, texts: Vec<String>) {
    let found = texts.into_iter();
    errors.extend(found.map(|text| FieldError::invalid(path, value, text)));
}

/// A label selector.
pub(crate) fn selector(errors: &mut FieldErrors, selector: Option<&Value>, path: &Path) {
    let Some(selector) = selector.and_then(Value::as_object) else {
        return;
    };
    errors.extend(meta::validate_labels(
        selector.get("matchLabels"),
        &path.child("matchLabels"),
    ));
    for (index, one) in maps(selector, "matchExpressions").enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = crate::tree::list(one, "values");
        match text(one, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(&path.child("operator"), other, why));
            }
        }
        errors.extend(meta::validate_label_name(
            text(one, "key"),
            &path.child("key"),
        ));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let path = path.child("values").index(index);
            texts(errors, &path, value, names::is_label_value(value));
        }
    }
}

/// The name of a signer of certificates: a domain and a path.
pub(crate) fn signer_name(errors: &mut FieldErrors, name: &str, path: &Path) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, name, why));
        return;
    };
    if domain.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    let rules: [(&str, TextRule); 2] = [
        (domain, names::is_dns1123_label),
        (rest, names::is_dns1123_subdomain),
    ];
    for (part, rule) in rules {
        let bad = part.split('.').find(|label| !rule(label).is_empty());
        for text in bad.map(rule).into_iter().flatten() {
            let why = format!("validating label \"{}\": {text}", bad.unwrap_or_default());
            errors.push(FieldError::invalid(path, part, why));
        }
        if part == domain && !domain.contains('.') {
            let why = "should be a domain with at least two segments separated by dots";
            errors.push(FieldError::invalid(path, domain, why));
        }
    }
    // A domain, a path of a label and a subdomain, and what is between them.
    const LENGTH_MAX: usize = 253 + 1 + (253 + 63 + 1);
    if name.len() > LENGTH_MAX {
        errors.push(FieldError::too_long(path, LENGTH_MAX));
    }
}

/// A host by its name, not its address.
pub(crate) fn host_name(errors: &mut FieldErrors, holder: &View<'_>, field: &str) {
    let name = holder.text(field);
    if name.is_empty() {
        return;
    }
    holder.name(errors, field, names::is_dns1123_subdomain);
    if ip::sloppy(name).is_some() {
        holder.invalid(errors, field, "must be a DNS name, not an IP address");
    }
}

/// A path below a domain, for instance `acme.io/foo`.
pub(crate) fn domain_prefixed_path(errors: &mut FieldErrors, value: &str, path: &Path) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let parts = value.split_once('/');
    let Some((domain, rest)) =
        parts.filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(path, value, why));
        return;
    };
    for text in names::is_dns1123_subdomain(domain) {
        errors.push(FieldError::invalid(path, domain, text));
    }
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(in_path) {
        let why = names::regex_text("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(FieldError::invalid(path, rest, why));
    }
}

/// The selector of a workload: set, not empty, and met by its own template.
pub(crate) fn workload_selector(errors: &mut FieldErrors, spec: &Tree, what: &str, path: &Path) {
    let at = path.child("selector");
    let field = spec.get("selector").filter(|field| !field.is_null());
    let Some(field) = field else {
        errors.push(FieldError::required(&at, ""));
        return;
    };
    selector(errors, Some(field), &at);
    let Ok(parsed) = LabelSelector::from_field(Some(field)) else {
        return;
    };
    if parsed.is_everything() {
        let why = format!("empty selector is invalid for {what}");
        errors.push(FieldError::invalid(&at, field.clone(), why));
    }
    let labels = map(spec, "template")
        .and_then(|template| map(template, "metadata"))
        .and_then(|meta| map(meta, "labels"));
    let label = |key: &str| labels?.get(key)?.as_str();
    if !parsed.matches_with(label) {
        let at = path.child("template").child("metadata").child("labels");
        let shown = labels.map_or(Value::Null, |labels| Value::Object(labels.clone()));
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&at, shown, why));
    }
}

/// A number or a percentage.
pub(crate) fn count_or_percent(errors: &mut FieldErrors, value: Option<&Value>, path: &Path) {
    match value {
        Some(Value::String(text)) if !names::is_percent(text) => {
            let why = names::regex_text(
                "a valid percent string must be a numeric string followed by an ending '%'",
                "[0-9]+%",
                &["1%", "93%"],
            );
            errors.push(FieldError::invalid(path, text.as_str(), why));
        }
        Some(Value::Number(number)) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(FieldError::invalid(path, number.as_i64(), NOT_NEGATIVE));
        }
        _ => {}
    }
}

/// Percentages of more than everything make no sense.
pub(crate) fn at_most_everything(errors: &mut FieldErrors, value: Option<&Value>, path: &Path) {
    let Some(Value::String(text)) = value else {
        return;
    };
    let number = text.strip_suffix('%').and_then(|n| n.parse::<u64>().ok());
    if number.is_some_and(|number| number > 100) {
        let why = "must not be greater than 100%";
        errors.push(FieldError::invalid(path, text.as_str(), why));
    }
}

/// Whether a number or percentage is zero.
pub(crate) fn is_zero(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(text)) => text.trim_end_matches('%').parse::<u64>() == Ok(0),
        Some(_) => false,
    }
}

/// Fields that never change.
pub(crate) fn immutable(
    errors: &mut FieldErrors,
    new: &Tree,
    old: &Tree,
    fields: &[&str],
    path: &Path,
) {
    for field in fields {
        errors.extend(meta::immutable(
            new.get(*field),
            old.get(*field),
            &path.child(field),
        ));
    }
}
