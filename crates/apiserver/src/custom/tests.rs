use super::json_path::JsonPath;
use super::{kinds, naming};
use kontiki_kinds::Tree;
use serde_json::json;

fn definition(name: &str, kind: &str) -> Tree {
    let object = json!({
        "metadata": {"name": format!("{name}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced",
                 "names": {"plural": name, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                 "versions": [{"name": "v1", "served": true, "storage": true,
                               "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        "status": {"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": ["v1"]},
    });
    object.as_object().expect("a map").clone()
}

#[test]
fn the_first_definition_gets_its_names_and_a_second_does_not() {
    let first = naming::status(&definition("widgets", "Widget"), &[], "now").expect("is decided");
    assert_eq!(first["status"]["conditions"][1]["type"], "Established");
    assert_eq!(first["status"]["conditions"][1]["status"], "True");
    assert_eq!(
        naming::status(&first, &[], "later"),
        None,
        "nothing changes"
    );
    assert_eq!(kinds::of(&first, "1").len(), 1);
    let second = naming::status(&definition("gadgets", "Widget"), &[&first], "now");
    let second = second.expect("is decided");
    assert_eq!(second["status"]["acceptedNames"]["plural"], "gadgets");
    assert_eq!(second["status"]["acceptedNames"]["kind"], "");
    assert_eq!(second["status"]["conditions"][0]["status"], "False");
    assert_eq!(
        second["status"]["conditions"][0]["reason"],
        "ListKindConflict"
    );
    assert!(kinds::of(&second, "1").is_empty());
}

#[test]
fn versions_are_ordered_by_their_maturity() {
    let mut versions = vec![
        "v1alpha1", "foo", "v2beta1", "v1", "v10", "v2", "v1beta2", "v1beta1",
    ];
    versions.sort_by_key(|version| std::cmp::Reverse(kinds::priority(version)));
    assert_eq!(
        versions,
        [
            "v10", "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1", "foo"
        ]
    );
}

#[test]
fn paths_of_columns_lead_where_kubectl_says() {
    let object = json!({
        "spec": {"n": 3, "a.b": 1, "list": [1, 2, 3]},
        "status": {"conditions": [{"type": "A", "status": "x"}, {"type": "Ready", "status": "True"}]},
    });
    for (path, wanted) in [
        (".spec.n", json!([3])),
        ("{.spec.n}", json!([3])),
        (".spec['a.b']", json!([1])),
        (".spec.a\\.b", json!([1])),
        (".spec.list[0]", json!([1])),
        (".spec.list[-1]", json!([3])),
        (".spec.list[*]", json!([1, 2, 3])),
        (
            ".status.conditions[?(@.type==\"Ready\")].status",
            json!(["True"]),
        ),
        (
            ".status.conditions[?(@.type!='Ready')].status",
            json!(["x"]),
        ),
        (".nothing.here", json!([])),
        ("..type", json!(["A", "Ready"])),
    ] {
        let found = JsonPath::parse(path).expect(path);
        assert_eq!(json!(found.find(&object)), wanted, "{path}");
    }
    assert_eq!(JsonPath::parse(".a[").map(|_| ()), None);
}
