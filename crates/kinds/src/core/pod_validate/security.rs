//! Validation of security contexts, of hosts' namespaces and of operating systems.

use super::paths;
use crate::field::{FieldError, FieldErrors};
use crate::go_form;
use crate::names;
use crate::view::View;
use std::collections::BTreeSet;

const ID_MAX: i64 = i32::MAX as i64;

/// Checks the security context of a container.
pub(super) fn of_container(errors: &mut FieldErrors, container: &View<'_>, host_users: bool) {
    let Some(context) = container.map("securityContext") else {
        return;
    };
    context.within(errors, "runAsUser", 0, ID_MAX);
    context.within(errors, "runAsGroup", 0, ID_MAX);
    context.one_of(errors, "procMount", &["Default", "Unmasked"]);
    if host_users && context.text("procMount") == "Unmasked" {
        let why = "`hostUsers` must be false to use `Unmasked`";
        context.invalid(errors, "procMount", why);
    }
    seccomp(errors, &context);
    if context.value("allowPrivilegeEscalation") == Some(&false.into()) {
        let shown = || go_form::shown("io.k8s.api.core.v1.SecurityContext", context.tree);
        if context.is_true("privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid_shown(&context.path, shown(), why));
        }
        let added = context.inner("capabilities");
        for _ in added
            .texts("add")
            .filter(|(_, name)| *name == "CAP_SYS_ADMIN")
        {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid_shown(&context.path, shown(), why));
        }
    }
    windows_options(errors, &context);
    app_armor(errors, &context);
}

/// Checks what concerns the pod as a whole.
pub(super) fn of_pod(errors: &mut FieldErrors, spec: &View<'_>) {
    let Some(context) = spec.map("securityContext") else {
        return;
    };
    context.within(errors, "fsGroup", 0, ID_MAX);
    context.within(errors, "runAsUser", 0, ID_MAX);
    context.within(errors, "runAsGroup", 0, ID_MAX);
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        if let Some(group) = group.as_i64().filter(|id| !(0..=ID_MAX).contains(id)) {
            let why = format!("must be between 0 and {ID_MAX}, inclusive");
            let path = context.at("supplementalGroups").index(index);
            errors.push(FieldError::invalid(&path, group, why));
        }
    }
    if spec.is_true("shareProcessNamespace") && spec.is_true("hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        let path = context.at("shareProcessNamespace");
        errors.push(FieldError::invalid(&path, true, why));
    }
    sysctls(errors, spec, &context);
    context.one_of(errors, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    seccomp(errors, &context);
    windows_options(errors, &context);
    app_armor(errors, &context);
    context.one_of(errors, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    context.one_of(errors, "seLinuxChangePolicy", &["MountOption", "Recursive"]);
}

/// Whether a name consists of segments between dots or slashes.
fn is_sysctl_name(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|segment| {
            edge(segment.bytes().next())
                && edge(segment.bytes().last())
                && segment.bytes().all(inside)
        })
}

fn sysctls(errors: &mut FieldErrors, spec: &View<'_>, context: &View<'_>) {
    let mut seen = BTreeSet::new();
    for sysctl in context.maps("sysctls") {
        let name = sysctl.text("name");
        let path = sysctl.at("name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl_name(name) {
            let why = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(&path, name, why));
        } else if seen.contains(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        let dotted = name.replace('/', ".");
        let is_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|prefix| dotted.starts_with(prefix))
            || dotted == "kernel.sem";
        if spec.is_true("hostNetwork") && dotted.starts_with("net.") {
            let why = "may not be specified when 'hostNetwork' is true";
            errors.push(FieldError::invalid(&path, name, why));
        } else if spec.is_true("hostIPC") && is_ipc {
            let why = "may not be specified when 'hostIPC' is true";
            errors.push(FieldError::invalid(&path, name, why));
        }
        seen.insert(name);
    }
}

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(errors: &mut FieldErrors, context: &View<'_>) {
    let Some(profile) = context.map("seccompProfile") else {
        return;
    };
    if profile.text("type").is_empty() {
        let why = "type is required when seccompProfile is set";
        errors.push(FieldError::required(&profile.at("type"), why));
    } else {
        profile.one_of(errors, "type", &PROFILES);
    }
    let has_local = profile.has("localhostProfile");
    let path = profile.at("localhostProfile");
    if profile.text("type") == "Localhost" {
        if has_local {
            paths::descending(errors, profile.text("localhostProfile"), &path);
        } else {
            let why = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(&path, why));
        }
    } else if has_local {
        let why = "can only be set when seccomp type is Localhost";
        let shown = go_form::shown("io.k8s.api.core.v1.SeccompProfile", profile.tree);
        errors.push(FieldError::invalid_shown(&path, shown, why));
    }
}

fn app_armor(errors: &mut FieldErrors, context: &View<'_>) {
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    let Some(profile) = context.map("appArmorProfile") else {
        return;
    };
    let path = profile.at("localhostProfile");
    let local = profile.text("localhostProfile");
    match profile.text("type") {
        "Localhost" => {
            if !profile.has("localhostProfile") {
                errors.push(FieldError::required(&path, NEEDED));
                return;
            }
            if local.trim() != local {
                let why = "must not be padded with whitespace";
                errors.push(FieldError::invalid(&path, local, why));
            } else if local.is_empty() {
                errors.push(FieldError::required(&path, NEEDED));
            }
            if local.len() > 4095 {
                errors.push(FieldError::too_long(&path, 4095));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.has("localhostProfile") {
                let why = "can only be set when AppArmor type is Localhost";
                errors.push(FieldError::invalid(&path, local, why));
            }
        }
        "" => {
            let why = "type is required when appArmorProfile is set";
            errors.push(FieldError::required(&profile.at("type"), why));
        }
        _ => profile.one_of(errors, "type", &PROFILES),
    }
}

const CREDENTIAL_KIB_MAX: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

fn windows_options(errors: &mut FieldErrors, context: &View<'_>) {
    let Some(options) = context.map("windowsOptions") else {
        return;
    };
    if options.has("gmsaCredentialSpecName") {
        for text in names::is_dns1123_subdomain(options.text("gmsaCredentialSpecName")) {
            options.invalid(errors, "gmsaCredentialSpecName", text);
        }
    }
    if options.has("gmsaCredentialSpec") {
        let length = options.text("gmsaCredentialSpec").len();
        if length == 0 {
            let why = "gmsaCredentialSpec cannot be an empty string";
            options.invalid(errors, "gmsaCredentialSpec", why);
        } else if length > CREDENTIAL_KIB_MAX * 1024 {
            let why = format!("gmsaCredentialSpec size must be under {CREDENTIAL_KIB_MAX} KiB");
            options.invalid(errors, "gmsaCredentialSpec", why);
        }
    }
    if options.has("runAsUserName") {
        for why in windows_user(options.text("runAsUserName")) {
            options.invalid(errors, "runAsUserName", why);
        }
    }
}

fn is_net_bios(domain: &str) -> bool {
    let bad = |c: char| "\\/:*?\"<>|".contains(c);
    let length = domain.chars().count();
    (1..=15).contains(&length) && !domain.starts_with('.') && !domain.contains(bad)
}

fn is_windows_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// What is wrong with `DOMAIN\user`.
fn windows_user(name: &str) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    if name.is_empty() {
        return one("runAsUserName cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return one("runAsUserName cannot contain control characters");
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return one("runAsUserName cannot contain more than one backslash"),
    };
    let mut texts = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_MAX) {
        texts.push(format!(
            "runAsUserName's Domain length must be under {DOMAIN_MAX} characters"
        ));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_windows_dns(domain)) {
        texts.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".into());
    }
    if user.is_empty() {
        texts.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > USER_MAX {
        texts.push(format!(
            "runAsUserName's User length must not be longer than {USER_MAX} characters"
        ));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        texts.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.chars().any(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        texts.push(
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
                .into(),
        );
    }
    texts
}

fn all_containers<'a>(spec: &View<'a>) -> Vec<View<'a>> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| spec.maps(field).collect::<Vec<_>>())
        .collect()
}

/// Containers that are processes of a Windows host: all of a pod or none.
pub(super) fn host_process(errors: &mut FieldErrors, spec: &View<'_>) {
    let wish = |context: &View<'_>| {
        let options = context.inner("windowsOptions");
        options.value("hostProcess").and_then(|v| v.as_bool())
    };
    let of_pod = wish(&spec.inner("securityContext"));
    let (mut count, mut host) = (0, 0);
    for container in all_containers(spec) {
        count += 1;
        let context = container.inner("securityContext");
        let own = wish(&context);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let why =
                format!("pod hostProcess value must be identical if both are specified, was {pod}");
            let path = context.at("windowsOptions").child("hostProcess");
            errors.push(FieldError::invalid(&path, own, why));
        }
        host += usize::from(own.or(of_pod) == Some(true));
    }
    if host == 0 {
        return;
    }
    if host != count {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(&spec.path, "", why));
    }
    if !spec.is_true("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&spec.at("hostNetwork"), false, why));
    }
}

/// A pod with users of its own has no namespaces of the host.
pub(super) fn host_users(errors: &mut FieldErrors, spec: &View<'_>) {
    if spec.value("hostUsers") != Some(&false.into()) {
        return;
    }
    let why = "when `hostUsers` is false";
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec.is_true(field) {
            errors.push(FieldError::forbidden(&spec.at(shown), why));
        }
    }
}

const NOT_ON_WINDOWS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
];
const NOT_IN_WINDOWS_CONTAINERS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// What one operating system has and another one has not.
pub(super) fn operating_system(errors: &mut FieldErrors, spec: &View<'_>) {
    let Some(os) = spec.map("os") else { return };
    match os.text("name") {
        "" => {
            let why = "cannot be empty";
            errors.push(FieldError::required(&os.at("name"), why));
        }
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            spec.inner("securityContext")
                .forbid(errors, "windowsOptions", why);
            for container in all_containers(spec) {
                let context = container.inner("securityContext");
                context.forbid(errors, "windowsOptions", why);
            }
        }
        "windows" => {
            let why = "cannot be set for a windows pod";
            let context = spec.inner("securityContext");
            for field in NOT_ON_WINDOWS {
                context.forbid(errors, field, why);
            }
            context.forbid(errors, "seLinuxChangePolicy", why);
            spec.forbid(errors, "hostUsers", why);
            spec.forbid(errors, "shareProcessNamespace", why);
            for field in ["hostPID", "hostIPC"] {
                if spec.is_true(field) {
                    errors.push(FieldError::forbidden(&spec.at(field), why));
                }
            }
            for container in all_containers(spec) {
                let context = container.inner("securityContext");
                for field in NOT_IN_WINDOWS_CONTAINERS {
                    context.forbid(errors, field, why);
                }
            }
        }
        other => errors.push(FieldError::not_supported(
            &os.path,
            other,
            &["linux", "windows"],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_users_are_checked_part_by_part() {
        for (name, count) in [
            ("user", 0),
            ("DOMAIN\\user", 0),
            ("a.example.com\\user", 0),
            ("", 1),
            ("a\\b\\c", 1),
            ("DOMAIN\\", 1),
            ("...", 1),
            ("a@b", 1),
        ] {
            assert_eq!(windows_user(name).len(), count, "{name}");
        }
    }

    #[test]
    fn sysctl_names_have_segments() {
        for (name, fine) in [
            ("net.ipv4.ip_forward", true),
            ("kernel/shm_rmid_forced", true),
            ("a..b", false),
            ("_a", false),
            ("A", false),
        ] {
            assert_eq!(is_sysctl_name(name), fine, "{name}");
        }
    }
}
