//! `apiextensions.k8s.io/v1` `CustomResourceDefinition`.

use crate::kind::texts;
use crate::{Kind, Storage, Subresource};

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
        ..Kind::cluster(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
    }
}
