//! The layers that the crates state are the layers that they keep.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(xtask::paths::root())
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Normal and build dependencies; what tests use may come from anywhere.
fn dependencies(package: &Value) -> Vec<&str> {
    let all = package["dependencies"].as_array().expect("a list");
    let used = all.iter().filter(|dependency| dependency["kind"] != "dev");
    used.filter_map(|dependency| dependency["name"].as_str())
        .collect()
}

#[test]
fn every_dependency_points_to_a_lower_layer() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list");
    let mut layers: BTreeMap<&str, u64> = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        if name.starts_with("kontiki") {
            let layer = package["metadata"]["kontiki"]["layer"].as_u64();
            layers.insert(
                name,
                layer.unwrap_or_else(|| panic!("{name} states no layer")),
            );
        }
    }
    assert!(layers.len() > 20, "cargo metadata lists only {layers:?}");
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let Some(own) = layers.get(name) else {
            continue;
        };
        for dependency in dependencies(package) {
            // Within the lowest layers an interface may build on another.
            match layers.get(dependency) {
                Some(layer) if layer > own || (layer == own && *own >= 3) => {
                    wrong.push(format!(
                        "{name} (layer {own}) depends on {dependency} (layer {layer})"
                    ));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
