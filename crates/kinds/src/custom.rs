//! Kinds that a CustomResourceDefinition defines: what differs from built-in
//! ones, whose types are in the schema table.
//!
//! **Invariant:** the objects of such a kind are handled in the form that was
//! asked for; they are converted where they enter and leave the store.

use crate::Tree;
use kontiki_object::Value;

/// How the objects of a kind look that is not built in.
pub trait CustomForm: Send + Sync {
    /// The `openAPIV3Schema` of the version.
    fn schema(&self) -> &Value;

    /// Tells this form from earlier ones of the same version.
    fn identity(&self) -> &str;

    /// Brings an object that came in into shape: metadata typed, unknown
    /// members gone, defaults filled in.
    ///
    /// # Errors
    /// What does not fit.
    fn shape(&self, object: &mut Tree) -> Result<(), String>;

    /// Brings an object that was stored into shape: definitions change while
    /// objects lie in the store.
    fn revive(&self, object: &mut Tree);

    /// What to warn about whoever uses this version.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// The `scale` subresource.
    fn scale(&self) -> Option<&ScalePaths> {
        None
    }

    /// `spec.conversion.webhook`, where versions are converted by one.
    fn conversion_webhook(&self) -> Option<&Value> {
        None
    }

    /// Whether the definition is on its way out: nothing new is made.
    fn is_terminating(&self) -> bool {
        false
    }
}

/// Where an object keeps what its `scale` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalePaths {
    /// The number that is wished for.
    pub spec_replicas: Vec<String>,
    /// The number that there is.
    pub status_replicas: Vec<String>,
    /// The selector; empty if there is none.
    pub selector: Vec<String>,
}
