use std::collections::BTreeSet;

use prost::Message as _;
use serde_json::{Map, Value, json};

use super::*;
use crate::normal;
use crate::table::{Form, Schema, Type, TypeRef, ValueType};

/// A small generator of numbers, so that a failing seed can be replayed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Protobuf cannot tell an empty list or map from an unset one.
fn forget_empty(ty: TypeRef, value: &mut Value) {
    let Value::Object(object) = value else {
        return;
    };
    let described: &Type = &ty;
    for field in described.fields.iter().filter(|_| ty.form == Form::Object) {
        let Some(member) = object.get_mut(field.name) else {
            continue;
        };
        if field.presence == crate::Presence::Always
            && field.ty.element().is_some()
            && normal::is_empty(member)
        {
            *member = Value::Null;
        }
        forget_empty_in(&field.ty, member);
    }
}

fn forget_empty_in(ty: &ValueType, value: &mut Value) {
    match (ty, value) {
        (ValueType::Type(ty), value) => forget_empty(*ty, value),
        (ValueType::List(inner), Value::Array(items)) => items
            .iter_mut()
            .for_each(|item| forget_empty_in(inner, item)),
        (ValueType::Map(inner), Value::Object(entries)) => entries
            .values_mut()
            .for_each(|item| forget_empty_in(inner, item)),
        _ => {}
    }
}

/// A random object of the type, with every form that its members can take.
fn random(ty: TypeRef, dice: &mut Dice, depth: u32) -> Value {
    match ty.form {
        Form::Object => {
            let described: &Type = &ty;
            let mut object = Map::new();
            for field in &described.fields {
                if field.tags.is_empty() || dice.roll(4) == 0 || (depth == 0 && has_type(&field.ty))
                {
                    continue;
                }
                object.insert(field.name.to_owned(), random_value(&field.ty, dice, depth));
            }
            Value::Object(object)
        }
        Form::Time => json!(format!(
            "2026-11-{:02}T0{}:00:59Z",
            1 + dice.roll(28),
            dice.roll(10)
        )),
        Form::MicroTime => json!(format!(
            "1969-12-{:02}T00:00:00.{:06}Z",
            1 + dice.roll(28),
            dice.roll(1_000_000)
        )),
        Form::Quantity => json!(["100m", "1Gi", "5", "1500k"][dice.roll(4) as usize]),
        Form::IntOrString if dice.roll(2) == 0 => json!("25%"),
        Form::IntOrString => json!(dice.roll(70_000) as i64 - 100),
        Form::FieldsV1 => json!({"f:spec": {"f:replicas": {}}}),
        Form::RawExtension => json!({"kind": "Any", "n": dice.roll(9)}),
        Form::Json => json!([1, "two", {"three": null}]),
        Form::SchemaOrBool if dice.roll(2) == 0 => json!(dice.roll(2) == 0),
        Form::SchemaOrArray if dice.roll(2) == 0 => {
            json!([{"type": "string"}, {"type": "integer"}])
        }
        Form::SchemaOrStrings if dice.roll(2) == 0 => json!(["a", "b"]),
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
            json!({"type": "object"})
        }
        Form::Any => Value::Null,
    }
}

fn has_type(ty: &ValueType) -> bool {
    match ty {
        ValueType::Type(ty) => ty.form == Form::Object,
        other => other.element().is_some_and(has_type),
    }
}

fn random_value(ty: &ValueType, dice: &mut Dice, depth: u32) -> Value {
    match ty {
        ValueType::Bool => json!(dice.roll(2) == 0),
        ValueType::Int32 => json!(dice.roll(1 << 32) as u32 as i32),
        ValueType::Int64 => json!(dice.roll(u64::MAX) as i64),
        ValueType::Double => json!(dice.roll(1000) as f64 + 0.5),
        ValueType::String => json!(["", "text", "ü", "a/b"][dice.roll(4) as usize]),
        ValueType::Bytes => json!(["", "AAEC", "aGFsbG8="][dice.roll(3) as usize]),
        ValueType::Any => Value::Null,
        ValueType::Type(ty) => random(*ty, dice, depth.saturating_sub(1)),
        // An empty wrapped list and none are the same bytes.
        ValueType::WrappedList(inner) => Value::Array(
            (0..=dice.roll(2))
                .map(|_| random_value(inner, dice, depth))
                .collect(),
        ),
        ValueType::List(inner) => Value::Array(
            (0..dice.roll(3))
                .map(|_| random_value(inner, dice, depth))
                .collect(),
        ),
        ValueType::Map(inner) => {
            let keys = ["", "app", "example.com/key"];
            Value::Object(
                keys.iter()
                    .take(dice.roll(4) as usize)
                    .map(|key| ((*key).to_owned(), random_value(inner, dice, depth)))
                    .collect(),
            )
        }
    }
}

fn encodable(ty: TypeRef) -> bool {
    ty.has_protobuf && ty.form == Form::Object
}

#[test]
fn every_type_survives_the_way_to_protobuf_and_back() {
    let mut dice = Dice(0x5eed_0001);
    for ty in Schema::get().types().filter(|ty| encodable(*ty)) {
        for round in 0..4 {
            let mut given = random(ty, &mut dice, 3);
            normal::normalise(ty, &mut given);
            forget_empty(ty, &mut given);
            let bytes = encode(ty, &given)
                .unwrap_or_else(|error| panic!("{} round {round}: {error}\n{given}", ty.name));
            let mut back = decode(ty, &bytes)
                .unwrap_or_else(|error| panic!("{} round {round}: {error}", ty.name));
            // Embedded structs that hold only empty members leave no trace.
            normal::normalise(ty, &mut back);
            assert_eq!(given, back, "{} round {round}", ty.name);
        }
    }
}

#[test]
fn decoded_objects_are_in_normal_form_already() {
    let mut dice = Dice(0x5eed_0002);
    for (_, ty) in Schema::get().kinds().filter(|(_, ty)| encodable(*ty)) {
        let given = random(ty, &mut dice, 4);
        let bytes = encode(ty, &given).expect("encodes");
        let back = decode(ty, &bytes).expect("decodes");
        let mut normal = back.clone();
        normal::normalise(ty, &mut normal);
        assert_eq!(back, normal, "{}", ty.name);
    }
}

#[test]
fn cut_and_damaged_bytes_end_in_an_error_or_an_object() {
    let mut dice = Dice(0x5eed_0003);
    for (_, ty) in Schema::get().kinds().filter(|(_, ty)| encodable(*ty)) {
        let bytes = encode(ty, &random(ty, &mut dice, 3)).expect("encodes");
        for _ in 0..40 {
            let mut damaged = bytes[..dice.roll(bytes.len() as u64 + 1) as usize].to_vec();
            if !damaged.is_empty() {
                let at = dice.roll(damaged.len() as u64) as usize;
                damaged[at] = dice.roll(256) as u8;
            }
            let _ = decode(ty, &damaged);
        }
    }
}

#[test]
fn a_swarm_of_empty_messages_is_refused() {
    let list = Schema::get()
        .type_by_name("io.k8s.api.core.v1.PodList")
        .expect("known");
    let bytes: Vec<u8> = [0x12, 0x00].repeat(100_000);
    assert_eq!(decode(list, &bytes), Err(ProtobufError::Unreasonable));
}

#[test]
fn endless_nesting_is_refused() {
    let ty = Schema::get()
        .type_by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .expect("known");
    let tag = ty
        .field("not")
        .and_then(|field| field.tag())
        .expect("tagged");
    let mut bytes = Vec::new();
    for _ in 0..400 {
        let mut outer = Vec::new();
        wire::put_bytes(&mut outer, tag, &bytes);
        bytes = outer;
    }
    assert_eq!(decode(ty, &bytes), Err(ProtobufError::Unreasonable));
}

#[test]
fn the_envelope_names_the_kind() {
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-01-02T03:04:05.000006Z", "regarding": {}});
    let bytes = encode_object(&event).expect("encodes");
    assert!(has_envelope(&bytes));
    let envelope = open(&bytes).expect("opens");
    assert_eq!(
        (envelope.api_version.as_str(), envelope.kind.as_str()),
        ("events.k8s.io/v1", "Event")
    );
    let back = decode_object(&bytes).expect("decodes");
    assert_eq!(back["eventTime"], event["eventTime"]);
    assert_eq!(back["kind"], "Event");
    let unknown = seal("example.com/v1", "Thing", b"");
    assert_eq!(
        decode_object(&unknown).expect_err("unknown").to_string(),
        "no kind \"Thing\" is registered for version \"example.com/v1\""
    );
    assert_eq!(decode_object(b"{}"), Err(ProtobufError::NoEnvelope));
}

#[test]
fn options_belong_to_every_group() {
    let options =
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    let bytes = encode_object(&options).expect("encodes");
    assert_eq!(decode_object(&bytes).expect("decodes"), options);
}

#[test]
fn a_watch_frame_is_a_length_and_a_bare_event() {
    let object = seal("v1", "Pod", b"");
    let frame = watch_frame("ADDED", &object);
    let length = u32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    assert_eq!(length as usize, frame.len() - 4);
    let event = k8s_pb::apimachinery::pkg::apis::meta::v1::WatchEvent::decode(&frame[4..])
        .expect("decodes");
    assert_eq!(event.r#type.as_deref(), Some("ADDED"));
    assert_eq!(
        event.object.and_then(|object| object.raw).as_deref(),
        Some(&object[..])
    );
}

/// prost's own structs read what we write, and write it the same.
fn check_with_prost<M: prost::Message + Default>(name: &str) {
    let ty = Schema::get().type_by_name(name).expect("known");
    let mut dice = Dice(0x5eed_0004);
    for _ in 0..8 {
        let mut given = random(ty, &mut dice, 5);
        normal::normalise(ty, &mut given);
        forget_empty(ty, &mut given);
        let bytes = encode(ty, &given).expect("encodes");
        let read = M::decode(&bytes[..]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut back = decode(ty, &read.encode_to_vec()).expect("decodes");
        normal::normalise(ty, &mut back);
        // What came after the protobuf sources were cut, prost cannot keep.
        let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
        leaves(&given, "", &mut left);
        leaves(&back, "", &mut right);
        let lost: Vec<_> = left
            .symmetric_difference(&right)
            .filter(|path| !is_newer(path))
            .collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
    }
}

fn is_newer(path: &str) -> bool {
    [
        "schedulingGroup",
        "nodeAllocatable",
        "volumeStatus",
        "shardInfo",
        "preventPodScheduling",
    ]
    .iter()
    .any(|name| path.contains(name))
}

fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .for_each(|(name, value)| leaves(value, &format!("{path}.{name}"), out)),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| leaves(value, &format!("{path}[{at}]"), out)),
        other => {
            out.insert(format!("{path}={other}"));
        }
    }
}

#[test]
fn prost_reads_what_we_write() {
    use k8s_pb::api;
    check_with_prost::<api::core::v1::Pod>("io.k8s.api.core.v1.Pod");
    check_with_prost::<api::core::v1::Service>("io.k8s.api.core.v1.Service");
    check_with_prost::<api::core::v1::Secret>("io.k8s.api.core.v1.Secret");
    check_with_prost::<api::core::v1::Event>("io.k8s.api.core.v1.Event");
    check_with_prost::<api::core::v1::Node>("io.k8s.api.core.v1.Node");
    check_with_prost::<api::core::v1::PersistentVolume>("io.k8s.api.core.v1.PersistentVolume");
    check_with_prost::<api::apps::v1::Deployment>("io.k8s.api.apps.v1.Deployment");
    check_with_prost::<api::apps::v1::StatefulSet>("io.k8s.api.apps.v1.StatefulSet");
    check_with_prost::<api::batch::v1::CronJob>("io.k8s.api.batch.v1.CronJob");
    check_with_prost::<api::autoscaling::v2::HorizontalPodAutoscaler>(
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    );
    check_with_prost::<api::certificates::v1::CertificateSigningRequest>(
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
    );
    check_with_prost::<api::coordination::v1::Lease>("io.k8s.api.coordination.v1.Lease");
    check_with_prost::<api::networking::v1::Ingress>("io.k8s.api.networking.v1.Ingress");
    check_with_prost::<api::authorization::v1::SubjectAccessReview>(
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    );
    check_with_prost::<
        k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    >("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition");
}

#[test]
fn members_without_a_tag_are_noticed() {
    let pod = Schema::get()
        .type_by_name("io.k8s.api.core.v1.Pod")
        .expect("known");
    assert!(is_complete(
        pod,
        &json!({"kind": "Pod", "spec": {"containers": [{"name": "c"}]}})
    ));
    assert!(!is_complete(
        pod,
        &json!({"spec": {"schedulingGroup": {"podGroupName": "g"}}})
    ));
    let workload = Schema::get()
        .type_by_name("io.k8s.api.scheduling.v1alpha2.Workload")
        .expect("known");
    assert!(!is_complete(workload, &json!({})));
}
