//! A strategy written down as data: most kinds differ from [`Plain`] in a few
//! places only.

use crate::Tree;
use crate::field::FieldErrors;
use crate::meta;
use crate::names;
use crate::strategy::{
    Context, DeleteOptions, GarbageCollection, Grace, MetadataChecks, NameRule, Plain, Strategy,
};
use kontiki_object::Value;
use std::sync::Arc;

/// What is special about a kind; start from [`Rules::PLAIN`].
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// The rule for names.
    pub name: NameRule,
    /// The top-level fields whose changes `metadata.generation` counts; `*`
    /// stands for all but metadata and status. Empty: it counts nothing.
    pub generation: &'static [&'static str],
    /// Further annotation changes count as well (Deployments).
    pub generation_annotations: bool,
    /// Changes of what callers say in the metadata count as well (EndpointSlices).
    pub generation_metadata: bool,
    /// Only the first change starts to count (CSIDrivers).
    pub starts_uncounted: bool,
    /// Runs after the status is removed.
    pub create: fn(&Context<'_>, &mut Tree),
    /// Runs after the status is kept.
    pub update: fn(&Context<'_>, &mut Tree, &Tree),
    /// A write of the status (or of another part) leaves the metadata alone.
    pub parts_keep_metadata: bool,
    /// Top-level fields of which writers own nothing (CSRs).
    pub unowned: &'static [&'static str],
    /// Runs after all but the status is kept.
    pub update_status: fn(&Context<'_>, &mut Tree, &Tree),
    /// For subresources beside `status`.
    pub update_subresource: fn(&str, &Context<'_>, &mut Tree, &Tree),
    /// Whether callers may set the status of a new object.
    pub keeps_status: bool,
    /// Complaints about an object, new or changed.
    pub validate: fn(&Tree) -> FieldErrors,
    /// Further complaints about a new object.
    pub validate_create: fn(&Tree) -> FieldErrors,
    /// Complaints about a change.
    pub validate_update: fn(&Tree, &Tree) -> FieldErrors,
    /// Complaints about a change of the status.
    pub validate_status: fn(&Tree, &Tree) -> FieldErrors,
    /// Complaints about a change of a subresource beside `status`.
    pub validate_subresource: fn(&str, &Tree, &Tree) -> FieldErrors,
    /// Whether an update checks the metadata as that of a new object as well.
    pub revalidates_meta: bool,
    /// Whether finalizers without a domain must be Kubernetes' own.
    pub standard_finalizers: bool,
    /// What to warn about.
    pub warnings: fn(&Tree, Option<&Tree>) -> Vec<String>,
    /// Whether an update may create.
    pub create_on_update: bool,
    /// Whether an update may leave out the resource version.
    pub unconditional_update: bool,
    /// Whether a deletion waits.
    pub grace: fn(&Tree, DeleteOptions) -> Grace,
    /// What becomes of dependents.
    pub garbage_collection: GarbageCollection,
}

impl Rules {
    /// Nothing special.
    pub(crate) const PLAIN: Self = Self {
        name: names::dns_subdomain,
        generation: &[],
        generation_annotations: false,
        generation_metadata: false,
        starts_uncounted: false,
        create: |_, _| {},
        update: |_, _, _| {},
        parts_keep_metadata: false,
        unowned: &[],
        update_status: |_, _, _| {},
        update_subresource: |_, _, _, _| {},
        keeps_status: false,
        validate: |_| FieldErrors::new(),
        validate_create: |_| FieldErrors::new(),
        validate_update: |_, _| FieldErrors::new(),
        validate_status: |_, _| FieldErrors::new(),
        validate_subresource: |_, _, _| FieldErrors::new(),
        revalidates_meta: false,
        standard_finalizers: true,
        warnings: |_, _| Vec::new(),
        create_on_update: false,
        unconditional_update: true,
        grace: |_, _| Grace::Immediate,
        garbage_collection: GarbageCollection::Background,
    };

    /// As a kind holds it.
    pub(crate) fn strategy(self) -> Arc<dyn Strategy> {
        Arc::new(self)
    }
}

/// The metadata without what the server writes about each change.
fn callers_metadata(object: &Tree) -> Tree {
    let metadata = object.get("metadata").and_then(Value::as_object);
    let mut metadata = metadata.cloned().unwrap_or_default();
    for field in ["generation", "managedFields", "resourceVersion"] {
        metadata.remove(field);
    }
    metadata
}

/// What callers say in the metadata stays as it was.
fn keep_metadata(new: &mut Tree, old: &Tree) {
    let former = old.get("metadata").and_then(Value::as_object);
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        match former.and_then(|former| former.get(field)) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

impl Strategy for Rules {
    fn unowned_fields(&self, subresource: &str) -> Vec<&'static str> {
        let mut fields = self.unowned.to_vec();
        if self.parts_keep_metadata && !subresource.is_empty() {
            fields.push("metadata");
        }
        fields
    }

    fn name_rule(&self) -> NameRule {
        self.name
    }

    fn counts_generation(&self) -> bool {
        !self.generation.is_empty()
    }

    fn starts_generation(&self) -> bool {
        self.counts_generation() && !self.starts_uncounted
    }

    fn changes_generation(&self, new: &Tree, old: &Tree) -> bool {
        let annotations =
            |tree: &Tree| -> Option<Value> { tree.get("metadata")?.get("annotations").cloned() };
        if self.generation_annotations && annotations(new) != annotations(old) {
            return true;
        }
        if self.generation_metadata && callers_metadata(new) != callers_metadata(old) {
            return true;
        }
        let differs = |field: &str| !meta::same(new.get(field), old.get(field));
        if self.generation == ["*"] {
            let outside = ["apiVersion", "kind", "metadata", "status"];
            return new
                .keys()
                .chain(old.keys())
                .any(|field| !outside.contains(&field.as_str()) && differs(field));
        }
        self.generation.iter().any(|field| differs(field))
    }

    fn prepare_for_create(&self, context: &Context<'_>, object: &mut Tree) {
        if !self.keeps_status {
            object.remove("status");
        }
        (self.create)(context, object);
    }

    fn prepare_for_update(&self, context: &Context<'_>, new: &mut Tree, old: &Tree) {
        Plain.prepare_for_update(context, new, old);
        (self.update)(context, new, old);
    }

    fn prepare_for_status_update(&self, context: &Context<'_>, new: &mut Tree, old: &Tree) {
        Plain.prepare_for_status_update(context, new, old);
        if self.parts_keep_metadata {
            keep_metadata(new, old);
        }
        (self.update_status)(context, new, old);
    }

    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        context: &Context<'_>,
        new: &mut Tree,
        old: &Tree,
    ) {
        (self.update_subresource)(subresource, context, new, old);
        if self.parts_keep_metadata {
            keep_metadata(new, old);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Tree) -> FieldErrors {
        let mut errors = (self.validate)(object);
        errors.extend((self.validate_create)(object));
        errors
    }

    fn validate_update(&self, _context: &Context<'_>, new: &Tree, old: &Tree) -> FieldErrors {
        let mut errors = (self.validate)(new);
        errors.extend((self.validate_update)(new, old));
        errors
    }

    fn validate_status_update(
        &self,
        _context: &Context<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        (self.validate_status)(new, old)
    }

    fn validate_subresource_update(
        &self,
        subresource: &str,
        _context: &Context<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        (self.validate_subresource)(subresource, new, old)
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks {
            again_on_update: true,
            as_new_on_update: self.revalidates_meta,
            standard_finalizers: self.standard_finalizers,
        }
    }

    fn warnings(&self, new: &Tree, old: Option<&Tree>) -> Vec<String> {
        (self.warnings)(new, old)
    }

    fn allows_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allows_unconditional_update(&self) -> bool {
        self.unconditional_update
    }

    fn grace(&self, object: &Tree, options: DeleteOptions) -> Grace {
        (self.grace)(object, options)
    }

    fn garbage_collection(&self) -> GarbageCollection {
        self.garbage_collection
    }
}
