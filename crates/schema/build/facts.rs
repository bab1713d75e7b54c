//! Facts about the Go types that neither source carries: which optional
//! members are pointers, which structs are plain members and hence always
//! shown, and what Kubernetes 1.36 added after the protobuf sources were cut.

use std::collections::{BTreeMap, BTreeSet};

use crate::join::FieldRow;

/// How a Go member decides whether JSON shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A pointer: shown when set, even to its zero value.
    Pointer,
    /// A struct that is not a pointer: always shown.
    Value,
    /// Without `omitempty`: always shown.
    Always,
    /// With `omitempty`: shown when not zero.
    Omit,
}

/// The tables beside this file.
pub struct Facts {
    presence: BTreeMap<(String, String), Presence>,
    additions: BTreeMap<(String, String), Addition>,
    used: std::cell::RefCell<BTreeSet<(String, String)>>,
}

/// Types that a later version of their group took over member by member,
/// protobuf tags included, after the protobuf sources were cut.
const SAME_AS: &[(&str, &str)] = &[
    (
        "admissionregistration.v1.",
        "admissionregistration.v1beta1.",
    ),
    (
        "resource.v1beta2.DeviceTaint",
        "resource.v1alpha3.DeviceTaint",
    ),
];

/// The name of the type that has the same members in an older version.
pub fn predecessor(name: &str) -> Option<String> {
    SAME_AS
        .iter()
        .find(|(new, _)| name.contains(new))
        .map(|(new, old)| name.replace(new, old))
}

struct Addition {
    path: Vec<u32>,
    markers: Vec<(String, String)>,
}

impl Facts {
    pub fn read() -> Self {
        let mut presence = BTreeMap::new();
        for (owner, words) in rows(include_str!("presence.tsv")) {
            let what = match words[0] {
                "pointer" => Presence::Pointer,
                "value" => Presence::Value,
                "always" => Presence::Always,
                "omit" => Presence::Omit,
                other => panic!("presence.tsv: {other} is not a word for presence"),
            };
            for field in words[1].split(' ') {
                presence.insert((owner.to_owned(), field.to_owned()), what);
            }
        }
        let mut additions = BTreeMap::new();
        for (owner, words) in rows(include_str!("additions.tsv")) {
            let path = words[1]
                .split('.')
                .filter(|tag| *tag != "-")
                .map(|tag| tag.parse().expect("a protobuf tag"))
                .collect();
            let markers = words
                .get(2)
                .into_iter()
                .flat_map(|markers| markers.split(' '))
                .filter_map(|marker| marker.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            additions.insert(
                (owner.to_owned(), words[0].to_owned()),
                Addition { path, markers },
            );
        }
        Self {
            presence,
            additions,
            used: Default::default(),
        }
    }

    /// The presence of a field: the rows name a type as `group.Type`, or as
    /// `group.version.Type` where versions differ.
    pub fn presence(&self, owner: &str, field: &str) -> Option<Presence> {
        short_names(owner).into_iter().find_map(|owner| {
            let key = (owner, field.to_owned());
            let found = self.presence.get(&key).copied();
            if found.is_some() {
                self.used.borrow_mut().insert(key);
            }
            found
        })
    }

    /// Adds what `additions.tsv` says of a field.
    pub fn apply(&self, owner: &str, field: &str, row: &mut FieldRow) {
        let Some(addition) = short_names(owner)
            .into_iter()
            .find_map(|owner| self.additions.get(&(owner, field.to_owned())))
        else {
            return;
        };
        if !addition.path.is_empty() {
            row.path.clone_from(&addition.path);
        }
        for (name, value) in &addition.markers {
            match name.as_str() {
                "listType" => row.list_type.clone_from(value),
                "listMapKey" => row.list_map_keys.push(value.clone()),
                "mapType" | "structType" => row.map_type.clone_from(value),
                "patchMergeKey" => row.merge_key.clone_from(value),
                "patchStrategy" => row.strategies.clone_from(value),
                "default" => row.default.clone_from(value),
                "required" => row.required = value == "true",
                other => panic!("additions.tsv: {other} is not a marker"),
            }
        }
    }

    /// Rows of `presence.tsv` that matched no field: typing errors.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.presence
            .keys()
            .filter(|key| !used.contains(key))
            .map(|(owner, field)| format!("{owner}.{field}"))
            .collect()
    }
}

/// `io.k8s.api.core.v1.Pod` as `core.v1.Pod` and `core.Pod`.
fn short_names(owner: &str) -> Vec<String> {
    let parts: Vec<&str> = owner.rsplitn(4, '.').collect();
    match parts[..] {
        [name, version, group, ..] => vec![
            format!("{group}.{version}.{name}"),
            format!("{group}.{name}"),
        ],
        _ => Vec::new(),
    }
}

fn rows(text: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .map(|line| {
            let mut words = line.split('\t');
            let owner = words.next().unwrap_or_default();
            (owner, words.collect())
        })
}
