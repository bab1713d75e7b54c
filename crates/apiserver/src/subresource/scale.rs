//! `scale`: the number of replicas, for any kind that has some.
//!
//! A scale is an object of its own kind with its own field managers: those of
//! the whole object that own its replicas, and those who write the scale
//! become owners of the whole object's replicas.

use super::not_allowed;
use crate::custom::strategy::at;
use crate::dispatch::{Action, Answer};
use crate::registry::{
    Check, PatchBody, RequestContext, Target, WriteOptions, apply_fields, check_name, note_update,
    patch_tree, shape,
};
use crate::server::Inner;
use kontiki_client::PatchKind;
use kontiki_kinds::{Column, FieldError, Kind, Path, ScalePaths, Tree};
use kontiki_object::{LabelSelector, Object, Status, Value};
use kontiki_patch::fields::FieldSet;
use kontiki_patch::managed::{self, Managed, Operation, Owned};
use kontiki_schema::{Node, Schema};
use serde_json::json;
use std::sync::{Arc, OnceLock};

const API_VERSION: &str = "autoscaling/v1";
const DESIRED: &str = "replicas is the desired number of instances for the scaled object.";
const AVAILABLE: &str = "replicas is the actual number of observed instances of the scaled object.";

/// The kind `Scale`: told in tables, and never stored by itself.
pub fn kind() -> &'static Arc<Kind> {
    static KIND: OnceLock<Arc<Kind>> = OnceLock::new();
    KIND.get_or_init(|| {
        let name = Column {
            format: "".into(),
            ..Column::name()
        };
        Arc::new(Kind {
            columns: vec![
                name,
                Column::new("Desired", "integer", DESIRED, |scale, _| {
                    replicas(scale, "spec").into()
                }),
                Column::new("Available", "integer", AVAILABLE, |scale, _| {
                    replicas(scale, "status").into()
                }),
                Column::age(),
            ],
            ..Kind::virtual_kind("autoscaling", "v1", "Scale", "scales")
        })
    })
}

fn replicas(object: &Tree, part: &str) -> i64 {
    let replicas = object.get(part).and_then(|part| part.get("replicas"));
    replicas.and_then(Value::as_i64).unwrap_or_default()
}

fn selector_text(object: &Object) -> String {
    let Some(selector) = object.get(&["spec", "selector"]) else {
        return String::new();
    };
    // Replication controllers select by plain labels.
    let is_plain =
        selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    if is_plain {
        let pairs = selector.as_object().into_iter().flatten();
        let texts: Vec<String> = pairs
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        return texts.join(",");
    }
    LabelSelector::from_field(Some(selector))
        .map(|selector| selector.to_string())
        .unwrap_or_default()
}

/// Where a custom kind keeps its numbers.
fn paths(kind: &Kind) -> Option<&ScalePaths> {
    kind.custom.as_ref()?.scale()
}

/// Custom objects without the number have no scale.
fn without_replicas(paths: &ScalePaths) -> Status {
    Status::internal(format!(
        "the spec replicas field \".{}\" does not exist",
        paths.spec_replicas.join(".")
    ))
}

fn put(object: &mut Tree, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        object.insert(first.clone(), value);
        return;
    }
    let inner = object
        .entry(first)
        .or_insert_with(|| Value::Object(Tree::new()));
    if let Some(inner) = inner.as_object_mut() {
        put(inner, rest, value);
    }
}

fn scale_of(kind: &Kind, object: &Object) -> Tree {
    let number = |part: &str| match paths(kind) {
        Some(paths) => {
            let path = match part {
                "spec" => &paths.spec_replicas,
                _ => &paths.status_replicas,
            };
            at(object.tree(), path)
                .and_then(Value::as_i64)
                .unwrap_or_default()
        }
        None => replicas(object.tree(), part),
    };
    let mut scale = json!({
        "apiVersion": API_VERSION,
        "kind": "Scale",
        "metadata": {},
        "spec": {},
        "status": {"replicas": number("status")},
    });
    let wanted = number("spec");
    if wanted != 0 {
        scale["spec"]["replicas"] = wanted.into();
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.get(&["metadata", field]) {
            scale["metadata"][field] = value.clone();
        }
    }
    let selector = match paths(kind) {
        Some(paths) => at(object.tree(), &paths.selector)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        None => selector_text(object),
    };
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    match scale {
        Value::Object(tree) => tree,
        _ => Tree::new(),
    }
}

fn answer(kind: &Kind, object: &Object) -> Answer {
    Answer::Object {
        object: Arc::new(Object::new(scale_of(kind, object))),
        created: false,
    }
}

/// Reads or writes a scale.
pub async fn perform(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    action: Action,
) -> Result<Answer, Status> {
    let whole = Target::object(&target.kind, &target.namespace, &target.name);
    match action {
        Action::Get { resource_version } => {
            let object = inner.registry.get(&whole, &resource_version).await?;
            if let Some(paths) = paths(&target.kind)
                && at(object.tree(), &paths.spec_replicas).is_none()
            {
                return Err(without_replicas(paths));
            }
            Ok(answer(&target.kind, &object))
        }
        Action::Update(tree, options) => {
            let tree = shape(kind(), tree)?;
            check_name(target, &tree)?;
            write(inner, context, target, &options, &Wish::Whole(tree)).await
        }
        Action::Patch(patch, options) => {
            write(inner, context, target, &options, &Wish::Patch(patch)).await
        }
        _ => Err(not_allowed()),
    }
}

enum Wish {
    Whole(Tree),
    Patch(PatchBody),
}

/// One write of a scale.
struct ScaleWrite<'a> {
    context: &'a RequestContext,
    /// The object.
    target: &'a Target,
    /// Its scale, as an object of the kind `Scale`.
    scale: Target,
    options: &'a WriteOptions,
    wish: &'a Wish,
}

async fn write(
    inner: &Inner,
    context: &RequestContext,
    target: &Target,
    options: &WriteOptions,
    wish: &Wish,
) -> Result<Answer, Status> {
    let mut scale = Target::object(kind(), &target.namespace, &target.name);
    scale.subresource.clone_from(&target.subresource);
    let write = ScaleWrite {
        context,
        target,
        scale,
        options,
        wish,
    };
    let mut edit = |object: &mut Tree| write.apply(object);
    let outcome = inner
        .registry
        .edit(context, target, options, Check::Object, &mut edit)
        .await?;
    Ok(answer(&target.kind, &outcome.object))
}

impl ScaleWrite<'_> {
    fn apply(&self, object: &mut Tree) -> Result<(), Status> {
        let target = self.target;
        let mut live = scale_of(&target.kind, &Object::new(object.clone()));
        let parent = managed::decode(&Value::Object(object.clone())).unwrap_or_default();
        set_managed(&mut live, &owners_of_scale(&parent));
        let scale = self.wished(&live)?;
        let metadata = Object::new(scale.clone());
        let (version, uid) = (metadata.resource_version(), metadata.uid());
        let own = Object::new(live);
        if !version.is_empty() && version != own.resource_version() {
            return Err(target.modified());
        }
        if !uid.is_empty() && uid != own.uid() {
            let what = format!("{}/scale", target.kind.plural);
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                own.uid()
            );
            return Err(Status::conflict(
                &target.kind.group,
                &what,
                &target.name,
                &why,
            ));
        }
        let wanted = replicas(&scale, "spec");
        if wanted < 0 && target.kind.custom.is_none() {
            let path = Path::new("spec").child("replicas");
            let why = "must be greater than or equal to 0";
            let complaint = FieldError::invalid(&path, wanted, why);
            return Err(Status::invalid(
                "autoscaling",
                "Scale",
                &target.name,
                vec![complaint.into()],
            ));
        }
        let owners = managed::decode(&Value::Object(scale)).unwrap_or_default();
        let owners = owners_of_object(&target.kind, &parent, owners);
        set_managed(object, &owners);
        if let Some(paths) = paths(&target.kind) {
            put(object, &paths.spec_replicas, wanted.into());
            return Ok(());
        }
        let spec = object
            .entry("spec")
            .or_insert_with(|| Value::Object(Tree::new()));
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("replicas".to_owned(), wanted.into());
        }
        Ok(())
    }

    /// The scale that the request leads to, with its field managers.
    fn wished(&self, live: &Tree) -> Result<Tree, Status> {
        let patch = match self.wish {
            Wish::Patch(patch) if patch.kind == PatchKind::Apply => {
                let live = Some(live);
                return apply_fields(&self.scale, self.context, self.options, live, patch);
            }
            Wish::Patch(patch) => Some(patch),
            Wish::Whole(_) => None,
        };
        let mut scale = match (patch, self.wish) {
            (Some(patch), _) => {
                let node = Schema::get()
                    .type_by_name(&kind().schema)
                    .map_or_else(Node::untyped, Node::of);
                let tree = shape(kind(), patch_tree(node, live, patch)?)?;
                check_name(self.target, &tree)?;
                tree
            }
            (None, Wish::Whole(tree)) => tree.clone(),
            (None, Wish::Patch(_)) => live.clone(),
        };
        note_update(&self.scale, self.context, self.options, live, &mut scale);
        Ok(scale)
    }
}

fn replicas_path() -> FieldSet {
    FieldSet::of_members(&[&["spec", "replicas"]])
}

fn owns_replicas(owned: &Owned) -> bool {
    !owned.fields.intersection(&replicas_path()).is_empty()
}

fn set_managed(object: &mut Tree, owners: &Managed) {
    let mut value = Value::Object(std::mem::take(object));
    managed::encode(&mut value, owners);
    if let Value::Object(tree) = value {
        *object = tree;
    }
}

/// Who owns the replicas of the object owns those of its scale.
fn owners_of_scale(parent: &Managed) -> Managed {
    let owners = parent.iter().filter(|(_, owned)| owns_replicas(owned));
    let owners = owners.map(|(manager, owned)| {
        let owned = Owned {
            fields: replicas_path(),
            api_version: API_VERSION.to_owned(),
            time: owned.time.clone(),
        };
        (manager.clone(), owned)
    });
    owners.collect()
}

/// The owners of the object after those of its scale have changed.
fn owners_of_object(kind: &Kind, parent: &Managed, mut scale: Managed) -> Managed {
    let mut owners = Managed::new();
    for (manager, owned) in parent {
        let mut owned = owned.clone();
        if owns_replicas(&owned) && scale.remove(manager).is_none() {
            owned.fields = owned.fields.difference(&replicas_path());
        }
        if !owned.fields.is_empty() {
            owners.insert(manager.clone(), owned);
        }
    }
    for (mut manager, owned) in scale.into_iter().filter(|(_, owned)| owns_replicas(owned)) {
        // Upstream takes the time from the object's own entries, which have none.
        let time = parent.get(&manager).and_then(|owned| owned.time.clone());
        if manager.operation == Operation::Update {
            manager.api_version = kind.api_version();
        }
        let owned = Owned {
            api_version: kind.api_version(),
            time,
            ..owned
        };
        owners.insert(manager, owned);
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_patch::managed::Manager;

    fn manager(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    fn owned(paths: &[&[&str]], api_version: &str) -> Owned {
        Owned {
            fields: FieldSet::of_members(paths),
            api_version: api_version.to_owned(),
            time: Some("2026-01-02T03:04:05Z".to_owned()),
        }
    }

    #[test]
    fn who_scales_takes_the_replicas_from_their_owner_and_nothing_else() {
        let kind = kontiki_kinds::find("apps", "v1", "deployments").expect("is built in");
        let author = manager("author", Operation::Update, "apps/v1", "");
        let spec: [&[&str]; 2] = [&["spec", "replicas"], &["spec", "paused"]];
        let parent = Managed::from([(author.clone(), owned(&spec, "apps/v1"))]);
        let shown = owners_of_scale(&parent);
        assert_eq!(shown[&author].fields, replicas_path());

        let scaler = manager("scaler", Operation::Update, API_VERSION, "scale");
        let scale = Managed::from([(scaler, owned(&[&["spec", "replicas"]], API_VERSION))]);
        let owners = owners_of_object(kind, &parent, scale);
        let left = FieldSet::of_members(&[&["spec", "paused"]]);
        assert_eq!(owners[&author].fields, left);
        let scaler = manager("scaler", Operation::Update, "apps/v1", "scale");
        assert_eq!(owners[&scaler].fields, replicas_path());
        assert_eq!(owners[&scaler].api_version, "apps/v1");
    }

    #[test]
    fn a_scale_that_changes_nothing_leaves_all_owners() {
        let kind = kontiki_kinds::find("apps", "v1", "deployments").expect("is built in");
        let author = manager("author", Operation::Apply, "", "");
        let parent = Managed::from([(author, owned(&[&["spec", "replicas"]], "apps/v1"))]);
        let scale = owners_of_scale(&parent);
        assert_eq!(owners_of_object(kind, &parent, scale), parent);
    }
}
