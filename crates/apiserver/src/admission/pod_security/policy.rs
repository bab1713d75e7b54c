//! What a namespace's labels ask of its pods.

use kontiki_kinds::{FieldError, FieldErrors, Path, Tree};
use kontiki_object::Value;
use std::fmt;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may do to its node; later ones allow less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Self::Privileged,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            _ => return None,
        })
    }
}

/// The minor version whose rules hold; `None` for the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version(Option<u32>);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self(None));
        }
        let minor = text.strip_prefix("v1.")?;
        let is_number = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || (minor.len() > 1 && minor.starts_with('0')) {
            return None;
        }
        Some(Self(Some(minor.parse().ok()?)))
    }

    /// Whether rules that came with 1.`minor` hold.
    pub(super) fn has(self, minor: u32) -> bool {
        self.0.is_none_or(|own| own >= minor)
    }
}

/// A level as a version of Kubernetes defined it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version.0 {
            None => f.write_str(":latest"),
            Some(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

/// What is enforced, and what is warned about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) warn: Standard,
}

/// One mode's labels; `or` is the level that a malformed one stands for.
fn standard(labels: &Tree, mode: &str, or: Level, errors: &mut FieldErrors) -> Option<Standard> {
    let mut standard = Standard::default();
    let mut complain = |label: String, text: &str, why: &str| {
        let path = Path::new("metadata").child("labels").key(&label);
        errors.push(FieldError::invalid(&path, Value::from(text), why));
    };
    let label = format!("{PREFIX}{mode}");
    let level = labels.get(&label).and_then(Value::as_str);
    if let Some(text) = level {
        standard.level = Level::parse(text).unwrap_or_else(|| {
            complain(
                label,
                text,
                "must be one of privileged, baseline, restricted",
            );
            or
        });
    }
    let label = format!("{PREFIX}{mode}-version");
    let version = labels.get(&label).and_then(Value::as_str);
    if let Some(text) = version {
        standard.version = Version::parse(text).unwrap_or_else(|| {
            complain(label, text, "must be \"latest\" or \"v1.x\"");
            Version::default()
        });
    }
    (level.is_some() || version.is_some()).then_some(standard)
}

impl Policy {
    /// Of a namespace, with what is wrong with its labels. Enforcement fails
    /// closed, warnings fail open. Without a level of their own, warnings follow
    /// what is enforced.
    pub(super) fn of(namespace: &Tree) -> (Self, FieldErrors) {
        let mut errors = FieldErrors::default();
        let labels = namespace
            .get("metadata")
            .and_then(|metadata| metadata.get("labels")?.as_object());
        let Some(labels) = labels else {
            return (Self::default(), errors);
        };
        let enforce = standard(labels, "enforce", Level::Restricted, &mut errors);
        let _ = standard(labels, "audit", Level::Privileged, &mut errors);
        let warn = standard(labels, "warn", Level::Privileged, &mut errors);
        let enforce = enforce.unwrap_or_default();
        let warn = match warn {
            Some(warn) if labels.contains_key(&format!("{PREFIX}warn")) => warn,
            Some(warn) => Standard {
                level: enforce.level,
                ..warn
            },
            None => enforce,
        };
        (Self { enforce, warn }, errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(labels: &Value) -> (Policy, FieldErrors) {
        let namespace = json!({"metadata": {"labels": labels}});
        Policy::of(namespace.as_object().expect("a map"))
    }

    #[test]
    fn labels_name_levels_and_versions() {
        for (labels, enforce, warn) in [
            (json!({}), "privileged:latest", "privileged:latest"),
            (
                json!({"enforce": "baseline"}),
                "baseline:latest",
                "baseline:latest",
            ),
            (
                json!({"enforce": "baseline", "enforce-version": "v1.8", "warn": "restricted"}),
                "baseline:v1.8",
                "restricted:latest",
            ),
            (
                json!({"warn": "baseline", "warn-version": "v1.30"}),
                "privileged:latest",
                "baseline:v1.30",
            ),
            // Closed for what is enforced, open for the rest.
            (
                json!({"enforce": "x"}),
                "restricted:latest",
                "restricted:latest",
            ),
            (
                json!({"warn": "x"}),
                "privileged:latest",
                "privileged:latest",
            ),
        ] {
            let full: Tree = labels
                .as_object()
                .expect("a map")
                .iter()
                .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))
                .collect();
            let (policy, _) = of(&Value::Object(full));
            assert_eq!(policy.enforce.to_string(), enforce, "{labels}");
            assert_eq!(policy.warn.to_string(), warn, "{labels}");
        }
    }

    #[test]
    fn malformed_labels_are_complained_about() {
        for (key, value, is_good) in [
            ("enforce", "strict", false),
            ("audit", "strict", false),
            ("warn-version", "v1.30", true),
            ("warn-version", "v1.030", false),
            ("warn-version", "1.30", false),
            ("warn-version", "v1.", false),
            ("enforce-version", "v1.99999999999999999999", false),
        ] {
            let (_, errors) = of(&json!({format!("{PREFIX}{key}"): value}));
            assert_eq!(errors.is_empty(), is_good, "{key}={value}");
        }
    }
}
