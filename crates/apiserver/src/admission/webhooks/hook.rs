//! One webhook of a configuration.

use super::super::dynamic::{Conditions, Criteria};
use kontiki_kinds::expressions::Environment;
use kontiki_object::{Object, Value};
use std::time::Duration;

const TIMEOUT_SECONDS: u64 = 10;

/// One webhook.
pub(super) struct Hook {
    pub(super) configuration: String,
    pub(super) name: String,
    /// Tells it from others of the same name.
    pub(super) key: String,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    /// Whether a request is refused if it cannot be asked.
    pub(super) fails_closed: bool,
    /// Whether it may be asked about requests that change nothing.
    pub(super) is_free_of_side_effects: bool,
    /// Whether it wants to be asked again about what others have changed.
    pub(super) is_reinvoked: bool,
    pub(super) timeout: Duration,
    /// The forms of reviews that it reads, the best first.
    pub(super) review_versions: Vec<String>,
    pub(super) client_config: Value,
}

impl Hook {
    /// The webhooks of a configuration, in their order.
    pub(super) fn build_all(object: &Object) -> Vec<Self> {
        let list = object.get(&["webhooks"]).and_then(Value::as_array);
        let list = list.into_iter().flatten().enumerate();
        list.map(|(at, json)| Self::build(object.name(), at, json))
            .collect()
    }

    fn build(configuration: &str, at: usize, json: &Value) -> Self {
        let text = |field: &str| json[field].as_str().unwrap_or_default();
        let name = text("name").to_owned();
        let environment = Environment::of_request().with_authorizer();
        let versions = json["admissionReviewVersions"].as_array();
        let seconds = json["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS);
        Self {
            key: format!("{configuration}/{name}/{at}"),
            configuration: configuration.to_owned(),
            criteria: Criteria::of_webhook(json),
            conditions: Conditions::parse(&json["matchConditions"], &environment),
            fails_closed: text("failurePolicy") != "Ignore",
            is_free_of_side_effects: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            is_reinvoked: text("reinvocationPolicy") == "IfNeeded",
            timeout: Duration::from_secs(seconds),
            review_versions: versions
                .into_iter()
                .flatten()
                .filter_map(|version| version.as_str().map(str::to_owned))
                .collect(),
            client_config: json["clientConfig"].clone(),
            name,
        }
    }
}
