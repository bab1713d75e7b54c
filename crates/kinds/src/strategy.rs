//! What happens to the objects of a kind on a write.

use crate::Tree;
use crate::field::FieldErrors;
use crate::names;
use jiff::Timestamp;
use kontiki_object::Value;

/// Checks a name; `prefix` is set for `generateName`. The answers are texts for people.
pub type NameRule = fn(name: &str, prefix: bool) -> Vec<String>;

/// What a strategy may know beside the object.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// Who asks.
    pub requester: Option<&'a Requester>,
}

/// Who asks, as far as strategies record it (certificate signing requests).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requester {
    /// User name.
    pub username: String,
    /// UID.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: Vec<(String, Vec<String>)>,
}

/// What a deletion was asked for with, as far as strategies decide by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_period_seconds: Option<i64>,
}

/// Whether a deletion waits for somebody to finish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Delete now.
    Immediate,
    /// Mark as terminating with this grace period.
    Seconds(i64),
}

/// What becomes of dependents when the deletion does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GarbageCollection {
    /// They are deleted afterwards.
    Background,
    /// They stay.
    Orphan,
    /// The kind takes no part in garbage collection.
    Unsupported,
}

/// Which of upstream's checks of metadata a kind goes through beside those that
/// every object does; each tells its own cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataChecks {
    /// Changes are checked by the kind's own validation once more.
    pub again_on_update: bool,
    /// An update is checked as a new object would be.
    pub as_new_on_update: bool,
    /// Finalizers without a domain must be Kubernetes' own.
    pub standard_finalizers: bool,
}

/// What happens to the objects of a kind on a write. Every method works on the
/// stored form; the defaults are right for a kind with an optional `status`
/// subresource and nothing special.
///
/// The order of the calls is [`crate::lifecycle`]'s business.
pub trait Strategy: Send + Sync {
    /// The rule for names.
    fn name_rule(&self) -> NameRule {
        names::dns_subdomain
    }

    /// Whether `metadata.generation` counts changes of the object's wishes.
    fn counts_generation(&self) -> bool {
        false
    }

    /// Whether a new object's generation is 1, and not absent until it changes.
    fn starts_generation(&self) -> bool {
        self.counts_generation()
    }

    /// Top-level fields of which a writer of the object, or of one of its parts,
    /// owns nothing, beside the status and the spec respectively.
    fn unowned_fields(&self, subresource: &str) -> Vec<&'static str> {
        let _ = subresource;
        Vec::new()
    }

    /// Whether an update changes what the object wishes for; asked after
    /// [`Strategy::prepare_for_update`], only if generations are counted.
    fn changes_generation(&self, new: &Tree, old: &Tree) -> bool {
        new.get("spec") != old.get("spec")
    }

    /// Brings a new object into shape: what callers cannot set is removed.
    fn prepare_for_create(&self, _context: &Context<'_>, object: &mut Tree) {
        object.remove("status");
    }

    /// Brings an updated object into shape.
    fn prepare_for_update(&self, _context: &Context<'_>, new: &mut Tree, old: &Tree) {
        keep(new, old, "status");
    }

    /// Brings an object with an updated status into shape: all but the status
    /// and the metadata is the old object's.
    fn prepare_for_status_update(&self, _context: &Context<'_>, new: &mut Tree, old: &Tree) {
        keep_all_but(new, old, &["status", "metadata", "apiVersion", "kind"]);
    }

    /// The same for any other subresource that is written as the whole object.
    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        context: &Context<'_>,
        new: &mut Tree,
        old: &Tree,
    ) {
        let _ = subresource;
        self.prepare_for_update(context, new, old);
    }

    /// Complaints about a new object, beside those about its metadata.
    fn validate(&self, _context: &Context<'_>, _object: &Tree) -> FieldErrors {
        FieldErrors::new()
    }

    /// Complaints about an updated object, beside those about its metadata.
    fn validate_update(&self, context: &Context<'_>, new: &Tree, _old: &Tree) -> FieldErrors {
        self.validate(context, new)
    }

    /// Complaints about an updated status.
    fn validate_status_update(
        &self,
        _context: &Context<'_>,
        _new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        FieldErrors::new()
    }

    /// Complaints about an update of another subresource.
    fn validate_subresource_update(
        &self,
        subresource: &str,
        context: &Context<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let _ = subresource;
        self.validate_update(context, new, old)
    }

    /// Further checks of metadata.
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::default()
    }

    /// What to warn the caller about; `old` is absent on create.
    fn warnings(&self, _new: &Tree, _old: Option<&Tree>) -> Vec<String> {
        Vec::new()
    }

    /// Whether an update of an object that does not exist creates it.
    fn allows_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update may leave out `metadata.resourceVersion`.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// Whether and for how long a deletion waits.
    fn grace(&self, _object: &Tree, _options: DeleteOptions) -> Grace {
        Grace::Immediate
    }

    /// Marks an object as terminating in the kind's own way; `false` if it has
    /// none. A marked object goes when its last finalizer does.
    fn mark_deleted(&self, _context: &Context<'_>, _object: &mut Tree) -> bool {
        false
    }

    /// What becomes of dependents when the deletion does not say.
    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::Background
    }
}

/// Makes a field of `new` that of `old`.
pub fn keep(new: &mut Tree, old: &Tree, field: &str) {
    match old.get(field) {
        Some(value) => {
            new.insert(field.to_owned(), value.clone());
        }
        None => {
            new.remove(field);
        }
    }
}

/// Makes every top-level field of `new` that of `old`, but for `fields`.
pub fn keep_all_but(new: &mut Tree, old: &Tree, fields: &[&str]) {
    new.retain(|name, _| fields.contains(&name.as_str()));
    for (name, value) in old {
        if !fields.contains(&name.as_str()) {
            new.insert(name.clone(), value.clone());
        }
    }
}

/// Makes a field of `new.metadata` that of `old.metadata`.
pub fn keep_metadata(new: &mut Tree, old: &Tree, field: &str) {
    let value = old
        .get("metadata")
        .and_then(|meta| meta.get(field))
        .cloned();
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    match value {
        Some(value) => {
            metadata.insert(field.to_owned(), value);
        }
        None => {
            metadata.remove(field);
        }
    }
}

/// The strategy of a kind with nothing special.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Strategy for Plain {}
