//! What may change about a pod that exists.

use crate::Tree;
use crate::core::qos;
use crate::field::{FieldError, FieldErrors, Path};
use crate::go_form;
use crate::meta;
use crate::tree::{list, map, maps, maps_mut, number, text};
use crate::view::View;
use kontiki_object::Value;

use super::MIRROR;

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

/// What an update of a pod's spec may change.
const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn spec_of(object: &Tree) -> Tree {
    map(object, "spec").cloned().unwrap_or_default()
}

/// Annotations that stay as they were when the pod was made.
fn annotations(errors: &mut FieldErrors, new: &Tree, old: &Tree) {
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    let (new, old) = (View::of(new, "metadata"), View::of(old, "metadata"));
    for (path, key, value) in old.entries("annotations") {
        if new.inner("annotations").value(key) == Some(value) {
            continue;
        }
        let why = if key.starts_with(APP_ARMOR) {
            "may not remove or update AppArmor annotations"
        } else if key == MIRROR {
            "may not remove or update mirror pod annotation"
        } else {
            continue;
        };
        errors.push(FieldError::forbidden(&path, why));
    }
    for (path, key, _) in new.entries("annotations") {
        if old.inner("annotations").has(key) {
            continue;
        }
        let why = if key.starts_with(APP_ARMOR) {
            "may not add AppArmor annotations"
        } else if key == MIRROR {
            "may not add mirror pod annotation"
        } else {
            continue;
        };
        errors.push(FieldError::forbidden(&path, why));
    }
}

/// Complaints about a changed pod.
pub(crate) fn update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    annotations(&mut errors, new, old);
    let (new, old) = (spec_of(new), spec_of(old));
    let path = Path::new("spec");
    for field in ["containers", "initContainers"] {
        if list(&new, field).len() != list(&old, field).len() {
            let why = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(field), why));
            return errors;
        }
        let view = View::new(&new, path.clone());
        for container in view.maps(field) {
            container.required(&mut errors, "image");
            super::containers::trimmed_image(&mut errors, &container);
        }
    }
    if !deadline(
        &mut errors,
        &new,
        &old,
        &path.child("activeDeadlineSeconds"),
    ) {
        return errors;
    }
    tolerations(&mut errors, &new, &old, &path);
    scheduling_gates(&mut errors, &new, &old, &path);
    let munged = munge(&mut errors, new, &old, &path);
    let same = |a: &Tree, b: &Tree| {
        let (a, b) = (Value::Object(a.clone()), Value::Object(b.clone()));
        meta::same(Some(&a), Some(&b))
    };
    if !same(&munged, &old) {
        let diff = go_form::diff(POD_SPEC, &old, &munged);
        errors.push(FieldError::forbidden(&path, format!("{MUTABLE}\n{diff}")));
    }
    errors
}

/// A deadline can be set, and come nearer. Answers whether to go on.
fn deadline(errors: &mut FieldErrors, new: &Tree, old: &Tree, path: &Path) -> bool {
    let field = "activeDeadlineSeconds";
    match (number(new, field), number(old, field)) {
        (Some(wish), _) if !(0..=i64::from(i32::MAX)).contains(&wish) => {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.push(FieldError::invalid(path, wish, why));
            false
        }
        (Some(wish), Some(before)) if before < wish => {
            let why = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(path, wish, why));
            false
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, Value::Null, why));
            true
        }
        _ => true,
    }
}

fn tolerations(errors: &mut FieldErrors, new: &Tree, old: &Tree, path: &Path) {
    let without_seconds = |one: &Tree| {
        let mut one = one.clone();
        one.remove("tolerationSeconds");
        one
    };
    let wishes: Vec<Tree> = maps(new, "tolerations").map(without_seconds).collect();
    let lost = maps(old, "tolerations").any(|one| !wishes.contains(&without_seconds(one)));
    if lost {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&path.child("tolerations"), why));
        return;
    }
    super::scheduling::tolerations(errors, &View::new(new, path.clone()));
}

fn scheduling_gates(errors: &mut FieldErrors, new: &Tree, old: &Tree, path: &Path) {
    let before: Vec<&str> = maps(old, "schedulingGates")
        .map(|g| text(g, "name"))
        .collect();
    for gate in View::new(new, path.clone()).maps("schedulingGates") {
        let name = gate.text("name");
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(&gate.at("name"), why));
        }
    }
}

fn put(tree: &mut Tree, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => {
            tree.insert(field.to_owned(), value.clone());
        }
        None => {
            tree.remove(field);
        }
    }
}

/// The new spec with everything that may change as it was.
fn munge(errors: &mut FieldErrors, new: Tree, old: &Tree, path: &Path) -> Tree {
    let mut munged = new;
    for field in ["containers", "initContainers"] {
        let before: Vec<Option<Value>> =
            maps(old, field).map(|c| c.get("image").cloned()).collect();
        for (container, image) in maps_mut(&mut munged, field).zip(before) {
            put(container, "image", image.as_ref());
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put(&mut munged, field, old.get(field));
    }
    let grace = "terminationGracePeriodSeconds";
    if number(old, grace).is_some_and(|before| before < 0) && number(&munged, grace) == Some(1) {
        put(&mut munged, grace, old.get(grace));
    }
    if !list(old, "schedulingGates").is_empty() {
        redirect(errors, &mut munged, old, path);
    }
    munged
}

/// KEP-3838: a gated pod may still be directed to fewer nodes.
fn redirect(errors: &mut FieldErrors, munged: &mut Tree, old: &Tree, path: &Path) {
    let wish = map(munged, "nodeSelector").cloned().unwrap_or_default();
    let before = map(old, "nodeSelector").cloned().unwrap_or_default();
    if before
        .iter()
        .any(|(key, value)| wish.get(key) != Some(value))
    {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(&path.child("nodeSelector"), wish, why));
    }
    put(munged, "nodeSelector", old.get("nodeSelector"));
    let nodes = |spec: &Tree| map(spec, "affinity").and_then(|a| a.get("nodeAffinity").cloned());
    let (wish, before) = (nodes(munged), nodes(old));
    if meta::same(wish.as_ref(), before.as_ref()) {
        return;
    }
    node_affinity(errors, wish.as_ref(), before.as_ref(), path);
    let mut affinity = map(munged, "affinity").cloned().unwrap_or_default();
    put(&mut affinity, "nodeAffinity", before.as_ref());
    if affinity.is_empty() && !old.contains_key("affinity") {
        munged.remove("affinity");
    } else {
        munged.insert("affinity".to_owned(), affinity.into());
    }
}

fn node_affinity(
    errors: &mut FieldErrors,
    wish: Option<&Value>,
    before: Option<&Value>,
    path: &Path,
) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |affinity: Option<&Value>| -> Vec<Value> {
        let required = affinity.and_then(|affinity| affinity.get(REQUIRED));
        let terms = required.and_then(|required| required.get("nodeSelectorTerms"));
        terms.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (wishes, olds) = (terms(wish), terms(before));
    let path = path.child("affinity").child("nodeAffinity").child(REQUIRED);
    let path = path.child("nodeSelectorTerms");
    if olds.is_empty() {
        return;
    }
    if olds.len() != wishes.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&path, wishes, why));
        return;
    }
    for (index, (wish, before)) in wishes.iter().zip(&olds).enumerate() {
        let part = |term: &Value, field: &str| -> Vec<Value> {
            let list = term.get(field).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let fields = ["matchExpressions", "matchFields"];
        let was_empty = fields.iter().all(|field| part(before, field).is_empty());
        let is_empty = fields.iter().all(|field| part(wish, field).is_empty());
        let starts = fields
            .iter()
            .all(|field| part(wish, field).starts_with(&part(before, field)));
        if (was_empty && !is_empty) || !starts {
            let why = "only additions are allowed (no mutations or deletions)";
            let path = path.index(index);
            errors.push(FieldError::invalid(&path, wish.clone(), why));
        }
    }
}

/// Complaints about containers that are added to a running pod.
pub(crate) fn ephemeral_containers(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = super::pod(new);
    annotations(&mut errors, new, old);
    if View::of(old, "metadata").inner("annotations").has(MIRROR) {
        let why = "static pods do not support ephemeral containers";
        return vec![FieldError::forbidden(&Path::new(""), why)];
    }
    let (new, old) = (spec_of(new), spec_of(old));
    let path = Path::new("spec").child("ephemeralContainers");
    for before in maps(&old, "ephemeralContainers") {
        let name = text(before, "name");
        let now = maps(&new, "ephemeralContainers").find(|one| text(one, "name") == name);
        match now {
            None => {
                let why = format!("existing ephemeral containers \"{name}\" may not be removed\n");
                errors.push(FieldError::forbidden(&path, why));
            }
            Some(now) if now != before => {
                let diff = go_form::diff("io.k8s.api.core.v1.EphemeralContainer", before, now);
                let why =
                    format!("existing ephemeral containers \"{name}\" may not be changed\n{diff}");
                errors.push(FieldError::forbidden(&path, why));
            }
            Some(_) => {}
        }
    }
    errors
}

/// Complaints about a pod whose containers get other resources.
pub(crate) fn resize(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = super::pod(new);
    if View::of(old, "metadata").inner("annotations").has(MIRROR) {
        let why = "static pods cannot be resized";
        return vec![FieldError::forbidden(&Path::new(""), why)];
    }
    if View::of(old, "spec").inner("os").text("name") == "windows" {
        let why = "windows pods cannot be resized";
        return vec![FieldError::forbidden(&Path::new(""), why)];
    }
    let spec = Path::new("spec");
    let class = View::of(old, "status").text("qosClass");
    if class != qos::class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&spec, class, why));
    }
    let (new, old) = (spec_of(new), spec_of(old));
    for field in ["initContainers", "containers"] {
        let pairs = maps(&new, field).zip(maps(&old, field)).enumerate();
        for (index, (now, before)) in pairs {
            let is_sidecar = text(before, "restartPolicy") == "Always";
            let path = spec.child(field).index(index).child("resources");
            if field == "containers" || is_sidecar {
                removed(&mut errors, now, before, &path);
            }
            let why = match (field, is_sidecar) {
                ("containers", _) => "only cpu and memory resources are mutable",
                (_, true) => "only cpu and memory resources for sidecar containers are mutable",
                _ => "resources for non-sidecar init containers are immutable",
            };
            let may_resize = field == "containers" || is_sidecar;
            if !same_but_basics(now, before, may_resize) {
                errors.push(FieldError::forbidden(&spec, why));
            }
        }
    }
    errors
}

fn removed(errors: &mut FieldErrors, now: &Tree, before: &Tree, path: &Path) {
    for (field, what) in [("requests", "requests"), ("limits", "limits")] {
        let amounts = |container: &Tree| {
            let resources = map(container, "resources");
            resources
                .and_then(|r| map(r, field))
                .cloned()
                .unwrap_or_default()
        };
        let (now, before) = (amounts(now), amounts(before));
        if before.keys().any(|name| !now.contains_key(name)) {
            let why = format!("resource {what} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(field), why));
        }
    }
}

/// Whether two containers differ in nothing but CPU and memory.
fn same_but_basics(now: &Tree, before: &Tree, may_resize: bool) -> bool {
    let rest = |container: &Tree| {
        let mut container = container.clone();
        // How resizes are carried out may be told along with them.
        container.remove("resizePolicy");
        let resources = container
            .get_mut("resources")
            .and_then(Value::as_object_mut);
        if let Some(resources) = resources.filter(|_| may_resize) {
            for field in ["requests", "limits"] {
                if let Some(amounts) = resources.get_mut(field).and_then(Value::as_object_mut) {
                    amounts.retain(|name, _| !matches!(&**name, "cpu" | "memory"));
                }
            }
        }
        Value::Object(container)
    };
    meta::same(Some(&rest(now)), Some(&rest(before)))
}
