//! `DefaultStorageClass` and `DefaultIngressClass`: claims and ingresses that
//! name no class get the default one, the newest if there are several.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use kontiki_kinds::Tree;
use kontiki_object::{SharedObject, Status, Value};
use std::cmp::Reverse;

/// The newest class that has one of these annotations; of equally old ones the
/// first by name.
fn default_class(classes: Vec<SharedObject>, annotations: &[&str]) -> Option<String> {
    classes
        .into_iter()
        .filter(|class| {
            let marks = |name: &&str| class.annotation(name) == Some("true");
            annotations.iter().any(marks)
        })
        .min_by_key(|class| (Reverse(class.created_at()), class.name().to_owned()))
        .map(|class| class.name().to_owned())
}

fn has_annotation(object: &Tree, name: &str) -> bool {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"))
        .is_some_and(|annotations| annotations.get(name).is_some())
}

/// Where a kind names its class, and what marks the default one.
struct Defaulting {
    /// Group and plural of the kind that names a class.
    of: (&'static str, &'static str),
    /// The field of its spec.
    field: &'static str,
    /// The annotation that did so before the field was there.
    annotation: &'static str,
    /// Group and plural of the classes.
    classes: (&'static str, &'static str),
    /// Annotations of default classes.
    marks: &'static [&'static str],
}

impl Defaulting {
    /// Sets the field unless it or the annotation names a class already. What
    /// was acknowledged before counts.
    async fn fill(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let (group, plural) = self.of;
        if attributes.operation != Operation::Create || !attributes.is_for(group, plural) {
            return Ok(());
        }
        let is_named = attributes.object.as_deref().is_none_or(|object| {
            let spec = object.get("spec");
            spec.is_some_and(|spec| !spec[self.field].is_null())
                || has_annotation(object, self.annotation)
        });
        if is_named {
            return Ok(());
        }
        attributes.registry.fresh().await?;
        let classes = attributes.list(self.classes.0, "v1", self.classes.1, "");
        let Some(class) = default_class(classes, self.marks) else {
            return Ok(());
        };
        if let Some(object) = attributes.object.as_deref_mut() {
            let spec = object
                .entry("spec")
                .or_insert_with(|| Value::Object(Tree::new()));
            if let Some(spec) = spec.as_object_mut() {
                spec.insert(self.field.to_owned(), class.into());
            }
        }
        Ok(())
    }
}

pub(super) struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        Defaulting {
            of: ("", "persistentvolumeclaims"),
            field: "storageClassName",
            annotation: "volume.beta.kubernetes.io/storage-class",
            classes: ("storage.k8s.io", "storageclasses"),
            marks: &[
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ],
        }
        .fill(attributes)
        .await
    }
}

pub(super) struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        Defaulting {
            of: ("networking.k8s.io", "ingresses"),
            field: "ingressClassName",
            annotation: "kubernetes.io/ingress.class",
            classes: ("networking.k8s.io", "ingressclasses"),
            marks: &["ingressclass.kubernetes.io/is-default-class"],
        }
        .fill(attributes)
        .await
    }
}
