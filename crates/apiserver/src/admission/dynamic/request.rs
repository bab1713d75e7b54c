//! A request as policies and webhooks see it.

use super::matching::GROUP;
use crate::admission::{Attributes, Operation};
use crate::codec;
use crate::registry::{Registry, RequestContext, Target};
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{SharedObject, Status, Value};
use serde_json::{Map, json};
use std::sync::Arc;

/// One request.
pub(in crate::admission) struct Request<'a> {
    pub(in crate::admission) context: &'a RequestContext,
    pub(in crate::admission) target: &'a Target,
    pub(in crate::admission) operation: Operation,
    pub(in crate::admission) dry_run: bool,
    pub(in crate::admission) registry: &'a Registry,
    /// The namespace; that of a namespace is itself.
    pub(in crate::admission) namespace: String,
    /// The name, as far as it is known.
    pub(in crate::admission) name: String,
    /// The object as it shall be, in the form that was asked for.
    pub(in crate::admission) object: Option<Tree>,
    /// The object as it is, in that form.
    pub(in crate::admission) old: Option<Tree>,
}

const WEBHOOKS: [&str; 2] = [
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
];

/// Whether a request is about what configures admission: nobody may lock
/// himself out.
pub(in crate::admission) fn is_configuration(target: &Target) -> bool {
    let plural = &*target.kind.plural;
    target.kind.group == GROUP && (WEBHOOKS.contains(&plural) || plural.contains("admissionpolic"))
}

/// Judging plugins are shown objects as they will be stored.
fn as_served(kind: &Kind, tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    let given = tree.get("apiVersion").and_then(Value::as_str);
    if given != Some(&*kind.api_version()) {
        codec::to_served(kind, &mut tree);
    }
    tree
}

impl<'a> Request<'a> {
    pub(in crate::admission) fn new(attributes: &Attributes<'a>) -> Self {
        let target = attributes.target;
        let is_whole = own_form(target).is_none();
        let form = |tree: &Tree| {
            if is_whole {
                as_served(&target.kind, tree)
            } else {
                tree.clone()
            }
        };
        let object = attributes.object.as_deref().map(form);
        let own_name = object
            .as_ref()
            .and_then(|object| object.get("metadata")?.get("name")?.as_str());
        let name = match &*target.name {
            "" => own_name.unwrap_or_default().to_owned(),
            name => name.to_owned(),
        };
        let is_namespace = target.kind.group.is_empty() && target.kind.plural == "namespaces";
        Self {
            context: attributes.context,
            target,
            operation: attributes.operation,
            dry_run: attributes.dry_run,
            registry: attributes.registry,
            namespace: if is_namespace {
                name.clone()
            } else {
                target.namespace.clone()
            },
            name,
            old: attributes.old.map(form),
            object,
        }
    }

    /// Whether the objects are those of the resource, not a subresource's own.
    pub(in crate::admission) fn shows_whole_objects(&self) -> bool {
        own_form(self.target).is_none()
    }

    pub(in crate::admission) fn is_namespace(&self) -> bool {
        self.target.kind.group.is_empty() && self.target.kind.plural == "namespaces"
    }

    /// The namespace that it is about, if there is one.
    pub(in crate::admission) async fn namespace_object(
        &self,
    ) -> Result<Option<SharedObject>, Status> {
        if self.namespace.is_empty() || self.is_namespace() {
            return Ok(None);
        }
        self.find_namespace().await.map(Some)
    }

    pub(super) async fn find_namespace(&self) -> Result<SharedObject, Status> {
        let missing = || Status::not_found("", "namespaces", &self.namespace);
        let kind = self.registry.catalog().find("", "v1", "namespaces");
        let kind = kind.ok_or_else(missing)?;
        if let Some(found) = self.registry.cached(&kind, "", &self.namespace) {
            return Ok(found);
        }
        let target = Target::object(&kind, "", &self.namespace);
        self.registry.get(&target, "").await
    }

    /// The other kinds in which the same objects are served.
    pub(super) fn equivalents(&self) -> Vec<Arc<Kind>> {
        let own = &self.target.kind;
        let Some(storage) = &own.storage else {
            return Vec::new();
        };
        let is_other = |kind: &&Arc<Kind>| {
            kind.storage
                .as_ref()
                .is_some_and(|other| other.key_prefix == storage.key_prefix)
                && (kind.group != own.group || kind.version != own.version)
        };
        let served = self.registry.catalog().kinds();
        served.iter().filter(is_other).cloned().collect()
    }

    /// An object in the form of an equivalent kind, or back from it.
    pub(in crate::admission) async fn convert(
        &self,
        from: &Kind,
        to: &Kind,
        tree: Tree,
    ) -> Result<Tree, Status> {
        let is_same = from.group == to.group && from.version == to.version;
        if is_same || own_form(self.target).is_some() {
            return Ok(tree);
        }
        if from.custom.is_some() {
            return self.registry.converted(from, &to.api_version(), tree).await;
        }
        let mut tree = tree;
        codec::to_stored(from, &mut tree);
        codec::to_served(to, &mut tree);
        Ok(tree)
    }

    /// The object and what it was, in the form of an equivalent kind.
    pub(in crate::admission) async fn shown_as(
        &self,
        kind: &Kind,
    ) -> Result<(Option<Tree>, Option<Tree>), Status> {
        let mut shown = Vec::with_capacity(2);
        for tree in [&self.object, &self.old] {
            shown.push(match tree {
                Some(tree) => Some(self.convert(&self.target.kind, kind, tree.clone()).await?),
                None => None,
            });
        }
        let old = shown.pop().flatten();
        Ok((shown.pop().flatten(), old))
    }

    /// Everything but the objects, as an `AdmissionRequest` tells it.
    pub(in crate::admission) fn describe(&self, matched: &Kind) -> Map<String, Value> {
        let user = &self.context.user;
        let mut who = json!({});
        for (field, text) in [("username", &user.name), ("uid", &user.uid)] {
            if !text.is_empty() {
                who[field] = text.clone().into();
            }
        }
        if !user.groups.is_empty() {
            who["groups"] = user.groups.clone().into();
        }
        if !user.extra.is_empty() {
            who["extra"] = json!(user.extra);
        }
        let own = &self.target.kind;
        let mut told = Map::new();
        let mut tell = |field: &str, value: Value| {
            if value != "" {
                told.insert(field.to_owned(), value);
            }
        };
        let part = self.target.subresource.clone();
        tell("kind", shown_kind(self.target, matched));
        tell("resource", resource(matched));
        tell("subResource", part.clone().into());
        tell("requestKind", shown_kind(self.target, own));
        tell("requestResource", resource(own));
        tell("requestSubResource", part.into());
        tell("name", self.name.clone().into());
        tell("namespace", self.namespace.clone().into());
        tell("operation", self.operation.word().into());
        tell("userInfo", who);
        tell("dryRun", self.dry_run.into());
        tell("options", self.options());
        told
    }

    fn options(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            // What is sent to a connection are its options.
            Operation::Connect => return Value::Null,
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }
}

/// Group, version and kind of a subresource that has a form of its own.
fn own_form(target: &Target) -> Option<(String, String, String)> {
    let kind = &target.kind;
    if target.subresource.is_empty() {
        return None;
    }
    let part = kind.subresource(&target.subresource)?;
    if part.kind == kind.kind {
        return None;
    }
    let (group, version) = if part.version.is_empty() {
        (&kind.group, &kind.version)
    } else {
        (&part.group, &part.version)
    };
    Some((
        group.to_string(),
        version.to_string(),
        part.kind.to_string(),
    ))
}

fn shown_kind(target: &Target, kind: &Kind) -> Value {
    match own_form(target) {
        Some((group, version, kind)) => json!({"group": group, "version": version, "kind": kind}),
        None => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    }
}

fn resource(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "resource": kind.plural})
}
