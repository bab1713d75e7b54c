//! Which objects of a collection are meant.

use crate::error;
use kontiki_kinds::Kind;
use kontiki_object::{FieldSelector, LabelSelector, Object, Status};

/// The key of an object below its resource's prefix.
#[must_use]
pub fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// What the keys of a namespace start with; empty for all.
#[must_use]
pub fn scope(namespace: &str) -> String {
    if namespace.is_empty() {
        String::new()
    } else {
        format!("{namespace}/")
    }
}

/// A label and a field selector.
#[derive(Clone, Debug)]
pub struct Selection {
    /// On labels.
    pub labels: LabelSelector,
    /// On fields.
    pub fields: FieldSelector,
}

impl Selection {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            labels: LabelSelector::everything(),
            fields: FieldSelector::default(),
        }
    }

    /// From the query's texts.
    ///
    /// # Errors
    /// 400 if a text is malformed, or names a field that cannot be selected by.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = if labels.is_empty() {
            LabelSelector::everything()
        } else {
            LabelSelector::parse(labels).map_err(|error| error::from_selector(&error))?
        };
        let fields = FieldSelector::parse(fields).map_err(|error| error::from_selector(&error))?;
        let nothing = kontiki_kinds::Tree::new();
        for (path, _, value) in &fields.terms {
            if path.is_empty() && value.is_empty() {
                continue;
            }
            if kind.select(&nothing, path).is_none() {
                let text = if kind.selectable_fields.is_empty() {
                    format!(
                        "\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                } else {
                    format!("field label not supported: {path}")
                };
                return Err(Status::bad_request(text));
            }
        }
        Ok(Self { labels, fields })
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object (in the form that `kind` serves) is meant.
    #[must_use]
    pub fn matches(&self, kind: &Kind, object: &Object) -> bool {
        self.labels.matches(object)
            && self
                .fields
                .matches_with(|path| kind.select(object.tree(), path).unwrap_or_default())
    }

    /// The only name that can match, if the selector says so.
    #[must_use]
    pub fn only_name(&self) -> Option<&str> {
        self.fields.requires("metadata.name")
    }
}
