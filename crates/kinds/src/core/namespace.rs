//! `core/v1` `Namespace`.

use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::strategy::keep;
use crate::strategy::keep_all_but;
use crate::table::Column;
use crate::tree::{default, make, text, text_at};
use crate::view::{View, named};
use crate::{Kind, Subresource};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        verbs: texts(&[
            "create", "delete", "get", "list", "patch", "update", "watch",
        ]),
        short_names: texts(&["ns"]),
        subresources: vec![
            Subresource::new("finalize", "", "Namespace", &["update"]),
            Subresource::status("Namespace"),
        ],
        defaults,
        selectable_fields: vec![SelectableField::new("status.phase", |namespace| {
            text_at(namespace, &["status", "phase"]).into()
        })],
        strategy: Rules {
            name: names::dns_label,
            create,
            validate_create,
            validate_status,
            validate_subresource,
            update,
            update_subresource,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("", "v1", "Namespace", "namespaces")
    }
}

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn defaults(object: &mut Tree) {
    default(make(object, "status"), "phase", "Active");
    let meta = make(object, "metadata");
    let name = text(meta, "name").to_owned();
    if !name.is_empty() {
        make(meta, "labels").insert(NAME_LABEL.to_owned(), name.into());
    }
}

/// A namespace is held by its finalizer until what lives in it is gone.
fn create(_: &Context<'_>, object: &mut Tree) {
    object.insert("status".into(), json!({"phase": "Active"}));
    let finalizers = make(object, "spec")
        .entry("finalizers")
        .or_insert_with(|| json!([]));
    if let Some(list) = finalizers.as_array_mut()
        && !list.iter().any(|finalizer| finalizer == "kubernetes")
    {
        list.push("kubernetes".into());
    }
    let name = text_at(object, &["metadata", "name"]).to_owned();
    make(make(object, "metadata"), "labels").insert(NAME_LABEL.to_owned(), name.into());
}

fn update(_: &Context<'_>, new: &mut Tree, old: &Tree) {
    keep(new, old, "spec");
}

fn update_subresource(_: &str, _: &Context<'_>, new: &mut Tree, old: &Tree) {
    // `finalize` writes the finalizers and nothing else.
    keep_all_but(new, old, &["spec", "metadata", "apiVersion", "kind"]);
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Status", "string", "The status of the namespace", |o, _| {
            text_at(o, &["status", "phase"]).into()
        }),
        Column::age(),
    ]
}

fn finalizer(errors: &mut FieldErrors, name: &str, path: &Path) {
    named(errors, path, name, names::is_qualified_name);
    errors.extend(meta::validate_standard_finalizer(name, path));
}

fn validate_create(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    for (_, name) in spec.texts("finalizers") {
        finalizer(&mut errors, name, &spec.at("finalizers"));
    }
    errors
}

fn validate_subresource(_: &str, new: &Tree, _: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (path, name) in View::of(new, "spec").texts("finalizers") {
        finalizer(&mut errors, name, &path);
    }
    errors
}

/// The phase says whether the namespace is being deleted.
fn validate_status(new: &Tree, _: &Tree) -> FieldErrors {
    let phase = View::of(new, "status").text("phase");
    let is_ending = View::of(new, "metadata").has("deletionTimestamp");
    let why = match (is_ending, phase) {
        (false, "Active") | (true, "Terminating") => return FieldErrors::new(),
        (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
        (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
    };
    let path = Path::new("status").child("Phase");
    vec![FieldError::invalid(&path, phase, why)]
}
