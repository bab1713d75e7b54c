//! `core/v1` `LimitRange`.

use crate::Kind;
use crate::Tree;
use crate::amounts::{self, Names};
use crate::field::{FieldError, FieldErrors};
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::tree::{make, map, map_mut, maps_mut, text};
use crate::view::{View, named};
use kontiki_object::Quantity;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["limits"]),
        defaults,
        strategy: Rules {
            create_on_update: true,
            validate,
            revalidates_meta: true,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("", "v1", "LimitRange", "limitranges")
    }
}

fn fill(item: &mut Tree, from: &str, into: &str) {
    let values = map(item, from).cloned().unwrap_or_default();
    let target = make(item, into);
    for (name, value) in values {
        target.entry(name).or_insert(value);
    }
}

fn defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    for item in maps_mut(spec, "limits") {
        if text(item, "type") != "Container" {
            continue;
        }
        fill(item, "max", "default");
        fill(item, "default", "defaultRequest");
        fill(item, "min", "defaultRequest");
        for field in ["default", "defaultRequest"] {
            if map(item, field).is_some_and(Tree::is_empty) {
                item.remove(field);
            }
        }
    }
}

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = BTreeSet::new();
    for limit in View::of(object, "spec").maps("limits") {
        let kind = limit.text("type");
        let path = limit.at("type");
        let before = errors.len();
        named(&mut errors, &path, kind, names::is_qualified_name);
        if errors.len() == before && !kind.contains('/') && !TYPES.contains(&kind) {
            let why = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid(&path, kind, why));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path, kind));
        }
        item(&mut errors, &limit);
    }
    errors
}

fn item(errors: &mut FieldErrors, limit: &View<'_>) {
    let kind = limit.text("type");
    let names_known = match kind {
        "Pod" | "Container" => Names::Container,
        _ => Names::Any,
    };
    for field in ["max", "min"] {
        known(errors, limit, field, names_known);
    }
    for field in ["default", "defaultRequest"] {
        if kind != "Pod" {
            known(errors, limit, field, names_known);
        } else if !limit.inner(field).tree.is_empty() {
            let why = "may not be specified when `type` is 'Pod'";
            errors.push(FieldError::forbidden(&limit.at(field), why));
        }
    }
    let has_storage = |field| limit.inner(field).has("storage");
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&limit.at("limits"), why));
    }
    known(errors, limit, "maxLimitRequestRatio", names_known);
    let fields = [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ];
    let counts = |field: &&str| kind != "Pod" || !field.starts_with("default");
    let all: BTreeMap<&str, BTreeSet<&str>> = fields
        .into_iter()
        .filter(counts)
        .flat_map(|field| limit.entries(field).map(move |(_, name, _)| (name, field)))
        .fold(BTreeMap::new(), |mut all, (name, field)| {
            all.entry(name).or_insert_with(BTreeSet::new).insert(field);
            all
        });
    for (name, fields) in all {
        let amount = |field: &str| {
            let is_there = fields.contains(field);
            is_there
                .then(|| limit.inner(field).quantity(name))
                .flatten()
        };
        order(errors, limit, name, &amount);
        ratio(errors, limit, name, &amount);
    }
}

fn known(errors: &mut FieldErrors, limit: &View<'_>, field: &str, known: Names) {
    for (path, name, _) in limit.entries(field) {
        amounts::name(errors, known, name, &path);
    }
}

/// From the least to the most: min, default request, default, max.
fn order(
    errors: &mut FieldErrors,
    limit: &View<'_>,
    name: &str,
    amount: &dyn Fn(&str) -> Option<Quantity>,
) {
    // The lesser and the greater one, what they are called, whose path is told,
    // and whose value.
    let pairs = [
        ("min", "max", "min", "max", "min", "min"),
        (
            "min",
            "defaultRequest",
            "min",
            "default request",
            "defaultRequest",
            "defaultRequest",
        ),
        (
            "defaultRequest",
            "max",
            "default request",
            "max",
            "defaultRequest",
            "defaultRequest",
        ),
        (
            "defaultRequest",
            "default",
            "default request",
            "default limit",
            "defaultRequest",
            "defaultRequest",
        ),
        ("min", "default", "min", "default", "default", "min"),
        ("default", "max", "default", "max", "default", "max"),
    ];
    for (less, more, less_name, more_name, at, shown) in pairs {
        let (Some(a), Some(b)) = (amount(less), amount(more)) else {
            continue;
        };
        if a > b {
            let why = format!("{less_name} value {a} is greater than {more_name} value {b}");
            let path = limit.at(at).key(name);
            let value = amount(shown).unwrap_or_default().to_string();
            errors.push(FieldError::invalid(&path, value, why));
        }
    }
}

fn ratio(
    errors: &mut FieldErrors,
    limit: &View<'_>,
    name: &str,
    amount: &dyn Fn(&str) -> Option<Quantity>,
) {
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        let path = limit.at("maxLimitRequestRatio").key(name);
        if ratio < Quantity::from_units(1) {
            let why = format!("ratio {ratio} is less than 1");
            errors.push(FieldError::invalid(&path, ratio.to_string(), why));
        }
        if let (Some(least), Some(most)) = (amount("min"), amount("max")) {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a ratio of amounts, as upstream"
            )]
            let (wish, bound) = (
                ratio.milli() as f64 / 1000.0,
                most.milli() as f64 / least.milli() as f64,
            );
            if wish > bound {
                let why = format!("ratio {ratio} is greater than max/min = {bound:.6}");
                errors.push(FieldError::invalid(&path, ratio.to_string(), why));
            }
        }
    }
    if let (Some(own), Some(request)) = (amount("default"), amount("defaultRequest"))
        && !amounts::may_overcommit(name)
        && own != request
    {
        let why =
            format!("default value {own} must equal to defaultRequest value {request} in {name}");
        let path = limit.at("defaultRequest").key(name);
        errors.push(FieldError::invalid(&path, request.to_string(), why));
    }
}
