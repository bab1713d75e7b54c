//! What a pod's spec says, with its defaults.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::sync::LazyLock;
use std::time::Duration;

/// Questions to a pod.
pub trait PodExt {
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`.
    fn namespace(&self) -> &str;
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// `name_namespace(uid)`, as messages name pods.
    fn described(&self) -> String;
    /// The containers that run to their end, or as sidecars, before the others.
    fn init_containers(&self) -> &[Container];
    /// The containers.
    fn containers(&self) -> &[Container];
    /// When containers are started again.
    fn restart_policy(&self) -> RestartPolicy;
    /// Whether deletion was asked for.
    fn is_terminating(&self) -> bool;
    /// How long containers get to end by themselves.
    fn grace(&self) -> Duration;
    /// Whether it lives in the host's network.
    fn host_network(&self) -> bool;
    /// `status.phase`.
    fn phase(&self) -> &str;
}

/// When a container is started again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Always.
    Always,
    /// After a failure.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    fn named(name: Option<&str>) -> Self {
        match name {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

/// A pod's spec; an empty one if it has none.
#[must_use]
pub fn of(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&NO_SPEC)
}

impl PodExt for Pod {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn described(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    fn init_containers(&self) -> &[Container] {
        of(self).init_containers.as_deref().unwrap_or_default()
    }

    fn containers(&self) -> &[Container] {
        &of(self).containers
    }

    fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy::named(of(self).restart_policy.as_deref())
    }

    fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn grace(&self) -> Duration {
        let seconds = self
            .metadata
            .deletion_grace_period_seconds
            .filter(|_| self.is_terminating())
            .or(of(self).termination_grace_period_seconds)
            .unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    fn host_network(&self) -> bool {
        of(self).host_network == Some(true)
    }

    fn phase(&self) -> &str {
        self.status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .unwrap_or_default()
    }
}

/// Whether an init container keeps running beside the others.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// When a container of a pod is started again: its own policy or its pod's.
#[must_use]
pub fn restart_policy(pod: &Pod, container: &Container) -> RestartPolicy {
    match container.restart_policy.as_deref() {
        Some(own) => RestartPolicy::named(Some(own)),
        None => pod.restart_policy(),
    }
}

/// Whether a container that ended with this code is started again.
#[must_use]
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else {
            continue;
        };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        if rule.action == "Restart" && listed == (codes.operator == "In") {
            return true;
        }
    }
    match restart_policy(pod, container) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}
