//! What puts a policy in force: for which requests, with which parameters.

use super::super::dynamic::Criteria;
use kontiki_object::{LabelSelector, Object, Value};

/// A binding of either kind.
pub(super) struct Binding {
    pub(super) name: String,
    /// The policy's name.
    pub(super) policy: String,
    /// `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
    pub(super) param_ref: Option<ParamRef>,
    pub(super) criteria: Option<Criteria>,
}

/// Which parameters.
pub(super) struct ParamRef {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) selector: Option<Result<LabelSelector, String>>,
    /// Whether a request is refused if there are none.
    pub(super) is_needed: bool,
}

fn given<'a>(json: &'a Value, field: &str) -> Option<&'a Value> {
    json.get(field).filter(|value| !value.is_null())
}

impl Binding {
    pub(super) fn build(object: &Object) -> Self {
        let spec = object.get(&["spec"]).cloned().unwrap_or_default();
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: object.name().to_owned(),
            policy: spec["policyName"].as_str().unwrap_or_default().to_owned(),
            actions: actions
                .filter_map(|action| action.as_str().map(str::to_owned))
                .collect(),
            param_ref: given(&spec, "paramRef").map(ParamRef::parse),
            criteria: given(&spec, "matchResources").map(Criteria::of_policy),
        }
    }
}

impl ParamRef {
    fn parse(json: &Value) -> Self {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let selector = given(json, "selector").map(|selector| {
            LabelSelector::from_field(Some(selector)).map_err(|error| error.to_string())
        });
        Self {
            name: text("name"),
            namespace: text("namespace"),
            selector,
            is_needed: json["parameterNotFoundAction"] == "Deny",
        }
    }
}
