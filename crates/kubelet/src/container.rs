//! One container, as the runtime is told to make it.

use crate::config::KubeletConfig;
use crate::env::expand;
use crate::labels;
use crate::resources;
use crate::sandbox;
use crate::spec::{self, PodExt};
use k8s_cri::v1::{
    Capability, ContainerConfig, ContainerMetadata, ImageSpec, Int64Value, KeyValue,
    LinuxContainerConfig, LinuxContainerSecurityContext, Mount, SeLinuxOption,
};
use k8s_openapi::api::core::v1::{Container, Pod, SecurityContext};
use std::collections::HashMap;

/// What the kernel's files are hidden from containers that are not privileged.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
/// What they may only read.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What an image says about its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// Its number, if it is one.
    pub uid: Option<i64>,
    /// Its name, if it is one.
    pub name: String,
}

/// What has been made ready for a container.
pub struct Prepared {
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Its image, as the runtime knows it.
    pub image_ref: String,
    /// The user in it.
    pub image_user: ImageUser,
}

/// Why a container may not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContainerError {
    /// It must not run as root and would.
    #[error("container has runAsNonRoot and image will run as root (pod: {0:?}, container: {1})")]
    Root(String, String),
    /// It must not run as root, and the image names a user without a number.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root \
         (pod: {pod:?}, container: {container})"
    )]
    NamedUser {
        /// The image's user.
        user: String,
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
}

/// What the runtime is told to make.
///
/// # Errors
/// If the pod forbids what the image asks for.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    restart_count: u32,
    prepared: Prepared,
    config: &KubeletConfig,
    node_memory_bytes: u64,
) -> Result<ContainerConfig, ContainerError> {
    let security = security_context(pod, container, &prepared.image_user, config)?;
    let lookup = |name: &str| {
        prepared
            .env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let words = |words: &Option<Vec<String>>| {
        words
            .iter()
            .flatten()
            .map(|word| expand(word, &lookup))
            .collect()
    };
    let (command, args) = (words(&container.command), words(&container.args));
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: container.name.clone(),
            attempt: restart_count,
        }),
        image: Some(ImageSpec {
            image: prepared.image_ref,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..ImageSpec::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: prepared.mounts,
        labels: labels(pod, container),
        annotations: annotations(pod, container, restart_count),
        log_path: format!("{}/{restart_count}.log", container.name),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::linux_resources(
                pod,
                container,
                node_memory_bytes,
            )),
            security_context: Some(security),
        }),
        envs: prepared
            .env
            .into_iter()
            .map(|(key, value)| KeyValue { key, value })
            .collect(),
        ..ContainerConfig::default()
    })
}

fn labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels = labels::pod(pod);
    labels.insert(labels::CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

fn annotations(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let path = container.termination_message_path.clone();
    let policy = container.termination_message_policy.clone();
    let grace = spec::of(pod).termination_grace_period_seconds.unwrap_or(30);
    let pairs = [
        (labels::RESTART_COUNT, restart_count.to_string()),
        (labels::SPEC_HASH, labels::spec_hash(container)),
        (
            labels::TERMINATION_MESSAGE_PATH,
            path.unwrap_or_else(|| "/dev/termination-log".to_owned()),
        ),
        (
            labels::TERMINATION_MESSAGE_POLICY,
            policy.unwrap_or_else(|| "File".to_owned()),
        ),
        (labels::POD_GRACE_PERIOD, grace.to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The pod's word, unless the container has its own.
fn security_context(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    config: &KubeletConfig,
) -> Result<LinuxContainerSecurityContext, ContainerError> {
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let shared = spec::of(pod).security_context.as_ref();
    let user = own.run_as_user.or_else(|| shared?.run_as_user);
    let group = own.run_as_group.or_else(|| shared?.run_as_group);
    let must_not_be_root = own.run_as_non_root.or_else(|| shared?.run_as_non_root) == Some(true);
    if must_not_be_root {
        check_not_root(pod, container, user, image)?;
    }
    let privileged = own.privileged == Some(true);
    let seccomp = own
        .seccomp_profile
        .as_ref()
        .or_else(|| shared?.seccomp_profile.as_ref());
    let hides = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
    let paths = |paths: &[&str]| {
        if hides {
            paths.iter().map(|path| (*path).to_owned()).collect()
        } else {
            Vec::new()
        }
    };
    let id = |id: Option<i64>| id.map(|value| Int64Value { value });
    let mut context = LinuxContainerSecurityContext {
        privileged,
        namespace_options: Some(sandbox::namespaces(pod)),
        run_as_user: id(user.or(image.uid)),
        // A group without a user is the runtime's to refuse.
        run_as_group: id(group),
        run_as_username: if user.is_none() && image.uid.is_none() {
            image.name.clone()
        } else {
            String::new()
        },
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: sandbox::supplemental_groups(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(sandbox::seccomp(seccomp.filter(|_| !privileged), config)),
        ..LinuxContainerSecurityContext::default()
    };
    if context.run_as_user.is_none()
        && context.run_as_username.is_empty()
        && context.run_as_group.is_some()
    {
        context.run_as_user = id(Some(0));
    }
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    context.capabilities = own.capabilities.as_ref().map(|capabilities| Capability {
        add_capabilities: list(&capabilities.add),
        drop_capabilities: list(&capabilities.drop),
        add_ambient_capabilities: Vec::new(),
    });
    let selinux = own
        .se_linux_options
        .as_ref()
        .or_else(|| shared?.se_linux_options.as_ref());
    context.selinux_options = selinux.map(|options| SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    });
    Ok(context)
}

fn check_not_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image: &ImageUser,
) -> Result<(), ContainerError> {
    match (user.or(image.uid), image.name.as_str()) {
        (Some(0), _) | (None, "") => Err(ContainerError::Root(
            pod.described(),
            container.name.clone(),
        )),
        (Some(_), _) => Ok(()),
        (None, name) => Err(ContainerError::NamedUser {
            user: name.to_owned(),
            pod: pod.described(),
            container: container.name.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn make(
        pod_security: Value,
        container: Value,
        image_user: ImageUser,
    ) -> Result<ContainerConfig, ContainerError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": pod_security, "containers": [container]},
        }))
        .expect("a pod");
        let prepared = Prepared {
            env: vec![("A".into(), "x".into())],
            mounts: Vec::new(),
            image_ref: "sha256:1".into(),
            image_user,
        };
        let config = KubeletConfig::new("node", "10.0.0.1".parse().expect("valid"));
        container_config(&pod, &pod.containers()[0], 2, prepared, &config, 1 << 30)
    }

    fn root() -> ImageUser {
        ImageUser {
            uid: Some(0),
            name: String::new(),
        }
    }

    #[test]
    fn commands_are_expanded_and_labels_lead_back() {
        let container =
            json!({"name": "c", "image": "i", "command": ["sh", "$(A)"], "args": ["$(B) $$(A)"]});
        let config = make(json!({}), container, root()).expect("allowed");
        assert_eq!(
            (config.command.join(" "), config.args.join(" ")),
            ("sh x".into(), "$(B) $(A)".into())
        );
        assert_eq!(config.labels[labels::CONTAINER_NAME], "c");
        assert_eq!(config.labels[labels::POD_UID], "u");
        assert_eq!(config.annotations[labels::RESTART_COUNT], "2");
        assert_eq!(config.log_path, "c/2.log");
    }

    #[test]
    fn a_containers_own_word_goes_before_its_pods() {
        let pod = json!({"runAsUser": 10, "runAsGroup": 20, "seccompProfile": {"type": "RuntimeDefault"}});
        let own = json!({"name": "c", "securityContext": {"runAsUser": 11, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}});
        let context = make(pod, own, root())
            .expect("allowed")
            .linux
            .and_then(|linux| linux.security_context)
            .expect("set");
        assert_eq!(context.run_as_user.expect("set").value, 11);
        assert_eq!(context.run_as_group.expect("set").value, 20);
        assert!(
            context.readonly_rootfs && context.no_new_privs && !context.masked_paths.is_empty()
        );
        assert_eq!(
            context.capabilities.expect("set").drop_capabilities,
            ["ALL"]
        );
        assert_eq!(context.seccomp.expect("set").profile_type, 0);
        let privileged = json!({"name": "c", "securityContext": {"privileged": true}});
        let context = make(json!({}), privileged, root())
            .expect("allowed")
            .linux
            .and_then(|l| l.security_context)
            .expect("set");
        assert!(context.privileged && context.masked_paths.is_empty());
    }

    #[test]
    fn root_is_refused_to_those_who_must_not_be() {
        let container = json!({"name": "c"});
        let user = |uid: Option<i64>, name: &str| ImageUser {
            uid,
            name: name.into(),
        };
        for (pod, image, allowed) in [
            (json!({"runAsNonRoot": true}), user(Some(0), ""), false),
            (json!({"runAsNonRoot": true}), user(None, ""), false),
            (json!({"runAsNonRoot": true}), user(None, "nobody"), false),
            (json!({"runAsNonRoot": true}), user(Some(5), ""), true),
            (
                json!({"runAsNonRoot": true, "runAsUser": 5}),
                user(Some(0), ""),
                true,
            ),
            (
                json!({"runAsNonRoot": true, "runAsUser": 0}),
                user(Some(5), ""),
                false,
            ),
            (json!({}), user(Some(0), ""), true),
        ] {
            assert_eq!(
                make(pod.clone(), container.clone(), image.clone()).is_ok(),
                allowed,
                "{pod} {image:?}"
            );
        }
    }
}
