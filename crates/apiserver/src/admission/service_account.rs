//! `ServiceAccount`: a pod runs as an account, whose token is mounted into its containers.

use super::{Attributes, Plugin, pod};
use async_trait::async_trait;
use kontiki_auth::node::{MIRROR_POD, all_references};
use kontiki_kinds::Tree;
use kontiki_object::{Object, Status, Value};
use serde_json::json;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and the seven seconds by which kubelets know the default from a wish.
const TOKEN_SECONDS: i64 = 3607;

pub(super) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        if is_mirror(attributes) {
            return judge_mirror(attributes);
        }
        let target = attributes.target;
        let Some(spec) = pod::spec(attributes) else {
            return Ok(());
        };
        let name = match spec.get("serviceAccountName").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => "default".to_owned(),
        };
        spec.insert("serviceAccountName".to_owned(), name.clone().into());
        spec.insert("serviceAccount".to_owned(), name.clone().into());
        let mut account = attributes.lookup("", "v1", "serviceaccounts", &target.namespace, &name);
        if account.is_none() {
            attributes.registry.fresh().await?;
            account = attributes.lookup("", "v1", "serviceaccounts", &target.namespace, &name);
        }
        let account = account.ok_or_else(|| {
            attributes.forbidden(&format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                target.namespace
            ))
        })?;
        let Some(spec) = pod::spec(attributes) else {
            return Ok(());
        };
        if wants_token(spec, &account) {
            mount_token(spec);
        }
        add_pull_secrets(spec, &account);
        Ok(())
    }
}

/// A mirror pod runs without the API server, so it names nothing of the API's.
fn judge_mirror(attributes: &Attributes<'_>) -> Result<(), Status> {
    let pod = Object::new(attributes.object.as_deref().cloned().unwrap_or_default());
    let named = all_references(&pod);
    if !named.service_accounts.is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    if !named.secrets.is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference secrets"));
    }
    let volumes = pod.get(&["spec", "volumes"]).and_then(Value::as_array);
    let mut sources = volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["projected"]["sources"].as_array())
        .flatten();
    if sources.any(|source| source["serviceAccountToken"].is_object()) {
        let why = "a mirror pod may not use ServiceAccountToken volume projections";
        return Err(attributes.forbidden(why));
    }
    Ok(())
}

fn is_mirror(attributes: &Attributes<'_>) -> bool {
    attributes
        .object
        .as_deref()
        .and_then(|object| object.get("metadata"))
        .and_then(|metadata| metadata.get("annotations"))
        .is_some_and(|annotations| annotations.get(MIRROR_POD).is_some())
}

fn wants_token(spec: &Tree, account: &Object) -> bool {
    let own = spec.get("automountServiceAccountToken");
    let wish = own.and_then(Value::as_bool).or_else(|| {
        account
            .get(&["automountServiceAccountToken"])
            .and_then(Value::as_bool)
    });
    wish.unwrap_or(true)
}

fn add_pull_secrets(spec: &mut Tree, account: &Object) {
    let has_own = spec
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .is_some_and(|own| !own.is_empty());
    if !has_own && let Some(secrets) = account.get(&["imagePullSecrets"]) {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
}

/// Mounts the projected token, CA and namespace where clients look for them.
fn mount_token(spec: &mut Tree) {
    let existing = pod::list(spec, "volumes")
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing
        .clone()
        .unwrap_or_else(|| crate::registry::generate_name(VOLUME_PREFIX));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in pod::containers(spec, list) {
            let Some(mounts) = pod::list(container, "volumeMounts") else {
                continue;
            };
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            used = true;
        }
    }
    if used
        && existing.is_none()
        && let Some(volumes) = pod::list(spec, "volumes")
    {
        volumes.push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}
