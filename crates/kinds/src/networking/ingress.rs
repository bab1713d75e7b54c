//! `networking.k8s.io/v1` `Ingress`.

use crate::kind::texts;
use crate::rules::Rules;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ing"]),
        subresources: vec![Subresource::status("Ingress")],
        strategy: Rules {
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        ..Kind::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses")
            .stored_at("/registry/ingress")
    }
}
