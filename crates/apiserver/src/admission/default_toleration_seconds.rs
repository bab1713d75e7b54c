//! `DefaultTolerationSeconds`: pods stay for five minutes on a node that is
//! not ready or not reachable, unless they say otherwise.

use super::{Attributes, Plugin, pod};
use async_trait::async_trait;
use kontiki_object::{Status, Value};
use serde_json::json;

const SECONDS: i64 = 300;
const CONDITIONS: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        let Some(tolerations) =
            pod::spec(attributes).and_then(|spec| pod::list(spec, "tolerations"))
        else {
            return Ok(());
        };
        for key in CONDITIONS {
            if !tolerations
                .iter()
                .any(|toleration| tolerates(toleration, key))
            {
                tolerations.push(json!({
                    "key": key, "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": SECONDS,
                }));
            }
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    matches!(text("effect"), "" | "NoExecute") && (text("key").is_empty() || text("key") == key)
}
