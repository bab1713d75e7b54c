//! The two mandatory priority levels and their flow schemas.

use super::{ensure, resource};
use kontiki_client::Client;
use kontiki_object::Status;
use serde_json::{Value, json};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

fn level(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec,
    })
}

fn schema(name: &str, precedence: i64, groups: &[&str]) -> Value {
    let subjects: Vec<Value> = groups
        .iter()
        .map(|group| json!({"kind": "Group", "group": {"name": group}}))
        .collect();
    json!({
        "apiVersion": API_VERSION, "kind": "FlowSchema",
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": subjects,
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "clusterScope": true, "namespaces": ["*"],
                }],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }],
        },
    })
}

/// Makes sure of them.
pub(super) async fn ensure_all(client: &Client) -> Result<(), Status> {
    let levels = resource(
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "prioritylevelconfigurations",
    );
    let exempt = json!({
        "type": "Exempt",
        "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    });
    let catch_all = json!({
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0,
            "limitResponse": {"type": "Reject"},
        },
    });
    ensure(client, &levels, level("exempt", exempt)).await?;
    ensure(client, &levels, level("catch-all", catch_all)).await?;
    let schemas = resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas");
    let mut exempt = schema("exempt", 1, &["system:masters"]);
    if let Some(spec) = exempt["spec"].as_object_mut() {
        spec.remove("distinguisherMethod");
    }
    ensure(client, &schemas, exempt).await?;
    let everybody = ["system:authenticated", "system:unauthenticated"];
    ensure(client, &schemas, schema("catch-all", 10000, &everybody)).await
}
