//! The sandbox of a pod: its name, its resolver, its namespaces.

use crate::config::KubeletConfig;
use crate::labels;
use crate::resources;
use crate::spec::{self, PodExt};
use k8s_cri::v1::{
    DnsConfig, Int64Value, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, SecurityProfile,
    security_profile,
};
use k8s_openapi::api::core::v1::{Pod, SeccompProfile};
use std::collections::HashMap;

/// The longest name that the kernel takes.
const HOSTNAME_BYTES_MAX: usize = 63;
/// What Linux resolvers take.
const SEARCHES_MAX: usize = 32;
const NAMESERVERS_MAX: usize = 3;

/// The resolver's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Domains that are tried.
    pub searches: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

impl Resolver {
    /// From the text of a `resolv.conf`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                // The last one counts.
                Some("search") => resolver.searches = words.map(str::to_owned).collect(),
                Some("options") => resolver.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolver
    }

    /// For a pod, given the host's.
    #[must_use]
    pub fn for_pod(pod: &Pod, config: &KubeletConfig, host: &Self) -> Self {
        let spec = spec::of(pod);
        let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
        let cluster = match policy {
            "ClusterFirstWithHostNet" => true,
            "ClusterFirst" => !pod.host_network(),
            _ => false,
        };
        let mut resolver = match policy {
            "None" => Self::default(),
            _ if cluster && !config.cluster_dns.is_empty() => {
                let (namespace, domain) = (pod.namespace(), &config.cluster_domain);
                let own = [
                    format!("{namespace}.svc.{domain}"),
                    format!("svc.{domain}"),
                    domain.clone(),
                ];
                Self {
                    servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
                    searches: own
                        .into_iter()
                        .chain(host.searches.iter().cloned())
                        .collect(),
                    options: vec!["ndots:5".to_owned()],
                }
            }
            _ => host.clone(),
        };
        if let Some(more) = &spec.dns_config {
            resolver
                .servers
                .extend(more.nameservers.iter().flatten().cloned());
            resolver
                .searches
                .extend(more.searches.iter().flatten().cloned());
            for option in more.options.iter().flatten() {
                let Some(name) = &option.name else { continue };
                // The pod's own word replaces one of the same name.
                resolver
                    .options
                    .retain(|known| known.split(':').next() != Some(name));
                resolver.options.push(
                    match option.value.as_deref().filter(|value| !value.is_empty()) {
                        Some(value) => format!("{name}:{value}"),
                        None => name.clone(),
                    },
                );
            }
        }
        dedup(&mut resolver.servers);
        dedup(&mut resolver.searches);
        resolver.servers.truncate(NAMESERVERS_MAX);
        resolver.searches.truncate(SEARCHES_MAX);
        resolver
    }
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// The name by which a pod knows itself, and its domain if it has one.
#[must_use]
pub fn hostname(pod: &Pod, config: &KubeletConfig) -> (String, Option<String>) {
    let spec = spec::of(pod);
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), None);
    }
    let mut name = spec
        .hostname
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| pod.name().to_owned());
    name.truncate(HOSTNAME_BYTES_MAX);
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let domain = spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty());
    let domain = domain.map(|subdomain| {
        format!(
            "{subdomain}.{}.svc.{}",
            pod.namespace(),
            config.cluster_domain
        )
    });
    (name, domain)
}

/// The namespaces that a pod's containers share with the host or each other.
#[must_use]
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = spec::of(pod);
    let mode = |host: Option<bool>, own: NamespaceMode| {
        if host == Some(true) {
            NamespaceMode::Node
        } else {
            own
        }
    };
    let pid = if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOption {
        network: mode(spec.host_network, NamespaceMode::Pod).into(),
        ipc: mode(spec.host_ipc, NamespaceMode::Pod).into(),
        pid: mode(spec.host_pid, pid).into(),
        ..NamespaceOption::default()
    }
}

/// Which system calls are allowed; without a profile, all.
#[must_use]
pub fn seccomp(profile: Option<&SeccompProfile>, config: &KubeletConfig) -> SecurityProfile {
    let (kind, path) = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => (security_profile::ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let name = profile
                .and_then(|profile| profile.localhost_profile.clone())
                .unwrap_or_default();
            let path = config
                .root_dir
                .join("seccomp")
                .join(name.trim_start_matches('/'));
            (
                security_profile::ProfileType::Localhost,
                path.display().to_string(),
            )
        }
        _ => (security_profile::ProfileType::Unconfined, String::new()),
    };
    SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: path,
    }
}

/// Groups that every process of a pod is in.
#[must_use]
pub fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let context = spec::of(pod).security_context.as_ref();
    let own = context
        .and_then(|context| context.supplemental_groups.clone())
        .unwrap_or_default();
    own.into_iter()
        .chain(context.and_then(|context| context.fs_group))
        .collect()
}

/// Whether any container of a pod is privileged, so that its sandbox must be.
fn is_privileged(pod: &Pod) -> bool {
    let mut all = pod.containers().iter().chain(pod.init_containers());
    all.any(|container| {
        container
            .security_context
            .as_ref()
            .and_then(|context| context.privileged)
            == Some(true)
    })
}

/// What the runtime is told to make.
#[must_use]
pub fn sandbox_config(
    pod: &Pod,
    attempt: u32,
    config: &KubeletConfig,
    host: &Resolver,
) -> PodSandboxConfig {
    let spec = spec::of(pod);
    let context = spec.security_context.as_ref();
    let resolver = Resolver::for_pod(pod, config, host);
    let (hostname, domain) = hostname(pod, config);
    let fqdn = domain
        .filter(|_| spec.set_hostname_as_fqdn == Some(true))
        .map(|domain| format!("{hostname}.{domain}"));
    let own_hostname = if pod.host_network() && spec.hostname_override.is_none() {
        String::new()
    } else {
        fqdn.unwrap_or(hostname)
    };
    let id = |id: Option<i64>| id.map(|value| Int64Value { value });
    let security = LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: id(context.and_then(|context| context.run_as_user)),
        run_as_group: id(context
            .filter(|c| c.run_as_user.is_some())
            .and_then(|context| context.run_as_group)),
        supplemental_groups: supplemental_groups(pod),
        privileged: is_privileged(pod),
        seccomp: Some(SecurityProfile {
            profile_type: security_profile::ProfileType::RuntimeDefault.into(),
            localhost_ref: String::new(),
        }),
        ..LinuxSandboxSecurityContext::default()
    };
    let sysctls = context.and_then(|context| context.sysctls.as_ref());
    let sysctls: HashMap<String, String> = sysctls
        .into_iter()
        .flatten()
        .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
        .collect();
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        hostname: own_hostname,
        log_directory: log_directory(pod, config).display().to_string(),
        dns_config: Some(DnsConfig {
            servers: resolver.servers,
            searches: resolver.searches,
            options: resolver.options,
        }),
        port_mappings: port_mappings(pod),
        labels: pod
            .metadata
            .labels
            .clone()
            .unwrap_or_default()
            .into_iter()
            .chain(labels::pod(pod))
            .collect(),
        annotations: pod
            .metadata
            .annotations
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: resources::cgroup_parent(pod, config.cgroup_driver, &config.cgroup_root),
            security_context: Some(security),
            sysctls,
            ..LinuxPodSandboxConfig::default()
        }),
        windows: None,
    }
}

/// Where the logs of a pod's containers lie.
#[must_use]
pub fn log_directory(pod: &Pod, config: &KubeletConfig) -> std::path::PathBuf {
    config
        .log_dir
        .join(format!("{}_{}_{}", pod.namespace(), pod.name(), pod.uid()))
}

/// Ports of the host that lead into a pod.
fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    if pod.host_network() {
        return Vec::new();
    }
    let containers = pod
        .containers()
        .iter()
        .chain(pod.init_containers().iter().filter(|c| spec::is_sidecar(c)));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let mappings = ports.filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        Some(PortMapping {
            protocol: protocol.into(),
            container_port: port.container_port,
            host_port: port.host_port.filter(|port| *port > 0)?,
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
    });
    mappings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config() -> KubeletConfig {
        let mut config = KubeletConfig::new("node", "10.0.0.1".parse().expect("valid"));
        config.cluster_dns = vec!["10.96.0.10".parse().expect("valid")];
        config
    }

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": "u"}, "spec": spec}),
        )
        .expect("a pod")
    }

    fn shown(resolver: &Resolver) -> String {
        [&resolver.servers, &resolver.searches, &resolver.options]
            .map(|list| list.join(" "))
            .join(" | ")
    }

    #[test]
    fn the_resolver_follows_the_policy() {
        let host = Resolver::parse(
            "# none\nnameserver 9.9.9.9\nsearch old\nsearch lan home\noptions timeout:1\n",
        );
        let cluster = "10.96.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local lan home | ndots:5";
        for (spec, expected) in [
            (json!({"containers": []}), cluster),
            (
                json!({"containers": [], "hostNetwork": true}),
                "9.9.9.9 | lan home | timeout:1",
            ),
            (
                json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                cluster,
            ),
            (
                json!({"containers": [], "dnsPolicy": "Default"}),
                "9.9.9.9 | lan home | timeout:1",
            ),
            (
                json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                "1.1.1.1 | x | ndots:2 edns0",
            ),
            (
                json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}),
                "10.96.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local lan home | ndots:2",
            ),
        ] {
            assert_eq!(
                shown(&Resolver::for_pod(&pod(spec.clone()), &config(), &host)),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn the_hostname_is_the_pods_own() {
        for (spec, name, domain) in [
            (json!({"containers": []}), "web-0", None),
            (
                json!({"containers": [], "hostname": "h", "subdomain": "sub"}),
                "h",
                Some("sub.shop.svc.cluster.local"),
            ),
            (
                json!({"containers": [], "hostname": format!("{}-x", "a".repeat(62))}),
                &"a".repeat(62),
                None,
            ),
        ] {
            let (found, found_domain) = hostname(&pod(spec.clone()), &config());
            assert_eq!(
                (found.as_str(), found_domain.as_deref()),
                (name, domain),
                "{spec}"
            );
        }
    }

    #[test]
    fn the_sandbox_says_what_is_shared() {
        let spec = json!({
            "hostNetwork": false, "hostPID": true, "hostIPC": false,
            "securityContext": {"fsGroup": 7, "supplementalGroups": [5], "sysctls": [{"name": "net.core.somaxconn", "value": "9"}]},
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}],
        });
        let config = sandbox_config(&pod(spec), 2, &config(), &Resolver::default());
        let linux = config.linux.expect("on Linux");
        let security = linux.security_context.expect("set");
        let options = security.namespace_options.expect("set");
        assert_eq!(options.pid, NamespaceMode::Node as i32);
        assert_eq!(options.network, NamespaceMode::Pod as i32);
        assert_eq!(security.supplemental_groups, [5, 7]);
        assert_eq!(linux.sysctls["net.core.somaxconn"], "9");
        assert_eq!(config.port_mappings.len(), 1);
        assert_eq!(config.metadata.expect("set").attempt, 2);
        assert_eq!(config.log_directory, "/var/log/pods/shop_web-0_u");
    }
}
