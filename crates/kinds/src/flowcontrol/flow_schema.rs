//! `flowcontrol.apiserver.k8s.io/v1` `FlowSchema`.

use crate::Tree;
use crate::cells;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default_nonzero, make, number_at, text_at};
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("FlowSchema")],
        defaults,
        strategy: Rules {
            validate: super::checks::flow_schema,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "FlowSchema",
            "flowschemas",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "PriorityLevel",
            "string",
            "`name` is the name of the priority level configuration being referenced Required.",
            |o, _| text_at(o, &["spec", "priorityLevelConfiguration", "name"]).into(),
        ),
        Column::new(
            "MatchingPrecedence",
            "string",
            "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default.",
            |o, _| number_at(o, &["spec", "matchingPrecedence"]).into(),
        ),
        Column::new(
            "DistinguisherMethod",
            "string",
            "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string.",
            |o, _| cells::text_or(o, &["spec", "distinguisherMethod", "type"], "<none>"),
        ),
        Column::age(),
        Column::new(
            "MissingPL",
            "string",
            "references a broken or non-existent PriorityLevelConfiguration",
            |o, _| cells::condition_status(o, "Dangling", "?"),
        ),
    ]
}

fn defaults(object: &mut Tree) {
    default_nonzero(make(object, "spec"), "matchingPrecedence", 1000);
}
