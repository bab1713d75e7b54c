//! What every part of the kubelet shares.

use crate::config::KubeletConfig;
use crate::cri::Cri;
use crate::env::Sources;
use crate::events::PodEvents;
use crate::fields::Placement;
use crate::image::Images;
use crate::machine::Machine;
use crate::sandbox::Resolver;
use crate::token::Tokens;
use crate::volumes::Volumes;
use k8s_openapi::api::core::v1::Pod;
use kontiki_client::{Client, Clock};
use kontiki_nodelink::NodeView;
use kontiki_object::SharedObject;
use std::sync::Arc;

/// The kubelet's settings and ways to the world.
pub struct Context {
    /// Settings.
    pub config: KubeletConfig,
    /// To the API server.
    pub client: Client,
    /// What the node knows of the cluster.
    pub view: NodeView,
    /// To the runtime.
    pub cri: Cri,
    /// To whoever reads events.
    pub events: PodEvents,
    /// The time.
    pub clock: Clock,
    /// Images.
    pub images: Images,
    /// Tokens of service accounts.
    pub tokens: Tokens,
    /// Volumes.
    pub volumes: Volumes,
    /// The machine.
    pub machine: Machine,
}

impl Context {
    /// The node's addresses.
    #[must_use]
    pub fn host_ips(&self) -> Vec<String> {
        vec![self.config.node_ip.to_string()]
    }

    /// What a pod with these addresses can be told of itself.
    #[must_use]
    pub fn placement(&self, pod_ips: Vec<String>) -> Placement {
        Placement {
            host_ips: self.host_ips(),
            pod_ips,
            allocatable: self.machine.allocatable(&self.config),
        }
    }

    /// The host's resolver.
    #[must_use]
    pub fn host_resolver(&self) -> Resolver {
        Resolver::parse(&std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_default())
    }

    /// A pod of this node by its key, if it still is the one with this UID.
    #[must_use]
    pub fn pod(&self, key: &str, uid: &str) -> Option<Arc<Pod>> {
        let object = self
            .view
            .pods
            .get(key)
            .filter(|object| object.uid() == uid)?;
        match object.typed::<Pod>() {
            Ok(pod) => Some(pod),
            Err(error) => {
                tracing::error!(pod = key, %error, "a pod does not have the shape of a pod");
                None
            }
        }
    }
}

impl Sources for Context {
    fn config_map(&self, namespace: &str, name: &str) -> Option<SharedObject> {
        self.view.config_maps.get_named(namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<SharedObject> {
        self.view.secrets.get_named(namespace, name)
    }

    fn services(&self, namespace: &str) -> Vec<SharedObject> {
        self.view.services.list_namespace(namespace)
    }
}
