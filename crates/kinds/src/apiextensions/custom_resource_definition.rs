//! `apiextensions.k8s.io/v1` `CustomResourceDefinition`.

use crate::Tree;
use crate::kind::texts;
use crate::rules::Rules;
use crate::strategy::Context;
use crate::tree::{default, flag, make, map, map_mut_at, maps, text};
use crate::{Kind, Storage, Subresource};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        storage: Some(Storage {
            // Upstream writes the smaller beta form; what is written here is the served form.
            hashed_api_version: "apiextensions.k8s.io/v1beta1".into(),
            ..Storage::new(
                "/registry/apiextensions.k8s.io/customresourcedefinitions".into(),
                "apiextensions.k8s.io/v1".into(),
            )
        }),
        short_names: texts(&["crd", "crds"]),
        categories: texts(&["api-extensions"]),
        subresources: vec![Subresource::status("CustomResourceDefinition")],
        defaults,
        strategy: Rules {
            generation: &["spec"],
            create,
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::cluster(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    let names = make(spec, "names");
    let kind = text(names, "kind").to_owned();
    default(names, "singular", kind.to_lowercase());
    if !kind.is_empty() {
        default(names, "listKind", format!("{kind}List"));
    }
    default(make(spec, "conversion"), "strategy", "None");
    if let Some(service) = map_mut_at(spec, &["conversion", "webhook", "clientConfig", "service"]) {
        default(service, "port", 443);
    }
}

/// What is stored so far is the version that is stored first.
fn create(_: &Context<'_>, object: &mut Tree) {
    let stored = map(object, "spec")
        .into_iter()
        .flat_map(|spec| maps(spec, "versions"));
    let name = stored
        .filter(|version| flag(version, "storage") == Some(true))
        .map(|version| text(version, "name").to_owned())
        .next();
    object.insert(
        "status".into(),
        json!({
            "conditions": null,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": name.into_iter().collect::<Vec<_>>(),
        }),
    );
}
