use super::*;
use std::collections::BTreeSet;

#[test]
fn every_binding_names_a_role_of_the_policy() {
    let all = bootstrap_policy();
    let key = |kind: &str, object: &Object| format!("{kind}/{}", object.key());
    let known: BTreeSet<String> = all
        .iter()
        .map(|o| key(o.object.kind(), &o.object))
        .collect();
    assert_eq!(known.len(), all.len(), "names are unique");
    for one in &all {
        let Some(name) = one.object.str_at(&["roleRef", "name"]) else {
            continue;
        };
        let wanted = match one.object.str_at(&["roleRef", "kind"]) {
            Some("ClusterRole") => format!("ClusterRole/{name}"),
            _ => format!("Role/{}/{name}", one.object.namespace()),
        };
        assert!(known.contains(&wanted), "{wanted}");
    }
}

/// Compares with a dump of a real cluster, if `KONTIKI_POLICY_DUMP` names a
/// directory with `clusterroles.json` and so on.
#[test]
fn the_policy_is_that_of_a_real_cluster() {
    let Ok(directory) = std::env::var("KONTIKI_POLICY_DUMP") else {
        return;
    };
    let ours = bootstrap_policy();
    for resource in [CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS] {
        let path = format!("{directory}/{}.json", resource.resource);
        let text = std::fs::read_to_string(&path).expect("the dump has it");
        let dump: Value = serde_json::from_str(&text).expect("JSON");
        let theirs = dump["items"].as_array().expect("a list");
        let count = ours.iter().filter(|o| o.resource == resource).count();
        assert_eq!(count, theirs.len(), "{path}");
        for item in theirs {
            let mut item = item.clone();
            let metadata = item["metadata"].as_object_mut().expect("a map");
            for field in [
                "creationTimestamp",
                "managedFields",
                "resourceVersion",
                "uid",
            ] {
                metadata.remove(field);
            }
            let theirs = Object::from_value(item).expect("a map");
            let same = |o: &&PolicyObject| o.resource == resource && o.object.key() == theirs.key();
            let ours = ours.iter().find(same).expect("we have it");
            assert_eq!(ours.object.to_value(), theirs.to_value());
        }
    }
}

#[test]
fn what_is_missing_is_added_and_what_was_added_stays() {
    let wanted = cluster_role(
        "r",
        &[rule("get,list", "", "pods"), rule("get", "", "nodes")],
        "",
    );
    let Some(Write::Create { object, .. }) = reconcile(&wanted, None) else {
        panic!("it has to be created");
    };
    let whole = Object::from_value(object.clone()).expect("a map");
    assert_eq!(reconcile(&wanted, Some(&whole)), None);

    let mut more = object.clone();
    let own = rule("*", "", "pods").to_value();
    more["rules"] = json!([own]);
    let Some(Write::Update {
        object: repaired, ..
    }) = reconcile(&wanted, Object::from_value(more).as_ref())
    else {
        panic!("a rule is missing");
    };
    assert_eq!(
        repaired["rules"],
        json!([own, rule("get", "", "nodes").to_value()])
    );

    let mut locked = object;
    locked["rules"] = json!([]);
    locked["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
    assert_eq!(
        reconcile(&wanted, Object::from_value(locked).as_ref()),
        None
    );
}

#[test]
fn a_binding_to_another_role_is_replaced() {
    let bind = |role| {
        let metadata = json!({"name": "b", "labels": {}});
        let role = ("ClusterRole", role);
        binding(
            CLUSTER_ROLE_BINDINGS,
            "ClusterRoleBinding",
            metadata,
            role,
            &[Subject::User("u")],
        )
    };
    let present = bind("one").object;
    assert!(matches!(
        reconcile(&bind("two"), Some(&present)),
        Some(Write::Replace { .. })
    ));
    assert_eq!(reconcile(&bind("one"), Some(&present)), None);
}
