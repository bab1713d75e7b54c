//! Conflicts between appliers, in the words that clients know.

use std::collections::BTreeMap;

use crate::fields::{FieldSet, path_text};
use crate::managed::Manager;

/// A field that somebody else owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The path, as messages show it: `.spec.replicas`.
    pub field: String,
    /// Who owns it.
    pub manager: Manager,
}

impl Conflict {
    /// The message of the cause: `conflict with "kubectl" using apps/v1`.
    #[must_use]
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager.describe())
    }
}

/// Every path of every manager's set.
pub(super) fn list(sets: &BTreeMap<Manager, FieldSet>) -> Vec<Conflict> {
    sets.iter()
        .flat_map(|(manager, set)| {
            set.paths().into_iter().map(|path| Conflict {
                field: path_text(&path),
                manager: manager.clone(),
            })
        })
        .collect()
}

/// The message of the answer.
pub(super) fn message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: {}: {}",
            one.message(),
            one.field
        );
    }
    let mut lines = Vec::new();
    let mut by_manager: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for conflict in conflicts {
        by_manager
            .entry(conflict.manager.describe())
            .or_default()
            .push(&conflict.field);
    }
    for (manager, fields) in by_manager {
        lines.push(format!("conflicts with {manager}:"));
        lines.extend(fields.into_iter().map(|field| format!("- {field}")));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}
