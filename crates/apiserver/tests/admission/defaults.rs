//! What plugins fill in, and what they refuse by the objects of others.

use crate::world::{World, refusal};
use kontiki_auth::UserInfo;
use kontiki_pki::{CertificateRequest, PrivateKey, Profile};
use serde_json::{Value, json};

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "default"})
}

fn claim(name: &str) -> Value {
    json!({
        "metadata": meta(name),
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({
        "metadata": meta(name), "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let more = spec.as_object().expect("a map").clone();
    pod["spec"].as_object_mut().expect("a map").extend(more);
    pod
}

fn class(name: &str, annotation: &str, spec: Value) -> Value {
    let mut class = json!({"metadata": {"name": name}});
    if !annotation.is_empty() {
        class["metadata"]["annotations"] = json!({annotation: "true"});
    }
    let more = spec.as_object().expect("a map").clone();
    class.as_object_mut().expect("a map").extend(more);
    class
}

#[tokio::test]
async fn claims_and_ingresses_get_the_default_class() {
    let world = World::start().await;
    let admin = world.admin();
    let claims = "v1/persistentvolumeclaims";
    let of = |made: &kontiki_object::SharedObject, field: &str| {
        made.str_at(&["spec", field]).map(str::to_owned)
    };
    let none = admin.make(claims, claim("none")).await;
    assert_eq!(of(&none, "storageClassName"), None);
    let mark = "storageclass.kubernetes.io/is-default-class";
    for (name, annotation) in [("plain", ""), ("standard", mark)] {
        let object = class(name, annotation, json!({"provisioner": "example.com/p"}));
        admin.make("storage.k8s.io/v1/storageclasses", object).await;
    }
    let made = admin.make(claims, claim("a")).await;
    assert_eq!(of(&made, "storageClassName").as_deref(), Some("standard"));
    for chosen in ["plain", ""] {
        let mut own = claim(&format!("own-{chosen}x"));
        own["spec"]["storageClassName"] = chosen.into();
        let made = admin.make(claims, own).await;
        let own = made.get(&["spec", "storageClassName"]);
        assert_eq!(own.and_then(Value::as_str), Some(chosen));
    }
    let mark = "ingressclass.kubernetes.io/is-default-class";
    let object = class(
        "web",
        mark,
        json!({"spec": {"controller": "example.com/c"}}),
    );
    admin
        .make("networking.k8s.io/v1/ingressclasses", object)
        .await;
    let ingress = json!({
        "metadata": meta("i"),
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
    });
    let ingresses = "networking.k8s.io/v1/ingresses";
    let made = admin.make(ingresses, ingress.clone()).await;
    assert_eq!(of(&made, "ingressClassName").as_deref(), Some("web"));
    let mut old = ingress;
    old["metadata"] = json!({
        "name": "old", "namespace": "default",
        "annotations": {"kubernetes.io/ingress.class": "other"},
    });
    let made = admin.make(ingresses, old).await;
    assert_eq!(of(&made, "ingressClassName"), None);
}

#[tokio::test]
async fn a_claim_grows_only_if_it_is_bound_and_its_class_allows_it() {
    let world = World::start().await;
    let admin = world.admin();
    for (name, allows) in [("stiff", false), ("soft", true)] {
        let rest = json!({"provisioner": "example.com/p", "allowVolumeExpansion": allows});
        let object = class(name, "", rest);
        admin.make("storage.k8s.io/v1/storageclasses", object).await;
        let mut object = claim(name);
        object["spec"]["storageClassName"] = name.into();
        admin.make("v1/persistentvolumeclaims", object).await;
    }
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let grow = async |name: &str| {
        let key = format!("default/{name}");
        admin
            .patch("v1/persistentvolumeclaims", &key, more.clone())
            .await
    };
    let unbound = grow("soft").await.expect_err("it is not bound");
    assert_eq!(unbound.code, 422, "{unbound}");
    assert!(unbound.message.contains("for bound claims"), "{unbound}");
    for name in ["stiff", "soft"] {
        let key = format!("default/{name}");
        let bound = json!({"status": {"phase": "Bound"}});
        let patched = admin.patch_status("v1/persistentvolumeclaims", &key, bound);
        patched.await.expect("it is bound");
    }
    assert_eq!(
        refusal(grow("stiff").await),
        "persistentvolumeclaims \"stiff\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
    );
    grow("soft").await.expect("its class allows it");
}

#[tokio::test]
async fn a_runtime_class_says_what_a_pod_costs_and_where_it_runs() {
    let world = World::start().await;
    let admin = world.admin();
    admin
        .make("v1/serviceaccounts", json!({"metadata": meta("default")}))
        .await;
    let rest = json!({
        "handler": "h",
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {
            "nodeSelector": {"runtime": "sandbox"},
            "tolerations": [{"key": "sandbox", "operator": "Exists"}],
        },
    });
    admin
        .make(
            "node.k8s.io/v1/runtimeclasses",
            class("sandboxed", "", rest),
        )
        .await;
    let name = json!({"runtimeClassName": "sandboxed"});
    let made = admin.make("v1/pods", pod("a", name)).await;
    assert_eq!(made.str_at(&["spec", "overhead", "cpu"]), Some("250m"));
    assert_eq!(
        made.str_at(&["spec", "nodeSelector", "runtime"]),
        Some("sandbox")
    );
    let tolerations = made.get(&["spec", "tolerations"]).and_then(Value::as_array);
    let sandbox = |toleration: &Value| toleration["key"] == "sandbox";
    assert!(tolerations.is_some_and(|all| all.iter().any(sandbox)));
    for (spec, why) in [
        (
            json!({"runtimeClassName": "none"}),
            "pod rejected: RuntimeClass \"none\" not found",
        ),
        (
            json!({"runtimeClassName": "sandboxed", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({"runtimeClassName": "sandboxed", "nodeSelector": {"runtime": "plain"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[runtime] = sandbox; pod.spec.nodeSelector[runtime] = plain",
        ),
    ] {
        let outcome = admin.create("v1/pods", pod("b", spec)).await;
        assert_eq!(refusal(outcome), format!("pods \"b\" is forbidden: {why}"));
    }
}

#[tokio::test]
async fn a_pod_carries_the_topology_of_its_node() {
    let world = World::start().await;
    let admin = world.admin();
    admin
        .make("v1/serviceaccounts", json!({"metadata": meta("default")}))
        .await;
    let labels = json!({"topology.kubernetes.io/zone": "z", "other": "x"});
    let node = json!({"metadata": {"name": "one", "labels": labels}});
    admin.make("v1/nodes", node).await;
    admin.make("v1/pods", pod("a", json!({}))).await;
    let binding = json!({"metadata": meta("a"), "target": {"kind": "Node", "name": "one"}});
    admin
        .create_sub("v1/pods", "binding", binding)
        .await
        .expect("bound");
    admin
        .make("v1/pods", pod("b", json!({"nodeName": "one"})))
        .await;
    for name in ["default/a", "default/b"] {
        let found = admin.get("v1/pods", name).await;
        assert_eq!(
            found.label("topology.kubernetes.io/zone"),
            Some("z"),
            "{name}"
        );
        assert_eq!(found.label("other"), None, "{name}");
    }
}

#[tokio::test]
async fn certificates_are_approved_and_signed_by_whom_the_signer_trusts() {
    let world = World::start().await;
    let admin = world.admin();
    let path = "certificates.k8s.io/v1/certificatesigningrequests";
    let key = PrivateKey::generate().expect("random numbers");
    let request = |name: &str, groups: &[&str]| {
        let csr = CertificateRequest::create(&Profile::client("u", groups), &key);
        let csr = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            csr.expect("signed"),
        );
        json!({
            "metadata": {"name": name},
            "spec": {
                "request": csr, "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client",
            },
        })
    };
    let outcome = admin.create(path, request("m", &["system:masters"])).await;
    assert_eq!(
        refusal(outcome),
        "certificatesigningrequests.certificates.k8s.io \"m\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    let made = admin.make(path, request("a", &["devs"])).await;
    let certificates = |verbs: &[&str], resources: &[&str], names: &[&str]| {
        json!({
            "verbs": verbs, "apiGroups": ["certificates.k8s.io"], "resources": resources,
            "resourceNames": names,
        })
    };
    let parts = [
        "certificatesigningrequests/approval",
        "certificatesigningrequests/status",
    ];
    let write = certificates(&["update"], &parts, &[]);
    let act = certificates(&["approve", "sign"], &["signers"], &["kubernetes.io/*"]);
    world.grant(&[("without", json!([write])), ("with", json!([write, act]))]);
    let with_condition = |kind: &str| {
        let mut object = made.to_value();
        object["status"] = json!({"conditions": [
            {"type": kind, "status": "True", "reason": "r", "message": "m"},
        ]});
        object
    };
    let (approved, failed) = (with_condition("Approved"), with_condition("Failed"));
    let update = async |name: &str, part: &'static str, body: &Value| {
        let user = world.user(&UserInfo::new(name, &[]));
        let target = user.0.resource(&crate::world::resource(path));
        target.update_sub("a", part, body.clone()).await
    };
    for (part, verb, body) in [
        ("approval", "approve", &approved),
        ("status", "sign", &failed),
    ] {
        assert_eq!(
            refusal(update("without", part, body).await),
            format!(
                "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: user not permitted to {verb} requests with signerName \"kubernetes.io/kube-apiserver-client\""
            )
        );
    }
    update("with", "approval", &approved)
        .await
        .expect("it may approve");
}

#[tokio::test]
async fn an_owner_is_given_only_by_whom_it_is_due() {
    let world = World::start().await;
    let admin = world.admin();
    let rule = |verbs: &[&str], resources: &[&str]| json!({"verbs": verbs, "apiGroups": [""], "resources": resources});
    let write = rule(&["create", "patch", "get"], &["configmaps"]);
    let delete = rule(&["delete"], &["configmaps"]);
    let hold = rule(&["update"], &["configmaps/finalizers"]);
    world.grant(&[
        ("writer", json!([write])),
        ("deleter", json!([write, delete])),
        ("holder", json!([write, delete, hold])),
    ]);
    let owner = admin
        .make("v1/configmaps", json!({"metadata": meta("owner")}))
        .await;
    let owned = |blocks: bool| {
        json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(),
            "blockOwnerDeletion": blocks,
        }])
    };
    let cannot_delete = "cannot set an ownerRef on a resource you can't delete: , <nil>";
    let cannot_hold = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
    for (at, (user, blocks, why)) in [
        ("writer", false, cannot_delete),
        ("deleter", false, ""),
        ("deleter", true, cannot_hold),
        ("holder", true, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("m{at}");
        admin
            .make("v1/configmaps", json!({"metadata": meta(&name)}))
            .await;
        let user = world.user(&UserInfo::new(user, &[]));
        let patch = json!({"metadata": {"ownerReferences": owned(blocks)}});
        let outcome = user
            .patch("v1/configmaps", &format!("default/{name}"), patch)
            .await;
        if why.is_empty() {
            outcome.expect("it may");
        } else {
            let message = format!("configmaps {name:?} is forbidden: {why}");
            assert_eq!(refusal(outcome), message);
        }
    }
    let user = world.user(&UserInfo::new("writer", &[]));
    let mut own = json!({"metadata": meta("fresh")});
    own["metadata"]["ownerReferences"] = owned(false);
    user.make("v1/configmaps", own).await;
}
