//! On which nodes a DaemonSet's pods may start and stay, and how a pod is bound
//! to its node: by an affinity that the scheduler obeys.

use crate::fields::{list, text};
use crate::pods;
use crate::revisions::REVISION_LABEL;
use kontiki_object::{LabelSelector, Object, Operator, Requirement, Value};
use serde_json::json;

/// Whether a pod may start on a node, and whether one that runs may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub start: bool,
    pub stay: bool,
}

/// What every daemon tolerates: the troubles of a node are its business.
fn daemon_tolerations(host_network: bool) -> Vec<Value> {
    let toleration = |name: &str, effect: &str| json!({"key": format!("node.kubernetes.io/{name}"), "operator": "Exists", "effect": effect});
    let mut tolerations = vec![
        toleration("not-ready", "NoExecute"),
        toleration("unreachable", "NoExecute"),
        toleration("disk-pressure", "NoSchedule"),
        toleration("memory-pressure", "NoSchedule"),
        toleration("pid-pressure", "NoSchedule"),
        toleration("unschedulable", "NoSchedule"),
    ];
    if host_network {
        tolerations.push(toleration("network-unavailable", "NoSchedule"));
    }
    tolerations
}

fn tolerations(template: &Value) -> Vec<Value> {
    let own = template["spec"]["tolerations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let host_network = template["spec"]["hostNetwork"]
        .as_bool()
        .unwrap_or_default();
    let mut all = own;
    for toleration in daemon_tolerations(host_network) {
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

impl Fit {
    pub(super) fn of(set: &Object, node: &Object) -> Self {
        let template = set.get(&["spec", "template"]).cloned().unwrap_or_default();
        let spec = &template["spec"];
        let named = spec["nodeName"]
            .as_str()
            .is_none_or(|name| name.is_empty() || name == node.name());
        if !named || !selected(&spec["nodeSelector"], node) || !affine(&spec["affinity"], node) {
            return Self {
                start: false,
                stay: false,
            };
        }
        let tolerations = tolerations(&template);
        let untolerated = |effect: &str| {
            let mut taints = list(node, &["spec", "taints"]).iter();
            taints
                .any(|t| text(t, "effect") == effect && pods::tolerates(&tolerations, t).is_none())
        };
        let stay = !untolerated("NoExecute");
        Self {
            start: stay && !untolerated("NoSchedule"),
            stay,
        }
    }
}

fn selected(selector: &Value, node: &Object) -> bool {
    let mut pairs = selector.as_object().into_iter().flatten();
    pairs.all(|(key, value)| node.label(key) == value.as_str())
}

fn affine(affinity: &Value, node: &Object) -> bool {
    let required = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let Some(terms) = required["nodeSelectorTerms"].as_array() else {
        return true;
    };
    terms.iter().any(|term| {
        let labels = requirements(&term["matchExpressions"]);
        let fields = requirements(&term["matchFields"]);
        let (Some(labels), Some(fields)) = (labels, fields) else {
            return false;
        };
        let any = !labels.is_empty() || !fields.is_empty();
        any && LabelSelector::new(labels).matches(node)
            && fields
                .iter()
                .all(|field| field.matches((field.key == "metadata.name").then(|| node.name())))
    })
}

fn requirements(expressions: &Value) -> Option<Vec<Requirement>> {
    let expressions = expressions.as_array().into_iter().flatten();
    expressions
        .map(|expression| {
            let operator = match text(expression, "operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                "Gt" => Operator::Gt,
                "Lt" => Operator::Lt,
                _ => return None,
            };
            let values = expression["values"].as_array().into_iter().flatten();
            Some(Requirement {
                key: text(expression, "key").to_owned(),
                operator,
                values: values
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            })
        })
        .collect()
}

/// The node on which a pod is, or for which it was made.
pub(super) fn target(pod: &Object) -> Option<&str> {
    if let Some(node) = pods::node(pod) {
        return Some(node);
    }
    let path = [
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let fields = list(pod, &path)
        .iter()
        .filter_map(|term| term["matchFields"].as_array());
    let mut names = fields
        .flatten()
        .filter(|field| text(field, "key") == "metadata.name");
    names.find_map(|field| field["values"][0].as_str())
}

/// A pod for one node.
pub(super) fn pod_for(set: &Object, node: &str, hash: &str) -> Value {
    let template = set.get(&["spec", "template"]).cloned().unwrap_or_default();
    let mut pod = pods::from_template(&template, set);
    pod["metadata"]["labels"][REVISION_LABEL] = json!(hash);
    pod["spec"]["tolerations"] = Value::Array(tolerations(&template));
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let required = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required["nodeSelectorTerms"].as_array_mut() {
        Some(terms) => terms
            .iter_mut()
            .for_each(|term| term["matchFields"] = json!([field])),
        None => *required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]}),
    }
    pod
}
