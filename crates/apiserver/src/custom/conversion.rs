//! Conversion between the versions of a definition.

use crate::cache::CachedObject;
use crate::registry::Registry;
use async_trait::async_trait;
use bytes::Bytes;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{Object, SharedObject, Status, Value};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long a conversion may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects that one call converts at most.
const BATCH_MAX: usize = 500;

/// Calls webhooks.
#[async_trait]
pub trait WebhookCaller: Send + Sync + 'static {
    /// Posts JSON to the place that a `clientConfig` names.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    async fn call(
        &self,
        client_config: &Value,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, String>;
}

/// Nobody to call.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWebhooks;

#[async_trait]
impl WebhookCaller for NoWebhooks {
    async fn call(&self, _: &Value, _: Bytes, _: Duration) -> Result<Bytes, String> {
        Err("this server has no way to webhooks".to_owned())
    }
}

impl Registry {
    /// A stored custom object in the form that `kind` serves.
    pub(crate) async fn serve_custom(
        &self,
        kind: &Kind,
        stored: &SharedObject,
    ) -> Result<SharedObject, Status> {
        let Some(custom) = &kind.custom else {
            return Ok(stored.clone());
        };
        let mut tree = self
            .converted(kind, &kind.api_version(), stored.tree().clone())
            .await?;
        custom.revive(&mut tree);
        Ok(Arc::new(Object::new(tree)))
    }

    /// An object in the form in which its kind is stored.
    pub(crate) async fn store_custom(&self, kind: &Kind, tree: Tree) -> Result<Tree, Status> {
        match (&kind.custom, &kind.storage) {
            (Some(_), Some(storage)) => self.converted(kind, &storage.api_version, tree).await,
            _ => Ok(tree),
        }
    }

    /// Asks the webhook about those of `entries` that only it can convert.
    pub(crate) async fn convert_entries(
        &self,
        kind: &Kind,
        entries: impl Iterator<Item = &Arc<CachedObject>>,
    ) -> Result<(), Status> {
        if kind
            .custom
            .as_ref()
            .is_none_or(|custom| custom.conversion_webhook().is_none())
        {
            return Ok(());
        }
        let waiting: Vec<(&Arc<CachedObject>, SharedObject)> = entries
            .filter_map(|entry| Some((entry, entry.unconverted(kind)?)))
            .collect();
        for batch in waiting.chunks(BATCH_MAX) {
            let objects = batch.iter().map(|(_, stored)| stored.tree().clone());
            let wanted = kind.api_version();
            let converted = self.by_webhook(kind, &wanted, objects.collect()).await?;
            for ((entry, _), tree) in batch.iter().zip(converted) {
                entry.converted(kind, tree);
            }
        }
        Ok(())
    }

    /// A custom object in another version.
    pub(crate) async fn converted(
        &self,
        kind: &Kind,
        wanted: &str,
        mut tree: Tree,
    ) -> Result<Tree, Status> {
        let given = tree.get("apiVersion").and_then(Value::as_str);
        if given == Some(wanted) {
            return Ok(tree);
        }
        let webhook = kind
            .custom
            .as_ref()
            .and_then(|custom| custom.conversion_webhook());
        if webhook.is_some() {
            let converted = self.by_webhook(kind, wanted, vec![tree]).await?;
            return converted
                .into_iter()
                .next()
                .ok_or_else(|| Status::internal("the conversion webhook answered no object"));
        }
        tree.insert("apiVersion".to_owned(), wanted.into());
        Ok(tree)
    }

    async fn by_webhook(
        &self,
        kind: &Kind,
        wanted: &str,
        objects: Vec<Tree>,
    ) -> Result<Vec<Tree>, Status> {
        let webhook = kind
            .custom
            .as_ref()
            .and_then(|custom| custom.conversion_webhook());
        let webhook = webhook.cloned().unwrap_or_default();
        let refused = |why: String| {
            let gvk = format!("{wanted}, Kind={}", kind.kind);
            Status::internal(format!("conversion webhook for {gvk} failed: {why}"))
        };
        let version = review_version(&webhook)
            .ok_or_else(|| refused("no supported conversion review versions".to_owned()))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let request = json!({
            "kind": "ConversionReview",
            "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        });
        let body = serde_json::to_vec(&request).map_err(Status::internal)?;
        let caller = self.webhooks();
        let answer = caller
            .call(&webhook["clientConfig"], body.into(), TIMEOUT)
            .await
            .map_err(&refused)?;
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|error| refused(error.to_string()))?;
        accepted(&answer, &uid, wanted, &objects).map_err(refused)
    }
}

/// The newest form of reviews that the webhook reads.
fn review_version(webhook: &Value) -> Option<&str> {
    let versions = webhook["conversionReviewVersions"].as_array()?;
    versions
        .iter()
        .filter_map(Value::as_str)
        .find(|version| matches!(*version, "v1" | "v1beta1"))
}

/// What a webhook answered, if it kept to the rules: the same objects, in the
/// same order, in the version that was asked for.
fn accepted(
    answer: &Value,
    uid: &str,
    wanted: &str,
    objects: &[Tree],
) -> Result<Vec<Tree>, String> {
    let response = &answer["response"];
    if response["uid"] != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            response["uid"].as_str().unwrap_or_default()
        ));
    }
    if response["result"]["status"] != "Success" {
        return Err(match response["result"]["message"].as_str() {
            Some(message) if !message.is_empty() => message.to_owned(),
            _ => "response.result.status was not Success".to_owned(),
        });
    }
    let converted = response["convertedObjects"].as_array();
    let converted = converted.map_or(&[][..], Vec::as_slice);
    if converted.len() != objects.len() {
        return Err(format!(
            "returned {} objects, expected {}",
            converted.len(),
            objects.len()
        ));
    }
    let pairs = converted.iter().zip(objects).enumerate();
    pairs
        .map(|(at, (new, old))| {
            checked(new, old, wanted)
                .map_err(|why| format!("invalid converted object at index {at}: {why}"))
        })
        .collect()
}

fn checked(new: &Value, old: &Tree, wanted: &str) -> Result<Tree, String> {
    let Value::Object(tree) = new else {
        return Err("it is not an object".to_owned());
    };
    if new["apiVersion"] != wanted {
        return Err(format!(
            "expected apiVersion {wanted}, got {}",
            new["apiVersion"]
        ));
    }
    if tree.get("kind") != old.get("kind") {
        return Err("the kind may not change".to_owned());
    }
    let mut tree = tree.clone();
    let before = old.get("metadata").cloned().unwrap_or_default();
    let mut metadata = before.clone();
    for field in ["name", "namespace", "uid"] {
        if new["metadata"][field] != before[field] {
            return Err(format!("must have the same {field}"));
        }
    }
    // A webhook changes labels and annotations of the metadata at most.
    for field in ["labels", "annotations"] {
        if let Some(metadata) = metadata.as_object_mut() {
            match &new["metadata"][field] {
                Value::Null => metadata.remove(field),
                given => metadata.insert(field.to_owned(), given.clone()),
            };
        }
    }
    tree.insert("metadata".to_owned(), metadata);
    Ok(tree)
}
