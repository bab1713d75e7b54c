//! Which names a definition gets, and whether it is established: a pure
//! function of all definitions of its group.

use kontiki_kinds::Tree;
use kontiki_object::{Map, Value};
use kontiki_structural::definition::{Condition, condition, set_condition};
use std::collections::HashSet;

/// The status of `definition` among `others` of its group, if it differs from
/// what it is; `now` dates conditions that change.
#[must_use]
pub fn status(definition: &Tree, others: &[&Tree], now: &str) -> Option<Tree> {
    let mut wanted = definition.clone();
    let taken = Taken::by(others);
    let wish = names(definition, "spec", "names");
    let mut result = names(definition, "status", "acceptedNames");
    let mut reasons = Vec::new();
    let mut each = |fields: [&str; 2], in_use: &HashSet<&str>, reasons: &mut Vec<_>| {
        for field in fields {
            let name = text(&wish, field);
            if in_use.contains(name) {
                reasons.push((reason_of(field), format!("{name:?} is already in use")));
            } else if !name.is_empty() {
                result.insert(field.to_owned(), name.into());
            }
        }
    };
    each(["plural", "singular"], &taken.resources, &mut reasons);
    // The last conflict is the one that is told: kinds come after short names.
    let mut kind_reasons = Vec::new();
    each(["kind", "listKind"], &taken.kinds, &mut kind_reasons);
    let short: Vec<&str> = texts(&wish, "shortNames").collect();
    let clashing: Vec<&&str> = short
        .iter()
        .filter(|name| taken.resources.contains(**name))
        .collect();
    if clashing.is_empty() {
        put_list(&mut result, "shortNames", &short);
    } else {
        let texts: Vec<String> = clashing
            .iter()
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        reasons.push(("ShortNamesConflict", bracketed(&texts)));
    }
    reasons.extend(kind_reasons);
    let categories: Vec<&str> = texts(&wish, "categories").collect();
    put_list(&mut result, "categories", &categories);
    write_names(&mut wanted, result);
    conditions(&mut wanted, definition, reasons.last(), now);
    (wanted.get("status") != definition.get("status")).then_some(wanted)
}

fn bracketed(texts: &[String]) -> String {
    match texts {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn reason_of(field: &str) -> &'static str {
    match field {
        "plural" => "PluralConflict",
        "singular" => "SingularConflict",
        "kind" => "KindConflict",
        _ => "ListKindConflict",
    }
}

fn conditions(
    wanted: &mut Tree,
    definition: &Tree,
    conflict: Option<&(&'static str, String)>,
    now: &str,
) {
    let accepted = match conflict {
        None => Condition {
            ty: "NamesAccepted",
            status: "True",
            reason: "NoConflicts",
            message: "no conflicts found",
        },
        Some((reason, message)) => Condition {
            ty: "NamesAccepted",
            status: "False",
            reason,
            message,
        },
    };
    if !says(wanted, &accepted) {
        set_condition(wanted, &accepted, now);
    }
    // Once established, always established: its objects are stored.
    if condition(definition, "Established") == "True" {
        return;
    }
    let established = if conflict.is_none() {
        Condition {
            ty: "Established",
            status: "True",
            reason: "InitialNamesAccepted",
            message: "the initial names have been accepted",
        }
    } else {
        Condition {
            ty: "Established",
            status: "False",
            reason: "NotAccepted",
            message: "not all names are accepted",
        }
    };
    if !says(wanted, &established) {
        set_condition(wanted, &established, now);
    }
}

fn says(definition: &Tree, wanted: &Condition<'_>) -> bool {
    let status = definition.get("status");
    let conditions = status.and_then(|status| status["conditions"].as_array());
    conditions.into_iter().flatten().any(|known| {
        known["type"] == wanted.ty
            && known["status"] == wanted.status
            && known["reason"] == wanted.reason
            && known["message"] == wanted.message
    })
}

/// The names that others of the group hold.
#[derive(Default)]
struct Taken<'a> {
    resources: HashSet<&'a str>,
    kinds: HashSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn by(others: &[&'a Tree]) -> Self {
        let mut taken = Self::default();
        for other in others {
            let Some(names) = other.get("status").map(|status| &status["acceptedNames"]) else {
                continue;
            };
            let own = |field: &str| names[field].as_str().filter(|name| !name.is_empty());
            taken.resources.extend(own("plural"));
            taken.resources.extend(own("singular"));
            taken.resources.extend(
                names["shortNames"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str),
            );
            taken.kinds.extend(own("kind"));
            taken.kinds.extend(own("listKind"));
        }
        taken
    }
}

fn names(definition: &Tree, part: &str, field: &str) -> Map<String, Value> {
    let part = definition.get(part);
    part.and_then(|part| part[field].as_object())
        .cloned()
        .unwrap_or_default()
}

fn text<'a>(names: &'a Map<String, Value>, field: &str) -> &'a str {
    names.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(names: &'a Map<String, Value>, field: &str) -> impl Iterator<Item = &'a str> {
    let list = names.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn put_list(names: &mut Map<String, Value>, field: &str, list: &[&str]) {
    if list.is_empty() {
        names.remove(field);
    } else {
        names.insert(field.to_owned(), list.to_vec().into());
    }
}

fn write_names(definition: &mut Tree, names: Map<String, Value>) {
    let status = definition
        .entry("status")
        .or_insert_with(|| Value::Object(Tree::new()));
    if let Some(status) = status.as_object_mut() {
        status.insert("acceptedNames".to_owned(), names.into());
    }
}
