//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`: rules in CEL.

mod apply_configuration;
mod binding;
mod mutating;
mod params;
mod policy;
mod validating;

pub(super) use mutating::MutatingAdmissionPolicy;
pub(super) use validating::ValidatingAdmissionPolicy;

use super::dynamic::{Live, Request, is_configuration};
use crate::registry::{Registry, Target};
use binding::Binding;
use kontiki_kinds::Kind;
use kontiki_object::Status;
use policy::Policy;
use std::sync::Arc;

/// Policies of one kind and their bindings.
struct Bound {
    policies: Live<Policy>,
    bindings: Live<Binding>,
}

/// A policy that means a request, and its bindings that do.
struct Meant {
    policy: Arc<Policy>,
    /// The kind as which it is meant.
    kind: Arc<Kind>,
    bindings: Vec<Arc<Binding>>,
}

/// Asking about these is no change of anything, and policies that could keep
/// the control plane from asking would break it.
const REVIEWS: [&str; 6] = [
    "selfsubjectreviews",
    "tokenreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
];

fn is_exempt(target: &Target) -> bool {
    let group = &*target.kind.group;
    let is_review = matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
        && REVIEWS.contains(&&*target.kind.plural);
    is_review || is_configuration(target)
}

impl Bound {
    fn new(policies: &'static str, bindings: &'static str) -> Self {
        Self {
            policies: Live::new(policies, Policy::build),
            bindings: Live::new(bindings, Binding::build),
        }
    }

    /// Whether there is nothing to ask.
    fn is_idle(&self, registry: &Registry, target: &Target) -> bool {
        is_exempt(target)
            || self.policies.get(registry).is_empty()
            || self.bindings.get(registry).is_empty()
    }

    /// The policies that mean a request; those without bindings do nothing.
    async fn meant(&self, request: &Request<'_>) -> Result<Vec<Meant>, Status> {
        let bindings = self.bindings.get(request.registry);
        let mut all = Vec::new();
        for policy in self.policies.get(request.registry).iter() {
            let own: Vec<&Arc<Binding>> = bindings
                .iter()
                .filter(|binding| binding.policy == policy.name)
                .collect();
            if own.is_empty() {
                continue;
            }
            let Some(kind) = policy.criteria.matches(request).await? else {
                continue;
            };
            let mut meant = Meant {
                policy: policy.clone(),
                kind,
                bindings: Vec::new(),
            };
            for binding in own {
                let is_meant = match &binding.criteria {
                    Some(criteria) => criteria.matches(request).await?.is_some(),
                    None => true,
                };
                if is_meant {
                    meant.bindings.push(binding.clone());
                }
            }
            all.push(meant);
        }
        all.retain(|meant| !meant.bindings.is_empty());
        Ok(all)
    }
}
