//! A map and where it is in its object: what validations read from, so that
//! every complaint names its field.

use crate::Tree;
use crate::field::{FieldError, FieldErrors, Path};
use crate::tree;
use kontiki_object::{Quantity, Value};
use std::sync::OnceLock;

/// What is wrong with a text, if anything: a sentence for people each.
pub(crate) type TextRule = fn(&str) -> Vec<String>;

/// A map and its path. A map that is absent reads as an empty one.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    /// The map.
    pub tree: &'a Tree,
    /// Where it is.
    pub path: Path,
}

fn empty() -> &'static Tree {
    static EMPTY: OnceLock<Tree> = OnceLock::new();
    EMPTY.get_or_init(Tree::new)
}

/// A quantity from its JSON form.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64().map(Quantity::from_units),
    }
}

impl<'a> View<'a> {
    /// A map that is known to be there.
    pub(crate) fn new(tree: &'a Tree, path: Path) -> Self {
        Self { tree, path }
    }

    /// A top-level field of an object.
    pub(crate) fn of(object: &'a Tree, field: &str) -> Self {
        Self::new(
            tree::map(object, field).unwrap_or(empty()),
            Path::new(field),
        )
    }

    /// The path of a field.
    pub(crate) fn at(&self, field: &str) -> Path {
        self.path.child(field)
    }

    /// A value that is there and not null.
    pub(crate) fn value(&self, field: &str) -> Option<&'a Value> {
        self.tree.get(field).filter(|value| !value.is_null())
    }

    /// Whether a field is there and not null.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// A text; empty if absent.
    pub(crate) fn text(&self, field: &str) -> &'a str {
        tree::text(self.tree, field)
    }

    /// A whole number.
    pub(crate) fn number(&self, field: &str) -> Option<i64> {
        tree::number(self.tree, field)
    }

    /// Whether a field is true.
    pub(crate) fn is_true(&self, field: &str) -> bool {
        tree::flag(self.tree, field) == Some(true)
    }

    /// A list; empty if absent.
    pub(crate) fn list(&self, field: &str) -> &'a [Value] {
        tree::list(self.tree, field)
    }

    /// A map, if it is there.
    pub(crate) fn map(&self, field: &str) -> Option<View<'a>> {
        Some(View::new(tree::map(self.tree, field)?, self.at(field)))
    }

    /// A map; empty if absent.
    pub(crate) fn inner(&self, field: &str) -> View<'a> {
        View::new(
            tree::map(self.tree, field).unwrap_or(empty()),
            self.at(field),
        )
    }

    /// The maps of a list.
    pub(crate) fn maps(&self, field: &str) -> impl Iterator<Item = View<'a>> + use<'a> {
        let path = self.at(field);
        let list = self.list(field).iter().enumerate();
        list.map(move |(index, one)| {
            View::new(one.as_object().unwrap_or(empty()), path.index(index))
        })
    }

    /// The texts of a list and where they are.
    pub(crate) fn texts(&self, field: &str) -> impl Iterator<Item = (Path, &'a str)> + use<'a> {
        let path = self.at(field);
        let list = self.list(field).iter().enumerate();
        list.map(move |(index, one)| (path.index(index), one.as_str().unwrap_or_default()))
    }

    /// The entries of a map, in the order of their keys.
    pub(crate) fn entries(
        &self,
        field: &str,
    ) -> impl Iterator<Item = (Path, &'a str, &'a Value)> + use<'a> {
        let path = self.at(field);
        let entries = tree::map(self.tree, field).into_iter().flatten();
        entries.map(move |(key, value)| (path.key(key), key.as_str(), value))
    }

    /// A quantity.
    pub(crate) fn quantity(&self, field: &str) -> Option<Quantity> {
        quantity(self.value(field)?)
    }
}

/// Checks of single fields; each adds what it finds.
impl View<'_> {
    /// A text that must be set. Answers whether it is.
    pub(crate) fn required(&self, errors: &mut FieldErrors, field: &str) -> bool {
        let is_set = !self.text(field).is_empty();
        if !is_set {
            errors.push(FieldError::required(&self.at(field), ""));
        }
        is_set
    }

    /// A text that must be set and follow a rule.
    pub(crate) fn required_name(&self, errors: &mut FieldErrors, field: &str, rule: TextRule) {
        if self.required(errors, field) {
            self.name(errors, field, rule);
        }
    }

    /// A text that follows a rule if it is set.
    pub(crate) fn name(&self, errors: &mut FieldErrors, field: &str, rule: TextRule) {
        let value = self.text(field);
        if !value.is_empty() {
            named(errors, &self.at(field), value, rule);
        }
    }

    /// A text that, if the field is there, is one of a few.
    pub(crate) fn one_of(&self, errors: &mut FieldErrors, field: &str, supported: &[&str]) {
        if self.has(field) {
            let value = self.text(field);
            if !supported.contains(&value) {
                errors.push(FieldError::not_supported(&self.at(field), value, supported));
            }
        }
    }

    /// A text that must be set and is one of a few.
    pub(crate) fn required_one_of(
        &self,
        errors: &mut FieldErrors,
        field: &str,
        supported: &[&str],
    ) {
        if self.required(errors, field) {
            self.one_of(errors, field, supported);
        }
    }

    /// Numbers that must not be negative.
    pub(crate) fn not_negative(&self, errors: &mut FieldErrors, fields: &[&str]) {
        crate::check::not_negative(errors, self.tree, fields, &self.path);
    }

    /// A number within bounds, if it is there.
    pub(crate) fn within(&self, errors: &mut FieldErrors, field: &str, least: i64, most: i64) {
        if let Some(value) = self.number(field).filter(|n| !(least..=most).contains(n)) {
            let why = format!("must be between {least} and {most}, inclusive");
            errors.push(FieldError::invalid(&self.at(field), value, why));
        }
    }

    /// A field that must not be there.
    pub(crate) fn forbid(&self, errors: &mut FieldErrors, field: &str, why: &str) {
        if self.has(field) {
            errors.push(FieldError::forbidden(&self.at(field), why));
        }
    }

    /// Complains about a field's value.
    pub(crate) fn invalid(&self, errors: &mut FieldErrors, field: &str, why: impl AsRef<str>) {
        let shown = self.value(field).cloned().unwrap_or_default();
        errors.push(FieldError::invalid(&self.at(field), shown, why));
    }
}

/// What a rule says about a value.
pub(crate) fn named(errors: &mut FieldErrors, path: &Path, value: &str, rule: TextRule) {
    let texts = rule(value).into_iter();
    errors.extend(texts.map(|text| FieldError::invalid(path, value, text)));
}
