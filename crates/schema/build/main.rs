//! Builds the schema table of Kubernetes' own types into `OUT_DIR`: from the
//! JSON schemas of the k8s-openapi crate and the protobuf tags and markers in
//! the sources of the k8s-pb crate. Nothing of it is kept in the repository.

#![expect(
    clippy::print_stdout,
    reason = "this is how a build script speaks to cargo"
)]

mod facts;
mod join;
mod locate;
mod pb;
mod pb_only;
mod roots;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use join::TypeRow;

fn main() {
    for file in ["facts", "join", "locate", "main", "pb", "pb_only", "roots"] {
        println!("cargo::rerun-if-changed=build/{file}.rs");
    }
    println!("cargo::rerun-if-changed=build/presence.tsv");
    println!("cargo::rerun-if-changed=build/additions.tsv");

    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let roots = roots::register(&mut generator);
    let definitions = generator.take_definitions(true);
    let messages = pb::read(&locate::source_of("k8s-pb"));
    let facts = facts::Facts::read();
    let rows = join::join(&definitions, &roots, &messages, &facts);
    let unused = facts.unused();
    assert!(
        unused.is_empty(),
        "presence.tsv names what does not exist: {unused:?}"
    );

    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    };
    write("table.tsv", table(&rows).as_bytes());
    let docs = serde_json::to_vec(&docs(&rows)).expect("strings serialize");
    write(
        "docs.json.zst",
        &zstd::encode_all(&docs[..], 19).expect("compressing to memory cannot fail"),
    );
}

/// The table: a line a type, then a line a field, columns split by tabs.
fn table(rows: &BTreeMap<String, TypeRow>) -> String {
    let index: BTreeMap<&str, usize> = rows
        .keys()
        .enumerate()
        .map(|(i, name)| (name.as_str(), i))
        .collect();
    let mut out = String::new();
    for row in rows.values() {
        let atomic = if row.atomic { "atomic" } else { "" };
        let wire = if row.wire { "wire" } else { "" };
        writeln!(
            out,
            "T\t{}\t{}\t{atomic}\t{wire}\t{}",
            row.name,
            row.form,
            row.gvks.join(",")
        )
        .expect("writing to a string");
        for (json, field) in &row.fields {
            let path: Vec<String> = field.path.iter().map(u32::to_string).collect();
            writeln!(
                out,
                "F\t{json}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                with_index(&field.ty, &index),
                path.join("."),
                field.presence,
                if field.required { "r" } else { "" },
                field.list_type,
                field.list_map_keys.join(","),
                field.map_type,
                field.merge_key,
                field.strategies,
                field.default,
            )
            .expect("writing to a string");
        }
    }
    out
}

/// Replaces the name in a type code by the row's number.
fn with_index(code: &str, index: &BTreeMap<&str, usize>) -> String {
    match code.split_once('#') {
        Some((prefix, name)) => {
            let number = index
                .get(name)
                .unwrap_or_else(|| panic!("no schema for {name}"));
            format!("{prefix}#{number}")
        }
        None => code.to_owned(),
    }
}

fn docs(rows: &BTreeMap<String, TypeRow>) -> serde_json::Value {
    rows.values()
        .map(|row| {
            let mut texts: serde_json::Map<String, serde_json::Value> = row
                .fields
                .iter()
                .map(|(json, field)| (json.clone(), field.docs.clone().into()))
                .collect();
            texts.insert(String::new(), row.docs.clone().into());
            (row.name.clone(), serde_json::Value::Object(texts))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
