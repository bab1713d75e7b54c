use super::*;
use kontiki_kinds::FieldErrors;
use kontiki_object::Value;
use serde_json::json;

fn told(errors: &FieldErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn schema() -> Structural {
    Structural::parse(&json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
            "name": {"type": "string", "default": "x", "minLength": 1},
            "maybe": {"type": "string", "nullable": true, "default": "d"},
            "port": {"x-kubernetes-int-or-string": true},
            "one": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                    "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "list": {"type": "array", "x-kubernetes-list-type": "map",
                     "x-kubernetes-list-map-keys": ["k"],
                     "items": {"type": "object", "required": ["k"], "properties": {
                         "k": {"type": "string"}, "v": {"type": "integer", "minimum": 0}},
                         "x-kubernetes-validations": [
                             {"rule": "self.v >= oldSelf.v", "message": "v may not shrink"}]}},
        },
        "x-kubernetes-validations": [{"rule": "self.size != 4", "fieldPath": ".size"}],
    }}}))
}

#[test]
fn unknown_members_go_and_defaults_come() {
    let schema = schema();
    let mut value = json!({
        "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "top": 1,
        "spec": {"size": 2, "name": null, "maybe": null, "extra": 1, "port": null,
                 "free": {"any": {"thing": 1}}, "list": [{"k": "a", "x": 1}]},
    });
    shape::prune(&schema, &mut value, true);
    shape::default(&schema, &mut value);
    shape::drop_nulls(&schema, &mut value);
    assert_eq!(
        value,
        json!({
            "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
            "spec": {"size": 2, "name": "x", "maybe": null,
                     "free": {"any": {"thing": 1}}, "list": [{"k": "a"}]},
        })
    );
}

#[test]
fn complaints_about_values_read_as_the_validator_of_openapi_writes_them() {
    let schema = schema();
    for (spec, wanted) in [
        (json!({"size": 2}), vec![]),
        (
            json!({"size": 11}),
            vec![
                "spec.size: Invalid value: 11: spec.size in body should be a multiple of 2",
                "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
            ],
        ),
        (json!({}), vec!["spec.size: Required value"]),
        (
            json!({"size": "x"}),
            vec![
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            ],
        ),
        (
            json!({"size": 2, "port": true}),
            vec![
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"size": 2, "one": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.one.a: Required value",
            ],
        ),
    ] {
        let errors = validate::object(&schema, &json!({"spec": spec}), None);
        assert_eq!(told(&errors), wanted, "{spec}");
    }
}

#[test]
fn what_an_update_leaves_alone_is_not_complained_about() {
    let schema = schema();
    let old = json!({"spec": {"size": 50, "list": [{"k": "a", "v": -1}]}});
    let new = json!({"spec": {"size": 50, "name": "y", "list": [{"k": "b"}, {"k": "a", "v": -1}]}});
    assert_eq!(
        told(&validate::object(&schema, &new, Some(&old))),
        Vec::<String>::new()
    );
    assert!(!validate::object(&schema, &new, None).is_empty());
}

#[test]
fn items_that_occur_twice_are_told_by_their_keys() {
    let errors = lists::duplicates(
        &schema(),
        &json!({"spec": {"list": [{"k": "a"}, {"k": "b"}, {"k": "a", "v": 1}]}}),
        None,
    );
    assert_eq!(
        told(&errors),
        ["spec.list[2]: Duplicate value: {\"k\":\"a\"}"]
    );
}

#[test]
fn rules_complain_where_and_when_they_should() {
    let schema = schema();
    let told = |new: &Value, old: Option<&Value>| told(&rules::evaluate(&schema, new, old));
    let four = json!({"spec": {"size": 4}});
    assert_eq!(
        told(&four, None),
        ["spec.size: Invalid value: failed rule: self.size != 4"]
    );
    assert_eq!(told(&four, Some(&four)), Vec::<String>::new());
    let old = json!({"spec": {"size": 2, "list": [{"k": "a", "v": 3}]}});
    let new = json!({"spec": {"size": 2, "list": [{"k": "b", "v": 0}, {"k": "a", "v": 2}]}});
    assert_eq!(
        told(&new, Some(&old)),
        ["spec.list[1]: Invalid value: v may not shrink"]
    );
    assert_eq!(told(&new, None), Vec::<String>::new());
}
