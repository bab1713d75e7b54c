//! The controls, each with what meets it and what does not.

use super::super::policy::Policy;
use super::*;
use serde_json::json;

fn found(level: &str, version: &str, pod: &Value) -> Vec<String> {
    let namespace = json!({"metadata": {"labels": {
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/enforce-version": version,
    }}});
    let (policy, _) = Policy::of(namespace.as_object().expect("a map"));
    let spec = pod["spec"].as_object().expect("a spec");
    let all = violations(policy.enforce, pod["metadata"].as_object(), spec);
    all.into_iter().map(|one| one.reason).collect()
}

/// A pod that meets every standard, with changes to its spec and its container.
fn pod(spec: &Value, container: &Value) -> Value {
    let mut pod = json!({"metadata": {}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    }});
    merge(&mut pod["spec"], spec);
    merge(&mut pod["spec"]["containers"][0], container);
    pod
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) if into[key].is_object() => merge(&mut into[key], value),
            value => into[key] = value.clone(),
        }
    }
}

#[test]
fn each_control_is_violated_by_what_it_is_about() {
    let none = json!({});
    let context = |field: &str, value: Value| json!({"securityContext": {field: value}});
    for (spec, container, baseline, restricted) in [
        (none.clone(), none.clone(), None, None),
        (
            json!({"hostPID": true}),
            none.clone(),
            Some("host namespaces"),
            Some("host namespaces"),
        ),
        (
            none.clone(),
            context("privileged", json!(true)),
            Some("privileged"),
            Some("privileged"),
        ),
        (
            none.clone(),
            json!({"ports": [{"hostPort": 80}]}),
            Some("hostPort"),
            Some("hostPort"),
        ),
        (
            none.clone(),
            context("capabilities", json!({"add": ["CHOWN"]})),
            None,
            Some("unrestricted capabilities"),
        ),
        (
            none.clone(),
            context("capabilities", json!({"add": ["SYS_ADMIN"]})),
            Some("non-default capabilities"),
            Some("unrestricted capabilities"),
        ),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            none.clone(),
            Some("hostPath volumes"),
            Some("restricted volume types"),
        ),
        (
            json!({"volumes": [{"name": "v", "nfs": {"path": "/"}}]}),
            none.clone(),
            None,
            Some("restricted volume types"),
        ),
        (
            none.clone(),
            context("runAsNonRoot", json!(false)),
            None,
            Some("runAsNonRoot != true"),
        ),
        (
            none.clone(),
            context("runAsUser", json!(0)),
            None,
            Some("runAsUser=0"),
        ),
        (
            none.clone(),
            context("seccompProfile", json!({"type": "Unconfined"})),
            Some("seccompProfile"),
            Some("seccompProfile"),
        ),
        (
            json!({"securityContext": {"seccompProfile": Value::Null}}),
            none.clone(),
            None,
            Some("seccompProfile"),
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}),
            none.clone(),
            Some("forbidden sysctls"),
            Some("forbidden sysctls"),
        ),
        (
            none.clone(),
            context("seLinuxOptions", json!({"type": "spc_t"})),
            Some("seLinuxOptions"),
            Some("seLinuxOptions"),
        ),
        (
            none.clone(),
            context("allowPrivilegeEscalation", json!(true)),
            None,
            Some("allowPrivilegeEscalation != false"),
        ),
        (
            none.clone(),
            json!({"livenessProbe": {"httpGet": {"host": "h"}}}),
            Some("probe or lifecycle host"),
            Some("probe or lifecycle host"),
        ),
        (
            none.clone(),
            context("appArmorProfile", json!({"type": "Unconfined"})),
            Some("forbidden AppArmor profile"),
            Some("forbidden AppArmor profile"),
        ),
        (
            none,
            context("windowsOptions", json!({"hostProcess": true})),
            Some("hostProcess"),
            Some("hostProcess"),
        ),
    ] {
        let pod = pod(&spec, &container);
        let wanted = |one: Option<&str>| one.map(str::to_owned).into_iter().collect::<Vec<_>>();
        assert_eq!(found("baseline", "latest", &pod), wanted(baseline), "{pod}");
        assert_eq!(
            found("restricted", "latest", &pod),
            wanted(restricted),
            "{pod}"
        );
        assert!(found("privileged", "latest", &pod).is_empty());
    }
}

#[test]
fn rules_hold_from_the_version_that_brought_them() {
    let none = json!({});
    let host = pod(&none, &json!({"livenessProbe": {"httpGet": {"host": "h"}}}));
    assert!(found("baseline", "v1.33", &host).is_empty());
    assert_eq!(found("baseline", "v1.34", &host).len(), 1);
    let root = pod(&none, &json!({"securityContext": {"runAsUser": 0}}));
    assert!(found("restricted", "v1.22", &root).is_empty());
    assert_eq!(found("restricted", "v1.23", &root), ["runAsUser=0"]);
    let own_users = pod(
        &json!({"hostUsers": false}),
        &json!({"securityContext": {"runAsUser": 0}}),
    );
    assert_eq!(found("restricted", "v1.34", &own_users), ["runAsUser=0"]);
    assert!(found("restricted", "v1.35", &own_users).is_empty());
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    let sysctl = pod(&sysctl, &none);
    assert_eq!(found("baseline", "v1.31", &sysctl), ["forbidden sysctls"]);
    assert!(found("baseline", "v1.32", &sysctl).is_empty());
}
