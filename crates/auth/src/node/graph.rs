//! Which node needs which objects.

use super::references::{PodReferences, VolumeReferences, references, volume_references};
use kontiki_client::ObjectCache;
use kontiki_object::{Object, SharedObject};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What kind of thing a node may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the resources")]
pub enum Kind {
    Secret,
    ConfigMap,
    ServiceAccount,
    PersistentVolumeClaim,
    ResourceClaim,
}

type Needed = (Kind, String, String);

struct PodEntry {
    node: String,
    uid: String,
    needs: Vec<Needed>,
}

#[derive(Default)]
struct Content {
    pods: HashMap<String, PodEntry>,
    /// How many pods of each node need a thing.
    needed_by: HashMap<Needed, HashMap<String, usize>>,
    volumes: HashMap<String, VolumeReferences>,
    /// Volumes that need a secret.
    secret_volumes: HashMap<(String, String), Vec<String>>,
    /// Node of each volume attachment.
    attachments: HashMap<String, String>,
}

/// Knows which node needs which objects, from pods, volumes and attachments.
#[derive(Default)]
pub struct Graph {
    content: RwLock<Content>,
}

/// What a graph follows.
#[derive(Clone)]
#[expect(missing_docs, reason = "the names are those of the resources")]
pub struct GraphCaches {
    pub pods: Arc<ObjectCache>,
    pub persistent_volumes: Arc<ObjectCache>,
    pub volume_attachments: Arc<ObjectCache>,
}

fn needs(namespace: &str, found: PodReferences) -> Vec<Needed> {
    let PodReferences {
        secrets,
        config_maps,
        service_accounts,
        persistent_volume_claims,
        resource_claims,
    } = found;
    [
        (Kind::Secret, secrets),
        (Kind::ConfigMap, config_maps),
        (Kind::ServiceAccount, service_accounts),
        (Kind::PersistentVolumeClaim, persistent_volume_claims),
        (Kind::ResourceClaim, resource_claims),
    ]
    .into_iter()
    .flat_map(|(kind, names)| {
        names
            .into_iter()
            .map(move |name| (kind, namespace.to_owned(), name))
    })
    .collect()
}

impl Graph {
    /// Takes in a pod's new state. Finished pods need nothing any more.
    pub fn upsert_pod(&self, pod: &Object) {
        let phase = pod.str_at(&["status", "phase"]).unwrap_or_default();
        let Some(node) = pod.str_at(&["spec", "nodeName"]) else {
            self.remove_pod(&pod.key());
            return;
        };
        let mut fresh = PodEntry {
            node: node.to_owned(),
            uid: pod.uid().to_owned(),
            needs: Vec::new(),
        };
        if !matches!(phase, "Succeeded" | "Failed") {
            fresh.needs = needs(pod.namespace(), references(pod));
        }
        let mut content = self.content.write();
        content.forget_pod(&pod.key());
        for need in &fresh.needs {
            let nodes = content.needed_by.entry(need.clone()).or_default();
            *nodes.entry(fresh.node.clone()).or_default() += 1;
        }
        content.pods.insert(pod.key(), fresh);
    }

    /// Forgets a pod.
    pub fn remove_pod(&self, key: &str) {
        self.content.write().forget_pod(key);
    }

    /// Takes in a persistent volume.
    pub fn upsert_volume(&self, volume: &Object) {
        let found = volume_references(volume);
        let mut content = self.content.write();
        content.forget_volume(volume.name());
        for secret in &found.secrets {
            let volumes = content.secret_volumes.entry(secret.clone()).or_default();
            volumes.push(volume.name().to_owned());
        }
        content.volumes.insert(volume.name().to_owned(), found);
    }

    /// Forgets a persistent volume.
    pub fn remove_volume(&self, name: &str) {
        self.content.write().forget_volume(name);
    }

    /// Takes in a volume attachment.
    pub fn upsert_attachment(&self, attachment: &Object) {
        let node = attachment.str_at(&["spec", "nodeName"]).unwrap_or_default();
        self.content
            .write()
            .attachments
            .insert(attachment.name().to_owned(), node.to_owned());
    }

    /// Forgets a volume attachment.
    pub fn remove_attachment(&self, name: &str) {
        self.content.write().attachments.remove(name);
    }

    /// Whether a pod of the node names the object, or a volume of one does.
    #[must_use]
    pub fn needs(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let content = self.content.read();
        if content.pod_needs(node, kind, namespace, name) {
            return true;
        }
        let key = (namespace.to_owned(), name.to_owned());
        kind == Kind::Secret
            && content
                .secret_volumes
                .get(&key)
                .into_iter()
                .flatten()
                .any(|volume| content.volume_needed(node, volume))
    }

    /// Whether a pod of the node has a claim on the volume.
    #[must_use]
    pub fn needs_volume(&self, node: &str, volume: &str) -> bool {
        self.content.read().volume_needed(node, volume)
    }

    /// Whether the attachment is to the node.
    #[must_use]
    pub fn is_attached(&self, node: &str, attachment: &str) -> bool {
        let content = self.content.read();
        content
            .attachments
            .get(attachment)
            .is_some_and(|of| of == node)
    }

    /// Whether the pod is on the node.
    #[must_use]
    pub fn has_pod(&self, node: &str, namespace: &str, name: &str) -> bool {
        let content = self.content.read();
        let pod = content.pods.get(&format!("{namespace}/{name}"));
        pod.is_some_and(|pod| pod.node == node)
    }

    /// Whether the pod with that UID is on the node, for tokens bound to pods.
    #[must_use]
    pub fn has_pod_uid(&self, node: &str, namespace: &str, name: &str, uid: &str) -> bool {
        let content = self.content.read();
        let pod = content.pods.get(&format!("{namespace}/{name}"));
        pod.is_some_and(|pod| pod.node == node && pod.uid == uid)
    }

    /// Follows the caches until `cancel` is cancelled.
    pub async fn follow(self: Arc<Self>, caches: GraphCaches, cancel: CancellationToken) {
        let mut pods = caches.pods.subscribe();
        let mut volumes = caches.persistent_volumes.subscribe();
        let mut attachments = caches.volume_attachments.subscribe();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(delta) = pods.recv() => match &delta.new {
                    Some(pod) => self.upsert_pod(pod),
                    None => self.remove_pod(&delta.object().key()),
                },
                Some(delta) = volumes.recv() => match &delta.new {
                    Some(volume) => self.upsert_volume(volume),
                    None => self.remove_volume(name(delta.object())),
                },
                Some(delta) = attachments.recv() => match &delta.new {
                    Some(attachment) => self.upsert_attachment(attachment),
                    None => self.remove_attachment(name(delta.object())),
                },
                else => return,
            }
        }
    }
}

fn name(object: &SharedObject) -> &str {
    object.name()
}

impl Content {
    fn forget_pod(&mut self, key: &str) {
        let Some(old) = self.pods.remove(key) else {
            return;
        };
        for need in old.needs {
            let Some(nodes) = self.needed_by.get_mut(&need) else {
                continue;
            };
            if let Some(count) = nodes.get_mut(&old.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&old.node);
                }
            }
            if nodes.is_empty() {
                self.needed_by.remove(&need);
            }
        }
    }

    fn forget_volume(&mut self, name: &str) {
        let Some(old) = self.volumes.remove(name) else {
            return;
        };
        for secret in old.secrets {
            if let Some(volumes) = self.secret_volumes.get_mut(&secret) {
                volumes.retain(|volume| volume != name);
                if volumes.is_empty() {
                    self.secret_volumes.remove(&secret);
                }
            }
        }
    }

    fn pod_needs(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = (kind, namespace.to_owned(), name.to_owned());
        self.needed_by
            .get(&key)
            .is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_needed(&self, node: &str, volume: &str) -> bool {
        let claim = self
            .volumes
            .get(volume)
            .and_then(|found| found.claim.as_ref());
        claim.is_some_and(|(namespace, name)| {
            self.pod_needs(node, Kind::PersistentVolumeClaim, namespace, name)
        })
    }
}
