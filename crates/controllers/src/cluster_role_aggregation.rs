//! ClusterRoles that gather the rules of others, chosen by label.

use crate::controller::Context;
use crate::fields::list;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use kontiki_client::Delta;
use kontiki_client::resources::CLUSTER_ROLES;
use kontiki_object::{GroupVersionResource, LabelSelector, SharedObject, Status, Value};
use serde_json::json;

pub(crate) struct ClusterRoleAggregationController;

pub(crate) struct State {
    role: SharedObject,
    roles: Vec<SharedObject>,
}

const SELECTORS: [&str; 2] = ["aggregationRule", "clusterRoleSelectors"];

/// Every aggregating role: there are few of them, and any change may concern any.
fn aggregating(context: &Context, _: &GroupVersionResource, _: &Delta) -> Vec<String> {
    let roles = context.caches.of(&CLUSTER_ROLES).list();
    let aggregating = roles
        .iter()
        .filter(|role| !list(role, &SELECTORS).is_empty());
    aggregating.map(|role| role.key()).collect()
}

#[async_trait]
impl Reconciler for ClusterRoleAggregationController {
    type State = State;

    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::map(CLUSTER_ROLES, aggregating)]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<State>, Status> {
        let cache = context.caches.of(&CLUSTER_ROLES);
        let Some(role) = cache
            .get(key)
            .filter(|role| !list(role, &SELECTORS).is_empty())
        else {
            return Ok(None);
        };
        Ok(Some(State {
            role,
            roles: cache.list(),
        }))
    }

    fn plan(&self, state: &State, _: &Moment) -> Plan {
        let mut rules: Vec<Value> = Vec::new();
        for selector in list(&state.role, &SELECTORS) {
            let Ok(selector) = LabelSelector::from_field(Some(selector)) else {
                continue;
            };
            let selected = state
                .roles
                .iter()
                .filter(|role| role.name() != state.role.name() && selector.matches(role));
            for rule in selected.flat_map(|role| list(role, &["rules"])) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
        if list(&state.role, &["rules"]) == rules {
            return Plan::nothing();
        }
        let mut body = state.role.to_value();
        body["rules"] = json!(rules);
        Plan::of([Action::update(&CLUSTER_ROLES, body)])
    }
}
