//! Controls of the baseline level: what is known to be a way out of the container.

use super::{
    Container, Subject, Violation, bad_proc_mount, bad_seccomp, distinct, plural, quoted, setters,
    text, these,
};
use kontiki_object::Value;
use std::collections::BTreeSet;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn app_armor_profile(subject: &Subject<'_>) -> Option<Violation> {
    let is_bad = |profile: &&Value| {
        !profile.is_null() && !matches!(text(profile, "type"), "RuntimeDefault" | "Localhost")
    };
    let own = subject
        .context()
        .and_then(|context| context.get("appArmorProfile"))
        .filter(is_bad);
    let mut bad = distinct(own.map(|profile| text(profile, "type")));
    let names = subject.names_of(|container| {
        let profile = container.context("appArmorProfile").filter(is_bad);
        bad.extend(profile.map(|profile| text(profile, "type")));
        profile.is_some()
    });
    let mut annotations: Vec<String> = subject
        .annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(APP_ARMOR))
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(_, value)| {
            !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort();
    let mut who: Vec<String> = setters(own.is_some(), &names).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let count = bad.len() + annotations.len();
    let reason = plural(
        count,
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
    );
    let values = quoted(
        bad.into_iter()
            .chain(annotations.iter().map(String::as_str)),
    );
    let who = who.join(" and ");
    Some(Violation::new(
        reason,
        format!("{who} must not set AppArmor profile type to {values}"),
    ))
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    let mut bad = BTreeSet::new();
    let names = subject.names_of(|container| {
        let own: Vec<&str> = container
            .capabilities("add")
            .filter(|name| !CAPABILITIES.contains(name))
            .collect();
        bad.extend(own.iter().copied());
        !own.is_empty()
    });
    let (who, bad) = (setters(false, &names)?, quoted(bad));
    Some(Violation::new(
        "non-default capabilities",
        format!("{who} must not include {bad} in securityContext.capabilities.add"),
    ))
}

pub(super) fn host_namespaces(subject: &Subject<'_>) -> Option<Violation> {
    let fields: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| subject.is_true(field))
        .map(|field| format!("{field}=true"))
        .collect();
    (!fields.is_empty()).then(|| Violation::new("host namespaces", fields.join(", ")))
}

pub(super) fn host_path_volumes(subject: &Subject<'_>) -> Option<Violation> {
    let names: Vec<&str> = subject
        .volumes()
        .filter(|volume| volume.get("hostPath").is_some_and(|path| !path.is_null()))
        .map(|volume| {
            volume
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
        })
        .collect();
    let word = plural(names.len(), "volume", "volumes");
    let detail = format!("{word} {}", quoted(names.iter().copied()));
    (!names.is_empty()).then(|| Violation::new("hostPath volumes", detail))
}

pub(super) fn host_ports(subject: &Subject<'_>) -> Option<Violation> {
    let mut bad = BTreeSet::new();
    let names = subject.names_of(|container| {
        let ports = container.0["ports"].as_array();
        let own: Vec<String> = ports
            .into_iter()
            .flatten()
            .filter_map(|port| port["hostPort"].as_i64())
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect();
        let is_bad = !own.is_empty();
        bad.extend(own);
        is_bad
    });
    if names.is_empty() {
        return None;
    }
    let ports: Vec<&str> = bad.iter().map(String::as_str).collect();
    let detail = format!(
        "{} {} {} {}",
        these(&names),
        plural(names.len(), "uses", "use"),
        plural(ports.len(), "hostPort", "hostPorts"),
        ports.join(", ")
    );
    Some(Violation::new("hostPort", detail))
}

/// The hosts that a container's probes and hooks call, other than the pod.
fn hosts<'a>(container: &Container<'a>) -> Vec<&'a str> {
    let container = container.0;
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
    let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
    probes
        .into_iter()
        .chain(hooks)
        .flat_map(|handler| ["httpGet", "tcpSocket"].map(|way| text(&handler[way], "host")))
        .filter(|host| !host.is_empty())
        .collect()
}

pub(super) fn host_probes(subject: &Subject<'_>) -> Option<Violation> {
    if !subject.version.has(34) {
        return None;
    }
    let mut bad = BTreeSet::new();
    let names = subject.names_of(|container| {
        let own = hosts(container);
        bad.extend(own.iter().copied());
        !own.is_empty()
    });
    let names: Vec<&str> = distinct(names).into_iter().collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        these(&names),
        plural(names.len(), "uses", "use"),
        plural(
            bad.len(),
            "probe or lifecycle host",
            "probe or lifecycle hosts"
        ),
        quoted(bad)
    );
    Some(Violation::new("probe or lifecycle host", detail))
}

pub(super) fn privileged(subject: &Subject<'_>) -> Option<Violation> {
    let names =
        subject.names_of(|container| container.context("privileged") == Some(&Value::Bool(true)));
    let who = setters(false, &names)?;
    Some(Violation::new(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    ))
}

pub(super) fn proc_mount(subject: &Subject<'_>) -> Option<Violation> {
    if subject.has_own_users() {
        return None;
    }
    bad_proc_mount(subject)
}

pub(super) fn se_linux_options(subject: &Subject<'_>) -> Option<Violation> {
    let types: &[&str] = if subject.version.has(31) {
        &[
            "",
            "container_t",
            "container_init_t",
            "container_kvm_t",
            "container_engine_t",
        ]
    } else {
        &["", "container_t", "container_init_t", "container_kvm_t"]
    };
    let (mut bad, mut has_user, mut has_role) = (BTreeSet::new(), false, false);
    let mut is_bad = |options: &&Value| {
        let own = text(options, "type");
        let is_bad_type = !types.contains(&own);
        if is_bad_type {
            bad.insert(own.to_owned());
        }
        let (user, role) = (
            !text(options, "user").is_empty(),
            !text(options, "role").is_empty(),
        );
        has_user |= user;
        has_role |= role;
        is_bad_type || user || role
    };
    let own = subject
        .context()
        .and_then(|context| context.get("seLinuxOptions"));
    let is_pod = own.filter(&mut is_bad).is_some();
    let names = subject.names_of(|container| {
        let options = container.context("seLinuxOptions");
        options.filter(&mut is_bad).is_some()
    });
    let who = setters(is_pod, &names)?;
    let mut what = Vec::new();
    if !bad.is_empty() {
        let word = plural(bad.len(), "type", "types");
        what.push(format!("{word} {}", quoted(bad.iter().map(String::as_str))));
    }
    if has_user {
        what.push("user may not be set".to_owned());
    }
    if has_role {
        what.push("role may not be set".to_owned());
    }
    let what = what.join("; ");
    Some(Violation::new(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    ))
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) fn seccomp_profile(subject: &Subject<'_>) -> Option<Violation> {
    if subject.version.has(19) {
        return bad_seccomp(subject);
    }
    let keys = subject
        .containers()
        .map(|container| format!("{SECCOMP_CONTAINER}{}", container.name()));
    let bad: BTreeSet<String> = std::iter::once(SECCOMP_POD.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = subject.annotations?.get(&key)?.as_str()?;
            let is_good = matches!(value, "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            (!is_good).then(|| format!("{key}={value:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    let all: Vec<&str> = bad.iter().map(String::as_str).collect();
    let detail = format!("forbidden {word} {}", all.join(", "));
    Some(Violation::new("seccompProfile", detail))
}

/// Kernel parameters that concern nobody but the pod, and since which version
/// they count as such.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

pub(super) fn sysctls(subject: &Subject<'_>) -> Option<Violation> {
    let is_safe = |name: &str| {
        let since = SYSCTLS.iter().find(|(safe, _)| *safe == name);
        since.is_some_and(|(_, since)| subject.version.has(*since))
    };
    let list = subject
        .context()
        .and_then(|context| context.get("sysctls")?.as_array());
    let bad: Vec<&str> = list
        .into_iter()
        .flatten()
        .map(|sysctl| text(sysctl, "name"))
        .filter(|name| !is_safe(name))
        .collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

pub(super) fn windows_host_process(subject: &Subject<'_>) -> Option<Violation> {
    let is_bad = |options: &Value| options["hostProcess"] == Value::Bool(true);
    let own = subject
        .context()
        .and_then(|context| context.get("windowsOptions"));
    let names =
        subject.names_of(|container| container.context("windowsOptions").is_some_and(is_bad));
    let who = setters(own.is_some_and(is_bad), &names)?;
    Some(Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    ))
}
