//! One rule of a role.

use crate::authz::Attributes;
use kontiki_object::Value;
use serde::Deserialize;
use std::fmt;

/// One rule of a role: every listed verb on every listed thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|own| own == "*" || own == word)
}

impl Rule {
    /// From a role's field; what is malformed grants nothing.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// The rules of a role.
    #[must_use]
    pub fn list(rules: Option<&Value>) -> Vec<Self> {
        rules
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(Self::from_value)
            .collect()
    }

    /// Whether it allows this.
    #[must_use]
    pub fn allows(&self, asked: &Attributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !asked.is_resource {
            return self.covers_path(&asked.path);
        }
        has(&self.api_groups, &asked.group)
            && self.covers_resource(&asked.resource, &asked.subresource)
            && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
    }

    pub(super) fn covers_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|own| {
            own == "*"
                || own == path
                || own
                    .strip_suffix('*')
                    .is_some_and(|prefix| path.starts_with(prefix))
        })
    }

    fn covers_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| {
            if own == "*" {
                return true;
            }
            if subresource.is_empty() {
                return own == resource;
            }
            own.split_once('/').is_some_and(|(of, sub)| {
                // `*/scale` is the subresource of every resource.
                sub == subresource && (of == "*" || of == resource)
            })
        })
    }
}

impl fmt::Display for Rule {
    /// As refusals list missing rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let texts: Vec<String> = parts
            .iter()
            .filter(|(_, words)| !words.is_empty())
            .map(|(name, words)| {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                format!("{name}:[{}]", quoted.join(" "))
            })
            .collect();
        write!(f, "{{{}}}", texts.join(", "))
    }
}
