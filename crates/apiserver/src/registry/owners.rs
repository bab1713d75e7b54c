//! Owner references that a request names twice.

use super::context::RequestContext;
use kontiki_kinds::Tree;
use kontiki_object::Value;

/// Keeps the first of equal owner references, and warns about the others.
pub(super) fn dedup(context: &RequestContext, tree: &mut Tree) {
    let references = tree
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("ownerReferences"))
        .and_then(Value::as_array_mut);
    let Some(references) = references else {
        return;
    };
    let mut kept: Vec<Value> = Vec::with_capacity(references.len());
    let mut twice: Vec<String> = Vec::new();
    for reference in references.drain(..) {
        if kept.contains(&reference) {
            twice.push(reference["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(reference);
        }
    }
    *references = kept;
    if !twice.is_empty() {
        context.warn(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
    }
}
