//! `networking.k8s.io/v1` `Ingress`.

use crate::cells;
use crate::kind::texts;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::list_at;
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
        columns: columns(),
        ..Kind::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses")
            .stored_at("/registry/ingress")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Class",
            "string",
            "The name of the IngressClass resource that should be used for additional configuration",
            |o, _| cells::text_or(o, &["spec", "ingressClassName"], "<none>"),
        ),
        Column::new(
            "Hosts",
            "string",
            "Hosts that incoming requests are matched against before the ingress rule",
            |o, _| cells::hosts(o),
        ),
        Column::new(
            "Address",
            "string",
            "Address is a list containing ingress points for the load-balancer",
            |o, _| cells::balancer(o),
        ),
        Column::new(
            "Ports",
            "string",
            "Ports of TLS configurations that open",
            |o, _| {
                (if list_at(o, &["spec", "tls"]).is_empty() {
                    "80"
                } else {
                    "80, 443"
                })
                .into()
            },
        ),
        Column::age(),
    ]
}
