//! Quality of service, and what the kernel is told about processors and memory.

use crate::config::CgroupDriver;
use crate::fields::quantity;
use crate::spec::PodExt;
use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};

/// A pod's quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits, and requests equal to them.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

const CPU_PERIOD_US: i64 = 100_000;
const CPU_QUOTA_US_MIN: i64 = 1_000;
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;

struct Stated {
    requests: [Option<i64>; 2],
    limits: [Option<i64>; 2],
}

/// Thousandths of a processor and bytes; zero counts as absent.
fn stated(container: &Container) -> Stated {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let read = |list| {
        [
            quantity(list, "cpu").map(|cpu| cpu.milli()),
            quantity(list, "memory").map(|memory| memory.units()),
        ]
        .map(|value| value.filter(|value| *value > 0))
    };
    let (limits, requests) = (read(limits), read(requests));
    // A limit without a request requests as much.
    Stated {
        requests: [requests[0].or(limits[0]), requests[1].or(limits[1])],
        limits,
    }
}

/// A pod's quality of service.
#[must_use]
pub fn qos_class(pod: &Pod) -> QosClass {
    let all: Vec<Stated> = pod
        .containers()
        .iter()
        .chain(pod.init_containers())
        .map(stated)
        .collect();
    let guaranteed = |stated: &Stated| {
        stated.limits.iter().all(Option::is_some) && stated.limits == stated.requests
    };
    let nothing = |stated: &Stated| {
        stated
            .requests
            .iter()
            .chain(&stated.limits)
            .all(Option::is_none)
    };
    if all.iter().all(nothing) {
        QosClass::BestEffort
    } else if all.iter().all(guaranteed) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// The control group of a pod, in the form that its driver wants.
#[must_use]
pub fn cgroup_parent(pod: &Pod, driver: CgroupDriver, root: &str) -> String {
    let uid = pod.uid();
    let class = match qos_class(pod) {
        QosClass::Guaranteed => None,
        QosClass::Burstable => Some("burstable"),
        QosClass::BestEffort => Some("besteffort"),
    };
    match driver {
        CgroupDriver::Cgroupfs => {
            let root = root.trim_end_matches('/');
            let class = class.map(|class| format!("/{class}")).unwrap_or_default();
            format!("{root}/kubepods{class}/pod{uid}")
        }
        CgroupDriver::Systemd => {
            let class = class.map(|class| format!("-{class}")).unwrap_or_default();
            let root = root.trim_matches('/');
            let root = if root.is_empty() {
                String::new()
            } else {
                format!("{}-", root.trim_end_matches(".slice"))
            };
            format!("{root}kubepods{class}-pod{}.slice", uid.replace('-', "_"))
        }
    }
}

/// What the kernel is told about one container.
#[must_use]
pub fn linux_resources(
    pod: &Pod,
    container: &Container,
    node_memory_bytes: u64,
) -> LinuxContainerResources {
    let Stated { requests, limits } = stated(container);
    LinuxContainerResources {
        cpu_shares: requests[0].map_or(CPU_SHARES_MIN, |milli| {
            (milli.saturating_mul(1024) / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
        }),
        cpu_period: if limits[0].is_some() {
            CPU_PERIOD_US
        } else {
            0
        },
        cpu_quota: limits[0].map_or(0, |milli| {
            (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_US_MIN)
        }),
        memory_limit_in_bytes: limits[1].unwrap_or_default(),
        oom_score_adj: oom_score_adj(
            qos_class(pod),
            requests[1].unwrap_or_default(),
            node_memory_bytes,
        ),
        ..LinuxContainerResources::default()
    }
}

/// Who is killed first when memory runs out: the larger, the earlier.
fn oom_score_adj(class: QosClass, request_bytes: i64, node_memory_bytes: u64) -> i64 {
    match class {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let capacity = i128::from(node_memory_bytes.max(1));
            let share = i128::from(request_bytes) * 1000 / capacity;
            i64::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: &[Value]) -> Pod {
        let containers: Vec<Value> = resources
            .iter()
            .map(|resources| json!({"name": "c", "resources": resources}))
            .collect();
        serde_json::from_value(
            json!({"metadata": {"uid": "a-b"}, "spec": {"containers": containers}}),
        )
        .expect("a pod")
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let same = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        let zero = json!({"limits": {"cpu": "0"}});
        for (resources, class, cgroupfs, systemd) in [
            (
                vec![json!({})],
                QosClass::BestEffort,
                "/r/kubepods/besteffort/poda-b",
                "r-kubepods-besteffort-poda_b.slice",
            ),
            (
                vec![zero],
                QosClass::BestEffort,
                "/r/kubepods/besteffort/poda-b",
                "r-kubepods-besteffort-poda_b.slice",
            ),
            (
                vec![full.clone(), same],
                QosClass::Guaranteed,
                "/r/kubepods/poda-b",
                "r-kubepods-poda_b.slice",
            ),
            (
                vec![full.clone(), less],
                QosClass::Burstable,
                "/r/kubepods/burstable/poda-b",
                "r-kubepods-burstable-poda_b.slice",
            ),
            (
                vec![full, json!({})],
                QosClass::Burstable,
                "/r/kubepods/burstable/poda-b",
                "r-kubepods-burstable-poda_b.slice",
            ),
        ] {
            let pod = pod(&resources);
            assert_eq!(qos_class(&pod), class, "{resources:?}");
            assert_eq!(cgroup_parent(&pod, CgroupDriver::Cgroupfs, "/r"), cgroupfs);
            assert_eq!(cgroup_parent(&pod, CgroupDriver::Systemd, "/r"), systemd);
        }
        assert!(
            cgroup_parent(&pod(&[json!({})]), CgroupDriver::Cgroupfs, "/")
                .starts_with("/kubepods/")
        );
    }

    #[test]
    fn shares_quota_and_killing_order_follow_them_too() {
        for (resources, shares, quota, memory, score) in [
            (json!({}), 2, 0, 0, 1000),
            (json!({"requests": {"cpu": "250m"}}), 256, 0, 0, 999),
            (json!({"limits": {"cpu": "1m"}}), 2, 1_000, 0, 999),
            (
                json!({"limits": {"cpu": "2", "memory": "100"}}),
                2048,
                200_000,
                100,
                -997,
            ),
            (json!({"requests": {"memory": "500"}}), 2, 0, 0, 500),
        ] {
            let pod = pod(std::slice::from_ref(&resources));
            let linux = linux_resources(&pod, &pod.containers()[0], 1000);
            assert_eq!(
                (
                    linux.cpu_shares,
                    linux.cpu_quota,
                    linux.memory_limit_in_bytes,
                    linux.oom_score_adj
                ),
                (shares, quota, memory, score),
                "{resources}"
            );
        }
    }
}
