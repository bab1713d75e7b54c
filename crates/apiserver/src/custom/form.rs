//! How the objects of a custom kind look: one version of one definition.

use kontiki_kinds::{CustomForm, ScalePaths, Tree};
use kontiki_object::Value;
use kontiki_structural::{Structural, embedded, shape};
use std::sync::Arc;

/// One version of one definition.
pub struct Form {
    /// The `openAPIV3Schema`.
    pub schema: Value,
    /// The same, parsed.
    pub structural: Arc<Structural>,
    /// The definition's UID and version.
    pub identity: String,
    /// What to warn about.
    pub deprecation: Option<String>,
    /// The `scale` subresource.
    pub scale: Option<ScalePaths>,
    /// `spec.conversion.webhook`.
    pub webhook: Option<Value>,
    /// Whether the definition is on its way out.
    pub terminating: bool,
    /// Whether objects keep whatever they hold.
    pub preserves_all: bool,
}

impl Form {
    fn fill(&self, value: &mut Value) {
        if !self.preserves_all {
            shape::prune(&self.structural, value, true);
        }
        shape::default(&self.structural, value);
        shape::drop_nulls(&self.structural, value);
    }

    /// Runs `work` on the object as a value.
    fn with_value(object: &mut Tree, work: impl FnOnce(&mut Value)) {
        let mut value = Value::Object(std::mem::take(object));
        work(&mut value);
        if let Value::Object(tree) = value {
            *object = tree;
        }
    }
}

impl CustomForm for Form {
    fn schema(&self) -> &Value {
        &self.schema
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn shape(&self, object: &mut Tree) -> Result<(), String> {
        let metadata = object
            .entry("metadata")
            .or_insert_with(|| Value::Object(Tree::new()));
        embedded::shape_metadata(metadata)?;
        let mut result = Ok(());
        Self::with_value(object, |value| {
            result = embedded::shape(&self.structural, value);
            self.fill(value);
        });
        result.map_err(|error| error.to_string())
    }

    fn revive(&self, object: &mut Tree) {
        Self::with_value(object, |value| self.fill(value));
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    fn conversion_webhook(&self) -> Option<&Value> {
        self.webhook.as_ref()
    }

    fn is_terminating(&self) -> bool {
        self.terminating
    }
}
