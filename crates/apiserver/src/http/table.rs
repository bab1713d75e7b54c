//! Other shapes of objects: tables and metadata only.

use jiff::Timestamp;
use kontiki_kinds::{CellContext, Column, Kind, Tree};
use kontiki_object::{Object, SharedObject, Value};
use serde_json::json;

/// The metadata of a table of one object.
pub fn metadata_of(object: &Object) -> Tree {
    let mut metadata = Tree::new();
    metadata.insert(
        "resourceVersion".to_owned(),
        object.resource_version().into(),
    );
    metadata
}

/// `PartialObjectMetadata`.
pub fn partial(object: &Object) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": object.get(&["metadata"]),
    })
}

/// A `Table`; watches after the first event leave the columns out.
pub fn table(
    kind: &Kind,
    objects: &[SharedObject],
    metadata: Tree,
    include_object: &str,
    with_columns: bool,
) -> Value {
    let context = CellContext {
        now: Timestamp::now(),
    };
    let columns: Vec<Value> = kind.columns.iter().map(column).collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| row(kind, object, &context, include_object))
        .collect();
    let columns = if with_columns {
        Value::from(columns)
    } else {
        Value::Null
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn column(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.r#type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(kind: &Kind, object: &SharedObject, context: &CellContext, include: &str) -> Value {
    let cells: Vec<Value> = kind
        .columns
        .iter()
        .map(|column| (column.cell)(object.tree(), context))
        .collect();
    let included = match include {
        "Object" => object.to_value(),
        "None" => Value::Null,
        _ => partial(object),
    };
    let mut row = json!({"cells": cells, "object": included});
    let conditions = (kind.row_conditions)(object.tree());
    if !conditions.is_empty() {
        row["conditions"] = conditions.into();
    }
    row
}
