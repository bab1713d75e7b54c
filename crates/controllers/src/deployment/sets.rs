//! A deployment's ReplicaSets, old and new, and their sizes.

use crate::fields::{flag, int, share};
use crate::owners::controller_reference;
use crate::{Action, Plan, revisions};
use kontiki_client::EventType;
use kontiki_client::resources::REPLICA_SETS;
use kontiki_object::{Object, SharedObject, Value};
use serde_json::json;

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// The deployment's own annotations, which its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The parts of a deployment's spec that steer a rollout, with defaults.
pub(super) struct Spec {
    pub replicas: i64,
    pub paused: bool,
    pub recreate: bool,
    pub max_surge: i64,
    pub max_unavailable: i64,
    pub progress_deadline_seconds: Option<i64>,
    pub history_limit: usize,
}

impl Spec {
    pub(super) fn of(deployment: &Object) -> Self {
        let replicas = int(deployment, &["spec", "replicas"]).unwrap_or(1).max(0);
        let recreate = deployment.str_at(&["spec", "strategy", "type"]) == Some("Recreate");
        let knob = |name| deployment.get(&["spec", "strategy", "rollingUpdate", name]);
        let (mut surge, mut unavailable) = (0, 0);
        if !recreate {
            surge = share(knob("maxSurge"), "25%", replicas, true);
            unavailable = share(knob("maxUnavailable"), "25%", replicas, false);
            if surge == 0 && unavailable == 0 {
                // Both round to nothing: without this no rollout could start.
                unavailable = 1;
            }
        }
        let deadline = int(deployment, &["spec", "progressDeadlineSeconds"]);
        let history = int(deployment, &["spec", "revisionHistoryLimit"]).unwrap_or(10);
        Self {
            replicas,
            paused: flag(deployment, &["spec", "paused"]),
            recreate,
            max_surge: surge,
            max_unavailable: if recreate {
                replicas
            } else {
                unavailable.min(replicas)
            },
            progress_deadline_seconds: deadline.filter(|d| *d < i64::from(i32::MAX)),
            history_limit: usize::try_from(history).unwrap_or_default(),
        }
    }

    /// The most pods that may exist.
    pub(super) fn total_max(&self) -> i64 {
        if self.replicas == 0 {
            0
        } else {
            self.replicas + self.max_surge
        }
    }
}

/// One ReplicaSet and the size it shall have.
#[derive(Clone)]
pub(super) struct Set {
    pub object: SharedObject,
    /// The size it shall have.
    pub wanted: i64,
}

impl Set {
    pub(super) fn size(&self) -> i64 {
        int(&self.object, &["spec", "replicas"]).unwrap_or_default()
    }

    pub(super) fn count(&self, field: &str) -> i64 {
        int(&self.object, &["status", field]).unwrap_or_default()
    }

    fn annotated(&self, annotation: &str) -> Option<i64> {
        self.object.annotation(annotation)?.parse().ok()
    }

    fn revision(&self) -> i64 {
        self.annotated(REVISION).unwrap_or_default()
    }
}

pub(super) struct Sets {
    /// The set of the present template.
    pub new: Option<Set>,
    /// The others, oldest first.
    pub old: Vec<Set>,
    /// How large the new set shall be if it has to be created.
    pub create: Option<i64>,
    /// Its name, once its creation is planned.
    pub created: Option<String>,
    /// The revision that the deployment's annotation has to name from now on.
    pub revision: Option<String>,
}

/// The name of the ReplicaSet of a deployment's template.
pub(super) fn name_for_template(deployment: &Object) -> String {
    format!("{}-{}", deployment.name(), template_hash(deployment))
}

fn template_hash(deployment: &Object) -> String {
    let template = deployment
        .get(&["spec", "template"])
        .cloned()
        .unwrap_or_default();
    revisions::hash(&template, int(deployment, &["status", "collisionCount"]))
}

fn template_without_hash(workload: &Object) -> Value {
    let mut template = workload
        .get(&["spec", "template"])
        .cloned()
        .unwrap_or_default();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH_LABEL);
    }
    crate::plan::without_nulls(template)
}

impl Sets {
    pub(super) fn of(deployment: &Object, mut owned: Vec<SharedObject>) -> Self {
        owned.sort_by(|a, b| (a.created_at(), a.name()).cmp(&(b.created_at(), b.name())));
        let template = template_without_hash(deployment);
        // The oldest equal one, so that two controllers would agree.
        let new = owned
            .iter()
            .position(|set| template_without_hash(set) == template);
        let new = new.map(|place| owned.remove(place));
        let set = |object: SharedObject| {
            let wanted = int(&object, &["spec", "replicas"]).unwrap_or_default();
            Set { object, wanted }
        };
        Self {
            new: new.map(set),
            old: owned.into_iter().map(set).collect(),
            create: None,
            created: None,
            revision: None,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.new.iter().chain(&self.old)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.new.iter_mut().chain(&mut self.old)
    }

    pub(super) fn total(&self) -> i64 {
        self.all().map(Set::size).sum()
    }

    /// Whether `spec.replicas` changed since the sets were last sized.
    pub(super) fn scaling_needed(&self, spec: &Spec) -> bool {
        let mut active = self.all().filter(|set| set.size() > 0);
        active.any(|set| {
            set.annotated(DESIRED)
                .is_some_and(|desired| desired != spec.replicas)
        })
    }

    /// Resizes without moving between templates: in the middle of a rollout every
    /// set gets its share.
    pub(super) fn scale(&mut self, spec: &Spec) {
        let active: Vec<i64> = self.all().map(Set::size).filter(|size| *size > 0).collect();
        if active.len() <= 1 {
            let only = match active.is_empty() {
                true if self.new.is_some() => self.new.as_mut(),
                true => self.old.last_mut(),
                false => self.all_mut().find(|set| set.size() > 0),
            };
            if let Some(only) = only {
                only.wanted = spec.replicas;
            }
            return;
        }
        if self.is_saturated(spec) {
            self.old.iter_mut().for_each(|set| set.wanted = 0);
            return;
        }
        if !spec.recreate {
            self.scale_in_proportion(spec);
        }
    }

    fn is_saturated(&self, spec: &Spec) -> bool {
        self.new.as_ref().is_some_and(|new| {
            new.size() == spec.replicas
                && new.annotated(DESIRED) == Some(spec.replicas)
                && new.count("availableReplicas") == spec.replicas
        })
    }

    fn scale_in_proportion(&mut self, spec: &Spec) {
        let to_add = spec.total_max() - self.total();
        let mut active: Vec<&mut Set> = self.all_mut().filter(|set| set.size() > 0).collect();
        // Larger sets first; of equals the newer when growing, the older when shrinking.
        active.sort_by(|a, b| {
            let age = a.object.created_at().cmp(&b.object.created_at());
            b.size()
                .cmp(&a.size())
                .then(if to_add > 0 { age.reverse() } else { age })
        });
        let mut added = 0;
        for set in &mut active {
            let room = to_add - added;
            let previous_max = set.annotated(MAX).unwrap_or(spec.replicas).max(1);
            let exact = set.size() * spec.total_max();
            let share = (2 * exact + previous_max) / (2 * previous_max) - set.size();
            let share = if to_add > 0 {
                share.clamp(0, room)
            } else {
                share.clamp(room, 0)
            };
            set.wanted = set.size() + share;
            added += share;
        }
        if let Some(largest) = active.first_mut() {
            largest.wanted = (largest.wanted + to_add - added).max(0);
        }
    }

    /// Turns wanted sizes, annotations and the missing new set into actions.
    pub(super) fn write(&mut self, deployment: &SharedObject, spec: &Spec, plan: &mut Plan) {
        let last = self.old.iter().map(Set::revision).max().unwrap_or_default();
        let mut revision = last + 1;
        if let Some(new) = &self.new {
            revision = revision.max(new.revision());
            let annotations = self.annotations(deployment, Some(&new.object), revision);
            write_set(deployment, new, Some(annotations), spec, plan);
        } else if let Some(size) = self.create {
            let body = self.new_set(deployment, spec, size, revision);
            let name = body["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let message = format!("Scaled up replica set {name} from 0 to {size}");
            plan.actions
                .push(Action::create(&REPLICA_SETS, deployment.namespace(), body));
            if size > 0 {
                plan.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
            }
            self.created = Some(name);
        }
        for old in &self.old {
            write_set(deployment, old, None, spec, plan);
        }
        let known = deployment.annotation(REVISION);
        let exists = self.new.is_some() || self.create.is_some();
        let revision = revision.to_string();
        self.revision = (exists && known != Some(revision.as_str())).then_some(revision);
    }

    fn annotations(&self, deployment: &Object, set: Option<&Object>, revision: i64) -> Value {
        let mut annotations = json!({});
        for (name, value) in deployment.annotations() {
            if !NOT_INHERITED.contains(&name) {
                annotations[name] = json!(value);
            }
        }
        annotations[REVISION] = json!(revision.to_string());
        let previous = set.and_then(|set| set.annotation(REVISION));
        if let Some(previous) = previous.filter(|previous| *previous != revision.to_string()) {
            // A rollback: remember the numbers under which it was in use before.
            let history = set.and_then(|set| set.annotation(REVISION_HISTORY));
            let history = history.filter(|history| !history.is_empty());
            let history =
                history.map_or_else(|| previous.to_owned(), |h| format!("{h},{previous}"));
            annotations[REVISION_HISTORY] = json!(history);
        }
        annotations
    }

    fn new_set(&self, deployment: &SharedObject, spec: &Spec, size: i64, revision: i64) -> Value {
        let hash = template_hash(deployment);
        let mut template = deployment
            .get(&["spec", "template"])
            .cloned()
            .unwrap_or_default();
        template["metadata"]["labels"][HASH_LABEL] = json!(hash);
        let mut selector = deployment
            .get(&["spec", "selector"])
            .cloned()
            .unwrap_or_default();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let mut annotations = self.annotations(deployment, None, revision);
        annotations[DESIRED] = json!(spec.replicas.to_string());
        annotations[MAX] = json!((spec.replicas + spec.max_surge).to_string());
        let min_ready = int(deployment, &["spec", "minReadySeconds"]);
        let mut body = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", deployment.name()),
                "namespace": deployment.namespace(),
                "labels": template["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [controller_reference(deployment)],
            },
            "spec": {"replicas": size, "selector": selector, "template": template},
        });
        if let Some(seconds) = min_ready.filter(|seconds| *seconds > 0) {
            body["spec"]["minReadySeconds"] = json!(seconds);
        }
        body
    }
}

/// Writes one set if its size or annotations differ from what they shall be.
fn write_set(
    deployment: &SharedObject,
    set: &Set,
    annotations: Option<Value>,
    spec: &Spec,
    plan: &mut Plan,
) {
    let object = &set.object;
    let mut body = object.to_value();
    for (name, value) in annotations.iter().filter_map(Value::as_object).flatten() {
        body["metadata"]["annotations"][name] = value.clone();
    }
    if set.wanted > 0 || set.size() > 0 {
        let annotations = &mut body["metadata"]["annotations"];
        annotations[DESIRED] = json!(spec.replicas.to_string());
        annotations[MAX] = json!((spec.replicas + spec.max_surge).to_string());
    }
    if annotations.is_some() {
        let min_ready = int(deployment, &["spec", "minReadySeconds"]).unwrap_or_default();
        if min_ready != int(object, &["spec", "minReadySeconds"]).unwrap_or_default() {
            body["spec"]["minReadySeconds"] = json!(min_ready);
        }
    }
    let (from, to) = (set.size(), set.wanted);
    if from != to {
        body["spec"]["replicas"] = json!(to);
        let direction = if to > from { "up" } else { "down" };
        let message = format!(
            "Scaled {direction} replica set {} from {from} to {to}",
            object.name()
        );
        plan.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }
    plan.actions
        .extend(Action::change(&REPLICA_SETS, object, body));
}
