//! The parameters of a binding: objects of any kind.

use super::super::dynamic::Request;
use super::binding::{Binding, ParamRef};
use super::policy::Policy;
use crate::registry::{Registry, Target};
use kontiki_kinds::Kind;
use kontiki_object::{SharedObject, Status};
use std::sync::Arc;

/// Why a policy cannot be asked.
pub(super) enum Misconfigured {
    /// The policy itself.
    Policy(String),
    /// This binding of it.
    Binding(String),
}

impl Misconfigured {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Policy(why) => format!("failed to configure policy: {why}"),
            Self::Binding(why) => format!("failed to configure binding: {why}"),
        }
    }
}

/// The kind of a policy's parameters.
fn kind_of(registry: &Registry, api_version: &str, name: &str) -> Option<Arc<Kind>> {
    let served = registry.catalog().kinds();
    let is_wanted = |kind: &&Arc<Kind>| {
        kind.kind == name && kind.storage.is_some() && kind.api_version() == api_version
    };
    served.iter().find(is_wanted).cloned()
}

/// The parameters that a policy is evaluated with, each by itself: one `None`
/// where it takes none.
pub(super) async fn collect(
    request: &Request<'_>,
    policy: &Policy,
    binding: &Binding,
) -> Result<Vec<Option<SharedObject>>, Misconfigured> {
    let (Some((api_version, kind)), Some(wanted)) = (&policy.param_kind, &binding.param_ref) else {
        return Ok(vec![None]);
    };
    let Some(kind) = kind_of(request.registry, api_version, kind) else {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(Misconfigured::Policy(format!(
            "failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"
        )));
    };
    let refuse = |why: &str| Misconfigured::Binding(why.to_owned());
    let namespace = match (kind.namespaced, &*wanted.namespace, &*request.namespace) {
        (false, "", _) => String::new(),
        (false, ..) => {
            return Err(refuse(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`",
            ));
        }
        (true, "", "") => {
            return Err(refuse(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            ));
        }
        (true, "", own) => own.to_owned(),
        (true, given, _) => given.to_owned(),
    };
    let found = find(request.registry, &kind, &namespace, wanted)
        .await
        .map_err(Misconfigured::Binding)?;
    if found.is_empty() && wanted.is_needed {
        return Err(refuse(
            "no params found for policy binding with `Deny` parameterNotFoundAction",
        ));
    }
    Ok(found.into_iter().map(Some).collect())
}

async fn find(
    registry: &Registry,
    kind: &Arc<Kind>,
    namespace: &str,
    wanted: &ParamRef,
) -> Result<Vec<SharedObject>, String> {
    if let Some(selector) = &wanted.selector {
        let selector = selector.as_ref().map_err(Clone::clone)?;
        let target = Target::object(kind, namespace, "");
        let request = crate::registry::ListRequest {
            resource_version: "0".to_owned(),
            ..Default::default()
        };
        let page = registry.list(&target, &request).await;
        let items = page.map_err(|status| status.message)?.items;
        return Ok(items
            .into_iter()
            .filter(|object| selector.matches(object))
            .collect());
    }
    let target = Target::object(kind, namespace, &wanted.name);
    match get(registry, &target).await {
        Ok(found) => Ok(vec![found]),
        Err(status) if status.is_not_found() => Ok(Vec::new()),
        Err(status) => Err(status.message),
    }
}

/// From the cache; what is not there may just have been made.
async fn get(registry: &Registry, target: &Target) -> Result<SharedObject, Status> {
    match registry.get(target, "0").await {
        Err(status) if status.is_not_found() => registry.get(target, "").await,
        found => found,
    }
}
