//! What nodes may and may not write.

use crate::world::{As, World, refusal};
use kontiki_auth::UserInfo;
use kontiki_auth::user::NODES;
use kontiki_object::Status;
use kontiki_pki::{CertificateRequest, PrivateKey, Profile};
use serde_json::{Value, json};

struct Nodes {
    world: World,
    admin: As,
    /// The node `one`, which may do everything but what admission refuses.
    one: As,
    uid: String,
}

async fn start() -> Nodes {
    let world = World::start().await;
    let admin = world.admin();
    let node = admin
        .make("v1/nodes", json!({"metadata": {"name": "one"}}))
        .await;
    admin
        .make("v1/nodes", json!({"metadata": {"name": "two"}}))
        .await;
    admin
        .make("v1/serviceaccounts", json!({"metadata": meta("default")}))
        .await;
    for name in ["one", "two"] {
        admin.make("v1/pods", pod(name, name)).await;
    }
    Nodes {
        one: world.mighty("system:node:one", &[NODES]),
        admin,
        uid: node.uid().to_owned(),
        world,
    }
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "default"})
}

/// A pod on a node that wants a token for the audience `wanted`.
fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": meta(name),
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "t", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "audience": "wanted"}},
            ]}}],
        },
    })
}

fn mirror(uid: &str) -> Value {
    json!({
        "metadata": {
            "name": "static-one", "namespace": "default",
            "annotations": {"kubernetes.io/config.mirror": "hash"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": "one", "uid": uid, "controller": true,
            }],
        },
        "spec": {"nodeName": "one", "containers": [{"name": "c", "image": "i"}]},
    })
}

/// A value with one part replaced; `pointer` as in JSON patches.
fn with(mut value: Value, pointer: &str, part: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = value.pointer_mut(parent).expect("the parent is there");
    parent[name] = part;
    value
}

fn check<T>(outcome: Result<T, Status>, wanted: &str) {
    if wanted.is_empty() {
        if let Err(status) = outcome {
            panic!("{status}");
        }
        return;
    }
    assert_eq!(refusal(outcome), wanted);
}

#[tokio::test]
async fn a_node_creates_only_mirror_pods_of_its_own() {
    let nodes = start().await;
    let good = mirror(&nodes.uid);
    let owners = "/metadata/ownerReferences";
    let owner = good["metadata"]["ownerReferences"][0].clone();
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        volume
            .as_object_mut()
            .expect("a map")
            .extend(source.as_object().expect("a map").clone());
        json!([volume])
    };
    let forbidden = "pods \"static-one\" is forbidden: node \"one\" can ";
    for (object, why) in [
        (
            with(good.clone(), "/metadata/annotations", json!({})),
            "pods \"static-one\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"one\" can only create mirror pods",
        ),
        (
            with(good.clone(), "/spec/nodeName", json!("two")),
            "only create pods with spec.nodeName set to itself",
        ),
        (
            with(good.clone(), owners, json!([])),
            "only create pods with an owner reference set to itself",
        ),
        (
            with(
                good.clone(),
                owners,
                json!([owner, {"apiVersion": "v1", "kind": "Node", "name": "two", "uid": "u"}]),
            ),
            "only create pods with a single owner reference set to itself",
        ),
        (
            with(
                good.clone(),
                "/metadata/ownerReferences/0/name",
                json!("two"),
            ),
            "only create pods with an owner reference set to itself",
        ),
        (
            with(
                good.clone(),
                "/metadata/ownerReferences/0/controller",
                json!(false),
            ),
            "only create pods with a controller owner reference set to itself",
        ),
        (
            with(
                good.clone(),
                "/metadata/ownerReferences/0/blockOwnerDeletion",
                json!(true),
            ),
            "pods \"static-one\" is forbidden: node \"one\" must not set blockOwnerDeletion on an owner reference",
        ),
        (
            with(good.clone(), "/spec/serviceAccountName", json!("default")),
            "pods \"static-one\" is forbidden: a mirror pod may not reference service accounts",
        ),
        (
            with(
                good.clone(),
                "/spec/volumes",
                volume(json!({"configMap": {"name": "m"}})),
            ),
            "not create pods that reference configmaps",
        ),
        (
            with(
                good.clone(),
                "/spec/volumes",
                volume(json!({"persistentVolumeClaim": {"claimName": "c"}})),
            ),
            "not create pods that reference persistentvolumeclaims",
        ),
        (
            with(
                good.clone(),
                "/spec/volumes",
                volume(json!({"csi": {"driver": "d"}})),
            ),
            "not create pods that reference csidrivers (via CSI volumes)",
        ),
        (
            with(
                good.clone(),
                "/spec/volumes",
                volume(json!({"emptyDir": {}})),
            ),
            "",
        ),
    ] {
        let wanted = match why {
            "" => String::new(),
            why if why.starts_with("pods ") => why.to_owned(),
            why => format!("{forbidden}{why}"),
        };
        check(nodes.one.create("v1/pods", object).await, &wanted);
    }
    let stranger = with(good, "/metadata/ownerReferences/0/uid", json!("other"));
    let stranger = with(stranger, "/metadata/name", json!("static-two"));
    check(
        nodes.one.create("v1/pods", stranger).await,
        &format!(
            "pods \"static-two\" is forbidden: node one UID mismatch: expected other got {}",
            nodes.uid
        ),
    );
}

#[tokio::test]
async fn a_node_touches_only_its_own_pods() {
    let nodes = start().await;
    let phase = json!({"status": {"phase": "Running"}});
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let eviction = |name: &str| json!({"metadata": meta(name)});
    let one = &nodes.one;
    check(
        one.patch_status("v1/pods", "default/one", phase.clone())
            .await,
        "",
    );
    check(
        one.patch_status("v1/pods", "default/two", phase).await,
        "pods \"two\" is forbidden: node \"one\" can only update pod status for pods with spec.nodeName set to itself",
    );
    check(
        one.patch_status("v1/pods", "default/one", labels.clone())
            .await,
        "pods \"one\" is forbidden: node \"one\" cannot update labels through pod status",
    );
    let claims =
        json!({"status": {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "d"}]}});
    check(
        one.patch_status("v1/pods", "default/one", claims).await,
        "pods \"one\" is forbidden: node \"one\" cannot update resource claim statues",
    );
    check(
        one.patch("v1/pods", "default/one", labels).await,
        "pods \"one\" is forbidden: unexpected operation \"UPDATE\", node \"one\" can only create and delete mirror pods",
    );
    check(
        one.create_sub(
            "v1/pods",
            "binding",
            json!({"metadata": meta("one"), "target": {"name": "one"}}),
        )
        .await,
        "pods \"one\" is forbidden: unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
    );
    check(
        one.create_sub("v1/pods", "eviction", eviction("two")).await,
        "pods \"two\" is forbidden: node one can only evict pods with spec.nodeName set to itself",
    );
    check(
        one.delete("v1/pods", "default/two").await,
        "pods \"two\" is forbidden: node \"one\" can only delete pods with spec.nodeName set to itself",
    );
    check(
        one.create_sub("v1/pods", "eviction", eviction("one")).await,
        "",
    );
    check(one.delete("v1/pods", "default/one").await, "");
    let missing = one
        .create_sub("v1/pods", "eviction", eviction("none"))
        .await;
    assert!(missing.expect_err("no such pod").is_not_found());
}

#[tokio::test]
async fn a_node_says_of_itself_only_what_it_may() {
    let nodes = start().await;
    let one = &nodes.one;
    let admin = &nodes.admin;
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    for (patch, wanted) in [
        (
            labels(json!({"kubernetes.io/os": "linux", "mine": "x"})),
            "",
        ),
        (
            labels(json!({"node-role.kubernetes.io/control-plane": "", "k8s.io/x": ""})),
            "nodes \"one\" is forbidden: is not allowed to modify labels: k8s.io/x, node-role.kubernetes.io/control-plane",
        ),
        (
            json!({"spec": {"taints": []}}),
            "nodes \"one\" is forbidden: node \"one\" is not allowed to modify taints",
        ),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}}),
            "nodes \"one\" is forbidden: node \"one\" is not allowed to modify ownerReferences",
        ),
    ] {
        check(one.patch("v1/nodes", "one", patch).await, wanted);
    }
    check(
        one.patch("v1/nodes", "two", labels(json!({"mine": "x"})))
            .await,
        "nodes \"two\" is forbidden: node \"one\" is not allowed to modify node \"two\"",
    );
    check(
        one.patch_status("v1/nodes", "two", json!({"status": {}}))
            .await,
        "nodes \"two\" is forbidden: node \"one\" is not allowed to modify node \"two\"",
    );
    admin.delete("v1/nodes", "one").await.expect("deleted");
    let own = |labels: Value| json!({"metadata": {"name": "one", "labels": labels}});
    check(
        one.create(
            "v1/nodes",
            own(json!({"node-restriction.kubernetes.io/x": "y"})),
        )
        .await,
        "nodes \"one\" is forbidden: node \"one\" is not allowed to set the following labels: node-restriction.kubernetes.io/x",
    );
    check(
        one.create("v1/nodes", json!({"metadata": {"name": "three"}}))
            .await,
        "nodes \"three\" is forbidden: node \"one\" is not allowed to modify node \"three\"",
    );
    check(
        one.create("v1/nodes", own(json!({"beta.kubernetes.io/os": "linux"})))
            .await,
        "",
    );
    let lease = |namespace: &str, name: &str| json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"holderIdentity": name}});
    let leases = "coordination.k8s.io/v1/leases";
    check(
        one.create(leases, lease("default", "one")).await,
        "leases.coordination.k8s.io \"one\" is forbidden: can only access leases in the \"kube-node-lease\" system namespace",
    );
    check(
        one.create(leases, lease("kube-node-lease", "two")).await,
        "leases.coordination.k8s.io \"two\" is forbidden: can only access node lease with the same name as the requesting node",
    );
    check(
        one.create(leases, lease("kube-node-lease", "one")).await,
        "",
    );
    let csi = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    check(
        one.create("storage.k8s.io/v1/csinodes", csi("two")).await,
        "csinodes.storage.k8s.io \"two\" is forbidden: can only access CSINode with the same name as the requesting node",
    );
    check(
        one.create("storage.k8s.io/v1/csinodes", csi("one")).await,
        "",
    );
}

#[tokio::test]
async fn a_node_gets_tokens_only_for_its_pods_and_what_they_want() {
    let nodes = start().await;
    let request = async |pod: &str, uid: Option<&str>, audiences: Value| {
        let stored = nodes.admin.get("v1/pods", &format!("default/{pod}")).await;
        let uid = uid.unwrap_or(stored.uid()).to_owned();
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
        json!({
            "metadata": meta("default"),
            "spec": {"audiences": audiences, "boundObjectRef": bound},
        })
    };
    let unbound = json!({"metadata": meta("default"), "spec": {"audiences": ["wanted"]}});
    let forbidden = "serviceaccounts \"default\" is forbidden: ";
    for (body, wanted) in [
        (unbound, "node requested token not bound to a pod"),
        (
            request("one", Some(""), json!(["wanted"])).await,
            "node requested token with a pod binding without a uid",
        ),
        (
            request("one", Some("other"), json!(["wanted"])).await,
            "the UID in the bound object reference (other) does not match the UID in record. The object might have been deleted and then recreated",
        ),
        (
            request("two", None, json!(["wanted"])).await,
            "node requested token bound to a pod scheduled on a different node",
        ),
        (
            request("one", None, json!(["wanted", "more"])).await,
            "node may only request 0 or 1 audiences",
        ),
        (request("one", None, json!(["else"])).await, ""),
    ] {
        let wanted = match wanted {
            "" => String::new(),
            why => format!("{forbidden}{why}"),
        };
        let outcome = nodes
            .one
            .create_sub("v1/serviceaccounts", "token", body)
            .await;
        check(outcome, &wanted);
    }
    let may = json!([
        {"verbs": ["create"], "apiGroups": [""], "resources": ["serviceaccounts/token"]},
        {
            "verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""],
            "resources": ["granted"],
        },
    ]);
    nodes.world.grant(&[("system:node:one", may)]);
    let plain = nodes
        .world
        .user(&UserInfo::new("system:node:one", &[NODES]));
    for (audience, allowed) in [("wanted", true), ("granted", true), ("else", false)] {
        let body = request("one", None, json!([audience])).await;
        let outcome = plain.create_sub("v1/serviceaccounts", "token", body).await;
        let wanted = match allowed {
            true => String::new(),
            false => format!(
                "{forbidden}audience \"else\" not found in pod spec volume, system:node:one is not authorized to request tokens for this audience"
            ),
        };
        check(outcome, &wanted);
    }
}

#[tokio::test]
async fn a_node_asks_for_no_certificate_in_another_name() {
    let nodes = start().await;
    let key = PrivateKey::generate().expect("random numbers");
    for (name, signer, request, wanted) in [
        ("a", "kubelet-serving", "one", ""),
        (
            "b",
            "kube-apiserver-client-kubelet",
            "two",
            "can only create a node CSR with CN=system:node:one",
        ),
        ("c", "kube-apiserver-client", "two", ""),
        ("d", "kubelet-serving", "", "unable to parse csr: "),
    ] {
        let pem = match request {
            "" => "nothing".to_owned(),
            node => CertificateRequest::create(&Profile::node_client(node), &key).expect("signed"),
        };
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        let usages = match signer {
            "kubelet-serving" => json!(["digital signature", "server auth"]),
            _ => json!(["digital signature", "client auth"]),
        };
        let object = json!({
            "metadata": {"name": name},
            "spec": {
                "request": encoded, "usages": usages,
                "signerName": format!("kubernetes.io/{signer}"),
            },
        });
        let path = "certificates.k8s.io/v1/certificatesigningrequests";
        let outcome = nodes.one.create(path, object).await;
        if wanted.is_empty() {
            check(outcome, "");
            continue;
        }
        let why = format!(
            "certificatesigningrequests.certificates.k8s.io {name:?} is forbidden: {wanted}"
        );
        assert!(refusal(outcome).starts_with(&why), "{why}");
    }
}

#[tokio::test]
async fn a_user_of_a_nodes_name_who_is_no_node_is_not_restricted() {
    let nodes = start().await;
    let impostor = nodes.world.mighty("system:node:one", &[]);
    check(impostor.delete("v1/pods", "default/two").await, "");
    let nameless = nodes.world.mighty("system:node:", &[NODES]);
    check(
        nameless
            .create("v1/configmaps", json!({"metadata": meta("m")}))
            .await,
        "configmaps \"m\" is forbidden: could not determine node from user \"system:node:\"",
    );
}
