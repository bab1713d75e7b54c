//! The `default` ServiceAccount of every namespace.

use crate::controller::Context;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use kontiki_client::Delta;
use kontiki_client::resources::{NAMESPACES, SERVICE_ACCOUNTS};
use kontiki_object::{GroupVersionResource, Status};
use serde_json::json;

pub(crate) struct ServiceAccountController;

/// The namespace that has no `default` ServiceAccount.
pub(crate) struct Missing(String);

/// The namespace of whatever changed.
pub(crate) fn namespace_of(_: &Context, _: &GroupVersionResource, delta: &Delta) -> Vec<String> {
    vec![delta.object().namespace().to_owned()]
}

#[async_trait]
impl Reconciler for ServiceAccountController {
    type State = Missing;

    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::own(NAMESPACES),
            Watch::map(SERVICE_ACCOUNTS, namespace_of),
        ]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<Missing>, Status> {
        let namespace = context.caches.get(&NAMESPACES, "", key);
        let lives = namespace.is_some_and(|namespace| !namespace.is_terminating());
        let account = context.caches.get(&SERVICE_ACCOUNTS, key, "default");
        Ok((lives && account.is_none()).then(|| Missing(key.to_owned())))
    }

    fn plan(&self, Missing(namespace): &Missing, _: &Moment) -> Plan {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        });
        Plan::of([Action::create(&SERVICE_ACCOUNTS, namespace, account)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use kontiki_client::DeleteOptions;
    use kontiki_client::resources::CONFIG_MAPS;

    #[tokio::test(start_paused = true)]
    async fn every_namespace_gets_its_account_and_root_certificates_and_gets_them_back() {
        let names = [
            "serviceaccount-controller",
            "root-ca-certificate-publisher-controller",
        ];
        let scenario = Scenario::with(&names, |config| config.root_ca_pem = "PEM".into()).await;
        for name in ["a", "b"] {
            let tree = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            scenario.create(&NAMESPACES, tree).await;
        }
        scenario
            .until(|api| {
                api.objects(&SERVICE_ACCOUNTS).len() == 2 && api.objects(&CONFIG_MAPS).len() == 2
            })
            .await;
        scenario
            .delete(&SERVICE_ACCOUNTS, "a/default", DeleteOptions::default())
            .await;
        scenario
            .until(|api| api.objects(&SERVICE_ACCOUNTS).len() == 2)
            .await;
        let mut bundle = scenario.get(&CONFIG_MAPS, "b/kube-root-ca.crt").to_value();
        bundle["data"] = json!({"ca.crt": "forged"});
        scenario.update(&CONFIG_MAPS, bundle).await;
        scenario
            .until(|api| {
                let bundle = api
                    .object(&CONFIG_MAPS, "b/kube-root-ca.crt")
                    .expect("it exists");
                bundle.str_at(&["data", "ca.crt"]) == Some("PEM")
            })
            .await;
    }
}
