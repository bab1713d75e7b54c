//! How upstream's server shows a part of an object in a complaint: its own Go
//! structs as JSON. Clients see this form in the texts of 422 answers.
//!
//! The members are those of the schema table; what differs between the served
//! types and the server's own ones (order, names, a few moved members) is said
//! in the constants below. A member that nothing set shows its zero value.

mod diff;
mod shape;

pub(crate) use diff::diff;

use crate::Tree;
use kontiki_object::Value;
use kontiki_schema::{Form, Presence, Schema, Type, TypeRef, ValueType};
pub(crate) use shape::PERSISTENT_VOLUME_SOURCE;
use shape::{go_name, members, moved};

/// A JSON value whose members keep the order of Go's structs.
enum Node {
    Leaf(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// The part in one line.
pub(crate) fn shown(type_name: &str, tree: &Tree) -> String {
    let mut text = String::new();
    compact(&node(type_name, tree), &mut text);
    text
}

/// The part, indented by one space a level.
fn indented(type_name: &str, tree: &Tree) -> String {
    let mut text = String::new();
    pretty(&node(type_name, tree), 0, &mut text);
    text
}

fn node(type_name: &str, tree: &Tree) -> Node {
    if type_name == PERSISTENT_VOLUME_SOURCE {
        let spec = Schema::get().type_by_name("io.k8s.api.core.v1.PersistentVolumeSpec");
        let fields = shape::order(type_name).unwrap_or_default();
        return spec.map_or(Node::Map(Vec::new()), |spec| ordered(&spec, fields, tree));
    }
    match Schema::get().type_by_name(type_name) {
        Some(ty) => object(ty, tree),
        None => plain(&Value::Object(tree.clone())),
    }
}

fn leaf(text: impl Into<String>) -> Node {
    Node::Leaf(text.into())
}

/// Go escapes what could end a script.
pub(crate) fn escaped(text: String) -> String {
    if text.contains(['<', '>', '&']) {
        let text = text.replace('<', "\\u003c").replace('>', "\\u003e");
        text.replace('&', "\\u0026")
    } else {
        text
    }
}

/// A value as it is in JSON.
fn plain(value: &Value) -> Node {
    match value {
        Value::Array(list) => Node::List(list.iter().map(plain).collect()),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), plain(value)));
            Node::Map(entries.collect())
        }
        other => leaf(escaped(other.to_string())),
    }
}

/// Types of the machinery are the same inside and outside of the server.
fn is_shared(ty: &Type) -> bool {
    ty.name.starts_with("io.k8s.apimachinery.")
}

fn object(ty: TypeRef, tree: &Tree) -> Node {
    let ty: &Type = &ty;
    if is_shared(ty) {
        in_order(ty, tree)
    } else {
        ordered(ty, members(ty), tree)
    }
}

fn ordered(ty: &Type, fields: Vec<&'static str>, tree: &Tree) -> Node {
    let mut out = Vec::new();
    for field in fields {
        let Some(known) = ty.fields.iter().find(|known| known.name == field) else {
            continue;
        };
        if field == "metadata" {
            // Go embeds it, and JSON shows what is embedded flat.
            if let Some(meta) = tree.get(field).and_then(Value::as_object) {
                out.extend(meta.iter().map(|(key, value)| (key.clone(), plain(value))));
            }
            continue;
        }
        let value = tree.get(field).filter(|value| !value.is_null());
        let presence = shape::presence(ty.name, field).unwrap_or(known.presence);
        let mut shown = member(&known.ty, presence, value);
        if let (Some(moved), Node::Map(inner)) = (moved(ty.name, field), &mut shown) {
            inner.splice(0..0, hosted(ty, moved, tree));
        }
        out.push((go_name(ty.name, field), shown));
    }
    Node::Map(out)
}

/// Members that the server keeps one level further down.
fn hosted(ty: &Type, fields: &[&str], tree: &Tree) -> Vec<(String, Node)> {
    let known = fields.iter().filter_map(|field| {
        let known = ty.fields.iter().find(|known| known.name == *field)?;
        let value = tree.get(*field).filter(|value| !value.is_null());
        Some((
            go_name(ty.name, field),
            member(&known.ty, known.presence, value),
        ))
    });
    known.collect()
}

/// A shared type: JSON as it is, in the order of its Go struct.
fn in_order(ty: &Type, tree: &Tree) -> Node {
    let mut out = Vec::new();
    for field in members(ty) {
        let known = ty.fields.iter().find(|known| known.name == field);
        if let (Some(known), Some(value)) = (known, tree.get(field)) {
            out.push((field.to_owned(), given(&known.ty, value)));
        }
    }
    Node::Map(out)
}

fn member(ty: &ValueType, presence: Presence, value: Option<&Value>) -> Node {
    match value {
        Some(value) => given(ty, value),
        None if presence == Presence::Pointer => leaf("null"),
        None => zero(ty, presence),
    }
}

fn zero(ty: &ValueType, presence: Presence) -> Node {
    match ty {
        ValueType::Bool => leaf("false"),
        ValueType::Int32 | ValueType::Int64 | ValueType::Double => leaf("0"),
        ValueType::String => leaf("\"\""),
        ValueType::Type(ty) => match ty.form {
            Form::Quantity => leaf("\"0\""),
            Form::IntOrString => leaf("0"),
            Form::Object if presence == Presence::Value => object(*ty, &Tree::new()),
            _ => leaf("null"),
        },
        _ => leaf("null"),
    }
}

fn given(ty: &ValueType, value: &Value) -> Node {
    match (ty, value) {
        (ValueType::Type(ty), Value::Object(tree)) if ty.form == Form::Object => object(*ty, tree),
        (ValueType::List(item) | ValueType::WrappedList(item), Value::Array(list)) => {
            Node::List(list.iter().map(|value| given(item, value)).collect())
        }
        (ValueType::Map(item), Value::Object(map)) => {
            let entries = map.iter();
            Node::Map(
                entries
                    .map(|(key, value)| (key.clone(), given(item, value)))
                    .collect(),
            )
        }
        (_, other) => plain(other),
    }
}

fn quoted(key: &str) -> String {
    escaped(Value::from(key).to_string())
}

fn compact(node: &Node, out: &mut String) {
    match node {
        Node::Leaf(text) => out.push_str(text),
        Node::List(list) => {
            out.push('[');
            for (index, one) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                compact(one, out);
            }
            out.push(']');
        }
        Node::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(key));
                out.push(':');
                compact(value, out);
            }
            out.push('}');
        }
    }
}

fn pretty(node: &Node, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    match node {
        Node::List(list) if !list.is_empty() => {
            out.push('[');
            for (index, one) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                pretty(one, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Node::Map(entries) if !entries.is_empty() => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                out.push_str(&quoted(key));
                out.push_str(": ");
                pretty(value, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        other => compact(other, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tree(value: &Value) -> Tree {
        value.as_object().expect("a map").clone()
    }

    #[test]
    fn what_nothing_set_shows_its_zero_value() {
        let context = json!({"privileged": true, "runAsUser": -1, "allowPrivilegeEscalation": false,
            "seccompProfile": {"type": "Localhost"}});
        assert_eq!(
            shown("io.k8s.api.core.v1.SecurityContext", &tree(&context)),
            r#"{"Capabilities":null,"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":-1,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":{"Type":"Localhost","LocalhostProfile":null},"AppArmorProfile":null}"#
        );
        let taint = json!({"key": "k", "effect": "NoSchedule"});
        assert_eq!(
            shown("io.k8s.api.core.v1.Taint", &tree(&taint)),
            r#"{"Key":"k","Value":"","Effect":"NoSchedule","TimeAdded":null}"#
        );
        let port = json!({"protocol": "TCP", "port": 80});
        assert_eq!(
            shown("io.k8s.api.core.v1.ServicePort", &tree(&port)),
            r#"{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#
        );
    }

    #[test]
    fn a_difference_has_three_lines_of_context() {
        let old = json!({"hostPath": {"path": "/data", "type": ""}});
        let new = json!({"hostPath": {"path": "/other", "type": ""}});
        assert_eq!(
            diff(shape::PERSISTENT_VOLUME_SOURCE, &tree(&old), &tree(&new)),
            "@@ -2,7 +2,7 @@\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n  \"HostPath\": {\n-  \"Path\": \"/data\",\n+  \"Path\": \"/other\",\n   \"Type\": \"\"\n  },\n  \"Glusterfs\": null,\n"
        );
    }
}
