use super::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn spec() -> Type {
    let fields = [
        ("min", Type::Int),
        ("max", Type::Int),
        ("note", Type::String(Some(20))),
        ("l", Type::List(Box::new(Type::String(Some(10))), Some(5))),
        ("m", Type::Map(Box::new(Type::Int), Some(5))),
        ("any", Type::Dyn),
        ("when", Type::Timestamp),
        ("x__dash__y", Type::Int),
    ];
    let fields = fields.map(|(name, ty)| (name.to_owned(), ty));
    Type::Object(Arc::new(ObjectType {
        name: "object".to_owned(),
        fields: BTreeMap::from(fields),
    }))
}

fn compile(text: &str) -> Result<Program, CompileError> {
    let old = Type::Optional(Box::new(spec()));
    Program::compile(text, &[("self", spec()), ("oldSelf", old)], Wanted::Bool)
}

fn evaluate(text: &str, subject: &Json) -> Result<bool, EvaluationError> {
    let program = compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let variables = vec![
        ("self", from_json(subject, &spec())),
        ("oldSelf", optional(None)),
    ];
    match program.evaluate(variables, &mut Budget::default())? {
        Value::Bool(on) => Ok(on),
        other => panic!("{text} came to {other:?}"),
    }
}

#[test]
fn rules_of_every_library_come_to_what_they_say() {
    let subject = json!({
        "min": 1, "max": 2, "note": "10.0.0.1", "l": ["a", "b"], "m": {"a": 1},
        "any": {"deep": [1, 2]}, "when": "2026-01-02T03:04:05Z", "x-y": 7,
    });
    for text in [
        "self.min <= self.max",
        "self.l.isSorted() && self.l.size() == 2",
        "self.l.all(item, item.matches('^[a-z]+$'))",
        "self.l.exists(item, item == 'b') && self.l.exists_one(item, item == 'a')",
        "self.m.all(key, self.m[key] > 0)",
        "ip(self.note).family() == 4 && cidr('10.0.0.0/8').containsIP(self.note)",
        "quantity('1Gi').isLessThan(quantity('2Gi')) && isQuantity('5m')",
        "url('https://example.com/a').getHost() == 'example.com'",
        "sets.contains(self.l, ['a'])",
        "'%s-%d'.format(['a', self.min]) == 'a-1'",
        "self.any.deep[1] == 2",
        "has(self.note) && !has(self.any.nothing)",
        "self.when > timestamp('2025-01-01T00:00:00Z')",
        "self.x__dash__y == 7",
        "!oldSelf.hasValue()",
        "self.?note.orValue('') == '10.0.0.1'",
        "self.any.?none.orValue(3) == 3 && self.any.?none.?less.orValue(4) == 4",
        "self.l[?7].orValue('x') == 'x' && self.l[?1].hasValue()",
        "self.l.map(item, item + '!') == ['a!', 'b!']",
        "self.l.filter(item, item != 'a').size() == 1",
        "duration('1h') > duration('59m')",
        "'a,b'.split(',') == self.l",
    ] {
        assert_eq!(evaluate(text, &subject), Ok(true), "{text}");
    }
}

#[test]
fn an_evaluation_without_a_value_says_why() {
    for (text, why) in [
        ("self.min <= self.max", "no such key: max"),
        ("1 / (self.min - 1) == 1", "division by zero"),
    ] {
        let error = evaluate(text, &json!({"min": 1})).expect_err("has no value");
        assert_eq!(error.to_string(), why, "{text}");
    }
}

#[test]
fn complaints_point_at_what_does_not_fit() {
    for (text, complaint) in [
        (
            "self.nope > 1",
            "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^",
        ),
        (
            "self.min > 'a'",
            "ERROR: <input>:1:10: found no matching overload for '_>_' applied to '(int, string)'\n | self.min > 'a'\n | .........^",
        ),
        (
            "nothing == 1",
            "ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing == 1\n | ^",
        ),
        (
            "self.note.shout() == 'a'",
            "ERROR: <input>:1:16: undeclared reference to 'shout' (in container '')\n | self.note.shout() == 'a'\n | ...............^",
        ),
        ("self.min", "cel expression must evaluate to a bool"),
        (
            "self.(",
            "ERROR: <input>:1:6: Syntax error: no viable alternative at input '.('\n | self.(\n | .....^",
        ),
    ] {
        let error = compile(text).expect_err(text);
        assert_eq!(error.to_string(), complaint);
    }
    assert!(compile("self.min >").is_err());
    assert!(compile(&"(".repeat(10_000)).is_err());
}

#[test]
fn an_endless_evaluation_is_ended() {
    let items: Vec<String> = (0..1000).map(|at| at.to_string()).collect();
    let text = "self.any.all(a, self.any.all(b, self.any.all(c, a != 'x')))";
    let subject = json!({"any": items});
    assert_eq!(evaluate(text, &subject), Err(EvaluationError::OverBudget));
}

#[test]
fn bounds_of_the_schema_bound_the_estimate() {
    let cheap = compile("self.l.all(item, item != 'x')")
        .expect("compiles")
        .cost();
    let dear = compile("self.any.all(item, self.any.all(other, item != other))")
        .expect("compiles")
        .cost();
    assert!(cheap < Cost(1000), "{cheap:?}");
    assert!(dear > Cost(10_000_000), "{dear:?}");
}

#[test]
fn names_that_are_no_identifiers_are_escaped() {
    for (name, escaped) in [
        ("plain", Some("plain")),
        ("a_b", Some("a_b")),
        ("a__b", Some("a__underscores__b")),
        ("a-b.c/d", Some("a__dash__b__dot__c__slash__d")),
        ("namespace", Some("__namespace__")),
        ("1a", None),
        ("a b", None),
    ] {
        assert_eq!(escape(name).as_deref(), escaped, "{name}");
    }
}

/// Allows what begins with `get`, knows nothing of errors.
struct OnlyGet;

impl Authorizer for OnlyGet {
    fn check(&self, question: &Question) -> Answer {
        Answer {
            allowed: question.verb == "get",
            reason: format!("{}/{}", question.namespace, question.resource),
            error: String::new(),
        }
    }
}

const DYNAMIC: [&str; 5] = ["object", "oldObject", "variables", "authorizer", "params"];

fn mutation(text: &str) -> Program {
    let variables = DYNAMIC.map(|name| (name, Type::Dyn));
    Program::compile_mutation(text, &variables).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn activation(composed: &[(&str, &str)]) -> Arc<Activation> {
    let object = json!({"a": 1, "list": [1, 2], "metadata": {"name": "n"}});
    let ask: Arc<dyn Authorizer> = Arc::new(OnlyGet);
    let question = Question {
        resource: "pods".to_owned(),
        ..Question::default()
    };
    let values = [
        ("object", from_json(&object, &Type::Dyn)),
        ("oldObject", Value::Null),
        ("params", Value::Null),
        ("authorizer", authorizer(ask.clone())),
        (
            "authorizer.requestResource",
            request_resource(ask, question),
        ),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), value));
    let composed = composed.iter().map(|(name, text)| {
        let variables = DYNAMIC.map(|name| (name, Type::Dyn));
        let program = Program::compile(text, &variables, Wanted::Any);
        ((*name).to_owned(), Arc::new(program))
    });
    Activation::new(values.to_vec(), composed.collect())
}

#[test]
fn objects_that_expressions_make_are_maps() {
    for (text, wanted) in [
        (
            "Object{spec: Object.spec{replicas: object.a + 1}}",
            json!({"spec": {"replicas": 2}}),
        ),
        (
            "[JSONPatch{op: 'add', path: '/x/' + jsonpatch.escapeKey('a/b'), value: {'k': 'v'}}]",
            json!([{"op": "add", "path": "/x/a~1b", "value": {"k": "v"}}]),
        ),
        (
            "Object{metadata: Object.metadata{?labels: object.?nothing}}",
            json!({"metadata": {}}),
        ),
        (
            "object.list.map(i, Object.spec{n: i})",
            json!([{"n": 1}, {"n": 2}]),
        ),
    ] {
        let value = activation(&[]).evaluate(&mutation(text));
        let value = value.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(to_json(&value), Ok(wanted), "{text}");
    }
    let refused = Program::compile("Object{}", &[], Wanted::Any).expect_err("makes no objects");
    assert!(
        refused
            .to_string()
            .contains("undeclared reference to 'Object'"),
        "{refused}"
    );
}

#[test]
fn composed_variables_are_evaluated_when_they_are_wanted() {
    let composed = [
        ("twice", "object.a * 2"),
        ("bad", "object.nothing"),
        ("thrice", "variables.twice + object.a"),
    ];
    let evaluate = |text: &str| activation(&composed).evaluate(&mutation(text));
    for text in [
        "variables.thrice == 3",
        "variables.twice == 2 || variables.bad == 1",
        "has(variables.bad)",
        "[1, 2].all(i, variables.twice == 2)",
    ] {
        assert_eq!(evaluate(text), Ok(Value::Bool(true)), "{text}");
    }
    let error = evaluate("variables.bad == 1").expect_err("fails");
    let wanted = "composited variable \"bad\" fails to evaluate: no such key: nothing";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn nothing_is_found_in_what_is_null() {
    let evaluate = |text: &str| activation(&[]).evaluate(&mutation(text));
    for text in [
        "oldObject == null",
        "!has(oldObject.spec)",
        "params == null && object != null",
        "object.metadata.name == 'n'",
    ] {
        assert_eq!(evaluate(text), Ok(Value::Bool(true)), "{text}");
    }
    let error = evaluate("oldObject.spec.x == 1").expect_err("there is none");
    assert_eq!(error.to_string(), "no such key: spec");
}

#[test]
fn the_authorizer_is_asked_step_by_step() {
    let evaluate = |text: &str| activation(&[]).evaluate(&mutation(text));
    for text in [
        "authorizer.group('apps').resource('deployments').namespace('ns').check('get').allowed()",
        "authorizer.group('').resource('pods').namespace('ns').check('get').reason() == 'ns/pods'",
        "!authorizer.path('/healthz').check('post').allowed()",
        "authorizer.requestResource.check('get').reason() == '/pods'",
        "!authorizer.serviceAccount('ns', 'sa').group('').resource('x').check('list').errored()",
    ] {
        assert_eq!(evaluate(text), Ok(Value::Bool(true)), "{text}");
    }
    let error = evaluate("authorizer.check('get').allowed()").expect_err("asks about nothing");
    assert_eq!(error.to_string(), "no such overload");
}

#[test]
fn expressions_of_one_request_share_a_budget() {
    let items: Vec<u64> = (0..30).collect();
    let object = from_json(&json!(items), &Type::Dyn);
    let values = vec![("object".to_owned(), object)];
    let activation = Activation::with_budget(values, Vec::new(), 5_000);
    let program = mutation("object.all(a, object.all(b, a + b >= 0))");
    let outcomes: Vec<_> = (0..12).map(|_| activation.evaluate(&program)).collect();
    assert_eq!(outcomes.first(), Some(&Ok(Value::Bool(true))));
    assert_eq!(outcomes.last(), Some(&Err(EvaluationError::OverBudget)));
}
