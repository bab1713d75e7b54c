//! What an object uses of what a ResourceQuota limits. Admission asks before an
//! object is made, the controller sums up what is there: both ask here.

mod pods;
mod scopes;

pub use scopes::all_match as scopes_match;

use crate::Tree;
use crate::amounts::is_native;
use crate::tree::{at, list_at, text_at};
use crate::view::quantity;
use kontiki_object::Quantity;
use std::collections::BTreeMap;

/// Amounts by the names that quotas give them.
pub type Amounts = BTreeMap<String, Quantity>;

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
/// Core's resources that may be counted by their bare names.
const COUNTED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// Who knows what the objects of a resource use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluator {
    /// `plural.group`, as in `count/deployments.apps`.
    group_resource: String,
    special: Special,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    Pods,
    Services,
    Claims,
    None,
}

fn whole(count: usize) -> Quantity {
    Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX))
}

impl Evaluator {
    /// For the objects of a resource, for instance `deployments.apps`.
    #[must_use]
    pub fn of(group_resource: &str) -> Self {
        Self {
            group_resource: group_resource.to_owned(),
            special: match group_resource {
                "pods" => Special::Pods,
                "services" => Special::Services,
                "persistentvolumeclaims" => Special::Claims,
                _ => Special::None,
            },
        }
    }

    /// Whether a change of an object may use more than the object did.
    #[must_use]
    pub fn counts_updates(&self) -> bool {
        matches!(self.special, Special::Services | Special::Claims)
    }

    /// Whether objects of this resource use any of what has this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let resource = &*self.group_resource;
        if name.strip_prefix("count/") == Some(resource) {
            return true;
        }
        match self.special {
            Special::Pods => name == resource || pods::is_compute(name),
            Special::Services => {
                matches!(
                    name,
                    "services" | "services.loadbalancers" | "services.nodeports"
                )
            }
            Special::Claims => {
                let of_class = name.split_once(CLASS_SUFFIX).map(|(_, what)| what);
                matches!(
                    of_class.unwrap_or(name),
                    "persistentvolumeclaims" | "requests.storage"
                )
            }
            Special::None => name == resource && COUNTED.contains(&resource),
        }
    }

    /// What one object uses.
    #[must_use]
    pub fn usage(&self, object: &Tree) -> Amounts {
        let one = whole(1);
        let resource = &self.group_resource;
        let mut usage = Amounts::from([(format!("count/{resource}"), one)]);
        match self.special {
            Special::Pods => usage.extend(pods::usage(object)),
            Special::Services => {
                usage.insert(resource.clone(), one);
                usage.extend(service(object));
            }
            Special::Claims => {
                usage.insert(resource.clone(), one);
                usage.extend(claim(object));
            }
            Special::None if COUNTED.contains(&&**resource) => {
                usage.insert(resource.clone(), one);
            }
            Special::None => {}
        }
        usage
    }

    /// What an object has to say so that a quota of these amounts can be kept;
    /// what is missing, in words.
    #[must_use]
    pub fn unmet_constraints(&self, names: &[String], object: &Tree) -> Option<String> {
        match self.special {
            Special::Pods => pods::unmet_constraints(names, object),
            _ => None,
        }
    }

    fn has_scopes(&self) -> bool {
        matches!(self.special, Special::Pods | Special::Claims)
    }
}

fn service(object: &Tree) -> Amounts {
    let kind = text_at(object, &["spec", "type"]);
    let ports = list_at(object, &["spec", "ports"]);
    let gives_ports = at(object, &["spec", "allocateLoadBalancerNodePorts"])
        .is_none_or(|value| value != &serde_json::Value::Bool(false));
    let taken = ports
        .iter()
        .filter(|port| port["nodePort"].as_i64().unwrap_or_default() != 0);
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if gives_ports => ports.len(),
        "LoadBalancer" => taken.count(),
        _ => 0,
    };
    let balancers = usize::from(kind == "LoadBalancer");
    Amounts::from([
        ("services.nodeports".to_owned(), whole(node_ports)),
        ("services.loadbalancers".to_owned(), whole(balancers)),
    ])
}

fn claim(object: &Tree) -> Amounts {
    let mut usage = Amounts::new();
    let size = at(object, &["spec", "resources", "requests", "storage"]).and_then(quantity);
    let old = [
        "metadata",
        "annotations",
        "volume.beta.kubernetes.io/storage-class",
    ];
    let class = match text_at(object, &old) {
        "" => text_at(object, &["spec", "storageClassName"]),
        class => class,
    };
    if !class.is_empty() {
        let name = format!("{class}{CLASS_SUFFIX}persistentvolumeclaims");
        usage.insert(name, whole(1));
    }
    if let Some(size) = size {
        usage.insert("requests.storage".to_owned(), size);
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), size);
        }
    }
    usage
}

#[cfg(test)]
mod tests;
