//! `spec` of a definition: its versions, and what they share.

use super::{internal, names, schema, text};
use kontiki_kinds::names::{is_dns1035_label, is_dns1123_subdomain};
use kontiki_kinds::{FieldError, FieldErrors, Path};
use kontiki_object::Value;
use std::collections::HashSet;

/// What versions may share: the field of a version, and the field of the
/// internal form that it moves to.
const SHARED: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// Complaints about a definition's spec.
pub(super) fn spec(spec: &Value) -> FieldErrors {
    let path = Path::new("spec");
    let mut errors = FieldErrors::new();
    let versions: &[Value] = spec["versions"].as_array().map_or(&[], Vec::as_slice);
    group(spec, &path, &mut errors);
    match text(Some(spec), "scope") {
        "" => errors.push(FieldError::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported(
            &path.child("scope"),
            other,
            &["Cluster", "Namespaced"],
        )),
    }
    let shared = |field: &str| {
        let first = versions.first().map(|version| &version[field]);
        first.filter(|first| versions.iter().all(|version| version[field] == **first))
    };
    let is_shared: Vec<&str> = SHARED
        .iter()
        .map(|(field, _)| *field)
        .filter(|field| shared(field).is_some())
        .collect();
    let path_versions = path.child("versions");
    for (at, version) in versions.iter().enumerate() {
        let path = path_versions.index(at);
        if version["schema"]["openAPIV3Schema"].is_null() {
            let at = path.child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&at, ""));
        }
        let name = text(Some(version), "name");
        let problems = is_dns1035_label(name);
        if !problems.is_empty() {
            let why = problems.join(",");
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        }
        deprecation(version, &path, &mut errors);
        for (field, _) in SHARED
            .iter()
            .filter(|(field, _)| !is_shared.contains(field))
        {
            let schema = &version["schema"]["openAPIV3Schema"];
            part(
                field,
                &version[*field],
                schema,
                &path.child(field),
                &mut errors,
            );
        }
    }
    let complain = |errors: &mut FieldErrors, why: &str| {
        let shown = internal::versions(versions, &is_shared);
        errors.push(internal::invalid(&path_versions, &shown, why));
    };
    let distinct: HashSet<&str> = versions
        .iter()
        .map(|version| text(Some(version), "name"))
        .collect();
    if distinct.len() < versions.len() {
        complain(&mut errors, "must contain unique version names");
    }
    let storage = versions.iter().filter(|version| version["storage"] == true);
    if storage.count() != 1 {
        complain(
            &mut errors,
            "must have exactly one version marked as storage version",
        );
    }
    let path_names = path.child("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(Some(&spec["names"]), field).is_empty() {
            errors.push(FieldError::required(&path_names.child(field), ""));
        }
    }
    errors.extend(names::validate(&spec["names"], &path_names));
    for (field, internal) in SHARED {
        if let Some(value) = shared(field) {
            let schema = &versions[0]["schema"]["openAPIV3Schema"];
            part(field, value, schema, &path.child(internal), &mut errors);
        }
    }
    conversion(&spec["conversion"], &path.child("conversion"), &mut errors);
    errors
}

fn group(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let group = text(Some(spec), "group");
    let path = path.child("group");
    if group.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let problems = is_dns1123_subdomain(group);
    if !problems.is_empty() {
        errors.push(FieldError::invalid(&path, group, problems.join(",")));
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        errors.push(FieldError::invalid(&path, group, why));
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(warning) = version["deprecationWarning"].as_str() else {
        return;
    };
    let path = path.child("deprecationWarning");
    let mut complain = |why: &str| errors.push(FieldError::invalid(&path, warning, why));
    if version["deprecated"] != true {
        complain("can only be set for deprecated versions");
    }
    if warning.is_empty() {
        complain("must not be empty");
    } else if warning.chars().any(char::is_control) {
        complain("must only contain printable UTF-8 characters; non-printable characters found");
    } else if warning.chars().count() > 256 {
        complain("must be <= 256 characters long");
    }
}

fn part(field: &str, value: &Value, schema: &Value, path: &Path, errors: &mut FieldErrors) {
    match field {
        "schema" => {
            let at = path.child("openAPIV3Schema");
            errors.extend(schema::validate(&value["openAPIV3Schema"], &at));
        }
        "subresources" => scale(&value["scale"], &path.child("scale"), errors),
        "additionalPrinterColumns" => {
            for (at, column) in value.as_array().into_iter().flatten().enumerate() {
                self::column(column, &path.index(at), errors);
            }
        }
        _ => selectable(value, schema, path, errors),
    }
}

fn scale(scale: &Value, path: &Path, errors: &mut FieldErrors) {
    if scale.is_null() {
        return;
    }
    let mut check = |field: &str, prefixes: &[&str], why: &str, is_required: bool| {
        let value = text(Some(scale), field);
        if value.is_empty() && is_required {
            errors.push(FieldError::required(&path.child(field), ""));
        } else if !value.is_empty() {
            let is_below = prefixes.iter().any(|prefix| value.starts_with(prefix));
            if value.contains('[') {
                let why = "is an invalid json path: array notation is not supported";
                errors.push(FieldError::invalid(&path.child(field), value, why));
            } else if !is_below {
                errors.push(FieldError::invalid(&path.child(field), value, why));
            }
        }
    };
    check(
        "specReplicasPath",
        &[".spec."],
        "should be a json path under .spec",
        true,
    );
    check(
        "statusReplicasPath",
        &[".status."],
        "should be a json path under .status",
        true,
    );
    check(
        "labelSelectorPath",
        &[".spec.", ".status."],
        "should be a json path under either .status or .spec",
        false,
    );
}

fn column(column: &Value, path: &Path, errors: &mut FieldErrors) {
    let field = |name: &str| text(Some(column), name);
    if field("name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    if field("type").is_empty() {
        let why = format!("must be one of {}", TYPES.join(","));
        errors.push(FieldError::required(&path.child("type"), why));
    } else if !TYPES.contains(&field("type")) {
        let why = format!("must be one of {}", TYPES.join(","));
        let at = path.child("type");
        errors.push(FieldError::invalid(&at, field("type"), why));
    }
    const FORMATS: [&str; 8] = [
        "byte",
        "date",
        "date-time",
        "double",
        "float",
        "int32",
        "int64",
        "password",
    ];
    if !field("format").is_empty() && !FORMATS.contains(&field("format")) {
        let why = format!("must be one of {}", FORMATS.join(","));
        let at = path.child("format");
        errors.push(FieldError::invalid(&at, field("format"), why));
    }
    if field("jsonPath").is_empty() {
        errors.push(FieldError::required(&path.child("JSONPath"), ""));
    }
}

/// Fields that selectors may name exist, and are scalars.
fn selectable(fields: &Value, schema: &Value, path: &Path, errors: &mut FieldErrors) {
    const FIELDS_MAX: usize = 8;
    let fields: &[Value] = fields.as_array().map_or(&[], Vec::as_slice);
    if fields.len() > FIELDS_MAX {
        errors.push(FieldError::too_many(path, fields.len(), FIELDS_MAX));
    }
    let mut seen = HashSet::new();
    for (at, field) in fields.iter().enumerate() {
        let json_path = text(Some(field), "jsonPath");
        let path = path.index(at).child("jsonPath");
        if json_path.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        if !seen.insert(json_path) {
            errors.push(FieldError::duplicate(&path, json_path));
        }
        if json_path.starts_with(".metadata") {
            let why = "must not point to fields in metadata";
            errors.push(FieldError::invalid(&path, json_path, why));
            continue;
        }
        let steps = json_path.strip_prefix('.').unwrap_or(json_path).split('.');
        let found = steps.fold(schema, |schema, step| &schema["properties"][step]);
        if found.is_null() {
            let why = "is an invalid path: does not refer to a valid field";
            errors.push(FieldError::invalid(&path, json_path, why));
        } else if !matches!(
            found["type"].as_str(),
            Some("string" | "integer" | "boolean")
        ) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&path, json_path, why));
        }
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut FieldErrors) {
    let webhook = &conversion["webhook"];
    let client = &webhook["clientConfig"];
    match text(Some(conversion), "strategy") {
        "Webhook" => {
            let at = path.child("webhookClientConfig");
            if client.is_null() {
                let why = "required when strategy is set to Webhook";
                errors.push(FieldError::required(&at, why));
            } else {
                client_config(client, &at, errors);
            }
            review_versions(webhook, &path.child("conversionReviewVersions"), errors);
        }
        "None" | "" => {
            let why = "should not be set when strategy is not set to Webhook";
            if !client.is_null() {
                errors.push(FieldError::forbidden(
                    &path.child("webhookClientConfig"),
                    why,
                ));
            }
            if !webhook["conversionReviewVersions"].is_null() {
                let at = path.child("conversionReviewVersions");
                errors.push(FieldError::forbidden(&at, why));
            }
        }
        other => errors.push(FieldError::not_supported(
            &path.child("strategy"),
            other,
            &["None", "Webhook"],
        )),
    }
}

fn review_versions(webhook: &Value, path: &Path, errors: &mut FieldErrors) {
    let versions = webhook["conversionReviewVersions"].as_array();
    let Some(versions) = versions.filter(|versions| !versions.is_empty()) else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    let mut seen = HashSet::new();
    for (at, version) in versions.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        let problems = is_dns1035_label(name);
        if !seen.insert(name) {
            errors.push(FieldError::invalid(
                &path.index(at),
                name,
                "duplicate version",
            ));
        } else if !problems.is_empty() {
            let why = problems.join(",");
            errors.push(FieldError::invalid(&path.index(at), name, why));
        }
    }
    if !versions
        .iter()
        .any(|version| version == "v1" || version == "v1beta1")
    {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, versions.clone(), why));
    }
}

fn client_config(client: &Value, path: &Path, errors: &mut FieldErrors) {
    let url = text(Some(client), "url");
    let service = &client["service"];
    match (url.is_empty(), service.is_null()) {
        (false, true) => {
            let path = path.child("url");
            let rest = url.strip_prefix("https://");
            match rest {
                None => {
                    let why = format!(
                        "'https' is the only allowed URL scheme; desired format: https://host[/path]{}",
                        if url.contains("://") {
                            ""
                        } else {
                            "; url must be valid"
                        }
                    );
                    errors.push(FieldError::invalid(&path, url, why));
                }
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    let why = "host must be specified; desired format: https://host[/path]";
                    errors.push(FieldError::invalid(&path, url, why));
                }
                Some(_) => {}
            }
        }
        (true, false) => {
            let path = path.child("service");
            for field in ["name", "namespace"] {
                if text(Some(service), field).is_empty() {
                    let why = format!("service {field} is required");
                    errors.push(FieldError::required(&path.child(field), why));
                }
            }
            let port = service["port"].as_i64().unwrap_or(443);
            if !(1..=65535).contains(&port) {
                let why = "port is not valid: must be between 1 and 65535, inclusive";
                errors.push(FieldError::invalid(&path.child("port"), port, why));
            }
            let sub = text(Some(service), "path");
            if !sub.is_empty() && !sub.starts_with('/') {
                let why = "must start with a '/'";
                errors.push(FieldError::invalid(&path.child("path"), sub, why));
            }
        }
        _ => errors.push(FieldError::required(
            path,
            "exactly one of url or service is required",
        )),
    }
}
