//! What is done to requests between authorization and the store: an ordered
//! list of plugins, one file each, with the names of upstream's.

mod always_pull_images;
mod certificates;
mod default_classes;
mod default_toleration_seconds;
mod dynamic;
mod event_rate_limit;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod persistent_volume_claim_resize;
mod pod;
mod pod_security;
mod pod_topology_labels;
mod policies;
mod priority;
mod rbac_escalation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_object_in_use;
mod taint_nodes_by_condition;
mod webhooks;

pub use dynamic::Reinvocation;
pub use event_rate_limit::{EventLimit, LimitType};

use crate::registry::{Registry, RequestContext, Target};
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_auth::rbac::Rbac;
use kontiki_kinds::Tree;
use kontiki_object::{SharedObject, Status, Value};
use std::sync::Arc;

/// What a request does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As rules and messages write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One request as plugins see it.
pub struct Attributes<'a> {
    /// Who asks, and when.
    pub context: &'a RequestContext,
    /// What it is about.
    pub target: &'a Target,
    /// What it does.
    pub operation: Operation,
    /// The object as it shall be.
    pub object: Option<&'a mut Tree>,
    /// The object as it is.
    pub old: Option<&'a Tree>,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// For looking at other objects.
    pub registry: &'a Registry,
    /// What is to be asked again.
    pub reinvocation: Reinvocation,
}

impl Attributes<'_> {
    /// Whether it is about a resource itself, not one of its subresources.
    #[must_use]
    pub fn is_for(&self, group: &str, resource: &str) -> bool {
        let kind = &self.target.kind;
        kind.group == group && kind.plural == resource && self.target.subresource.is_empty()
    }

    /// 403 because of `why`, with the best name that the object has so far.
    #[must_use]
    pub fn forbidden(&self, why: &str) -> Status {
        let kind = &self.target.kind;
        let metadata = self
            .object
            .as_deref()
            .and_then(|object| object.get("metadata"));
        let own = ["name", "generateName"].into_iter().find_map(|field| {
            let name = metadata?.get(field)?.as_str()?;
            (!name.is_empty()).then_some(name)
        });
        let name = match &*self.target.name {
            "" => own.unwrap_or("Unknown"),
            name => name,
        };
        Status::forbidden(&kind.group, &kind.plural, name, why)
    }

    /// Another object as this server's cache has it.
    #[must_use]
    pub fn lookup(
        &self,
        group: &str,
        version: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<SharedObject> {
        let kind = self.registry.catalog().find(group, version, resource)?;
        self.registry.cached(&kind, namespace, name)
    }

    /// All objects of a resource as this server's cache has them.
    #[must_use]
    pub fn list(
        &self,
        group: &str,
        version: &str,
        resource: &str,
        namespace: &str,
    ) -> Vec<SharedObject> {
        self.registry
            .catalog()
            .find(group, version, resource)
            .map(|kind| self.registry.cached_list(&kind, namespace))
            .unwrap_or_default()
    }
}

/// Metadata that the garbage collector writes, and what follows from a write.
const COLLECTOR_FIELDS: [&str; 4] = ["finalizers", "ownerReferences", "managedFields", "selfLink"];

/// Whether a write only lets the object go: checks of what an object says need
/// not hold it up.
fn only_lets_go(old: &Tree, new: &Tree) -> bool {
    let rest = |tree: &Tree| {
        let mut tree = tree.clone();
        if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, _| !COLLECTOR_FIELDS.contains(&&**field));
        }
        tree
    };
    rest(old) == rest(new)
}

/// One plugin.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// Changes the object, or refuses it.
    async fn mutate(&self, _attributes: &mut Attributes<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object, or lets it pass.
    async fn validate(&self, _attributes: &Attributes<'_>) -> Result<(), Status> {
        Ok(())
    }
}

/// Which plugins are on, and what they are told.
#[derive(Clone, Debug, Default)]
pub struct AdmissionConfig {
    /// Plugins that are on although they are off by default.
    pub enable: Vec<String>,
    /// Plugins that are off although they are on by default.
    pub disable: Vec<String>,
    /// The limits of `EventRateLimit`.
    pub event_limits: Vec<EventLimit>,
}

/// Plugins that are off unless somebody wants them.
const OFF_BY_DEFAULT: [&str; 2] = ["AlwaysPullImages", "EventRateLimit"];

/// What nobody may switch off: it is not upstream's plugin, but its check of
/// who may give what away.
const ALWAYS_ON: [&str; 1] = ["RbacEscalation"];

impl AdmissionConfig {
    fn is_on(&self, name: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|one| one == name);
        ALWAYS_ON.contains(&name)
            || !has(&self.disable) && (has(&self.enable) || !OFF_BY_DEFAULT.contains(&name))
    }
}

/// The ordered list of plugins.
pub struct Admission {
    plugins: Vec<Arc<dyn Plugin>>,
}

impl Admission {
    /// The plugins that are on by default, `NodeRestriction` and
    /// `OwnerReferencesPermissionEnforcement`, in upstream's order; then the
    /// check that roles and bindings give nothing away that their writer does
    /// not have; last, so that nothing is charged for what is refused, quotas.
    ///
    /// The configuration switches plugins on and off.
    #[must_use]
    pub fn standard(
        rbac: Arc<Rbac>,
        authorizer: Arc<dyn Authorizer>,
        config: &AdmissionConfig,
    ) -> Self {
        let ask = || authorizer.clone();
        let mutating = policies::MutatingAdmissionPolicy::new(ask());
        let validating = policies::ValidatingAdmissionPolicy::new(ask());
        let mutating_hooks = webhooks::MutatingAdmissionWebhook::new(ask());
        let validating_hooks = webhooks::ValidatingAdmissionWebhook::new(ask());
        let node_restriction = node_restriction::NodeRestriction { authorizer: ask() };
        let owner_references =
            owner_references::OwnerReferencesPermissionEnforcement { authorizer: ask() };
        let approval = certificates::CertificateApproval { authorizer: ask() };
        let signing = certificates::CertificateSigning { authorizer: ask() };
        let attest = certificates::ClusterTrustBundleAttest { authorizer: ask() };
        let event_limits = event_rate_limit::EventRateLimit::new(&config.event_limits);
        let mut all = Self::new(vec![
            Arc::new(namespace_lifecycle::NamespaceLifecycle),
            Arc::new(limit_ranger::LimitRanger),
            Arc::new(service_account::ServiceAccount),
            Arc::new(node_restriction),
            Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
            Arc::new(always_pull_images::AlwaysPullImages),
            Arc::new(pod_security::PodSecurity),
            Arc::new(priority::Priority),
            Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
            Arc::new(event_limits),
            Arc::new(default_classes::DefaultStorageClass),
            Arc::new(storage_object_in_use::StorageObjectInUseProtection),
            Arc::new(owner_references),
            Arc::new(persistent_volume_claim_resize::PersistentVolumeClaimResize),
            Arc::new(runtime_class::RuntimeClass),
            Arc::new(approval),
            Arc::new(signing),
            Arc::new(attest),
            Arc::new(certificates::CertificateSubjectRestriction),
            Arc::new(default_classes::DefaultIngressClass),
            Arc::new(pod_topology_labels::PodTopologyLabels),
            Arc::new(rbac_escalation::RbacEscalation { rbac, authorizer }),
            Arc::new(mutating),
            Arc::new(mutating_hooks),
            Arc::new(validating),
            Arc::new(validating_hooks),
            Arc::new(resource_quota::ResourceQuota::default()),
        ]);
        let names: Vec<&str> = all.names().collect();
        for name in config.enable.iter().chain(&config.disable) {
            if !names.contains(&&**name) {
                tracing::warn!(name, "no admission plugin has this name");
            }
        }
        all.plugins.retain(|plugin| config.is_on(plugin.name()));
        all
    }

    /// In this order.
    #[must_use]
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self { plugins }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.iter().map(|plugin| plugin.name())
    }

    /// Lets every plugin change the object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.mutate(attributes).await?;
        }
        if attributes.reinvocation.is_wanted {
            // What policies and webhooks changed is seen by all once more.
            attributes.reinvocation.is_second = true;
            for plugin in &self.plugins {
                plugin.mutate(attributes).await?;
            }
        }
        Ok(())
    }

    /// Lets every plugin judge the object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.validate(attributes).await?;
        }
        Ok(())
    }
}

impl Registry {
    /// Lets admission change and judge what is no stored object: what comes to a
    /// subresource, or the options of a connection.
    pub(crate) async fn admit(
        &self,
        context: &RequestContext,
        target: &Target,
        operation: Operation,
        object: &mut Tree,
        dry_run: bool,
    ) -> Result<(), Status> {
        let mut attributes = Attributes {
            context,
            target,
            operation,
            object: Some(object),
            old: None,
            dry_run,
            registry: self,
            reinvocation: Reinvocation::default(),
        };
        self.admission().mutate(&mut attributes).await?;
        self.admission().validate(&mut attributes).await
    }
}
