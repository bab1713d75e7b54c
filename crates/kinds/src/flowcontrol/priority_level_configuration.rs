//! `flowcontrol.apiserver.k8s.io/v1` `PriorityLevelConfiguration`.

use crate::Tree;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, default_nonzero, map_mut, map_mut_at, text_at};
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("PriorityLevelConfiguration")],
        defaults,
        strategy: Rules {
            validate: super::checks::priority_level,
            generation: &["spec"],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Type",
            "string",
            "`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required.",
            |o, _| text_at(o, &["spec", "type"]).into(),
        ),
        Column::new(
            "NominalConcurrencyShares",
            "string",
            "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level. The server's concurrency limit (ServerCL) is divided among the Limited priority levels in proportion to their NCS values:\n\nNominalCL(i)  = ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] NCS(k)\n\nBigger numbers mean a larger nominal concurrency limit, at the expense of every other priority level.\n\nIf not specified, this field defaults to a value of 30.\n\nSetting this field to zero supports the construction of a \"jail\" for this priority level that is used to hold some request(s)",
            |o, _| or_none(at(o, &["spec", "limited", "nominalConcurrencyShares"])),
        ),
        Column::new(
            "Queues",
            "string",
            "`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64.",
            |o, _| {
                or_none(at(
                    o,
                    &["spec", "limited", "limitResponse", "queuing", "queues"],
                ))
            },
        ),
        Column::new(
            "HandSize",
            "string",
            "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8.",
            |o, _| {
                or_none(at(
                    o,
                    &["spec", "limited", "limitResponse", "queuing", "handSize"],
                ))
            },
        ),
        Column::new(
            "QueueLengthLimit",
            "string",
            "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time; excess requests are rejected.  This value must be positive.  If not specified, it will be defaulted to 50.",
            |o, _| {
                or_none(at(
                    o,
                    &[
                        "spec",
                        "limited",
                        "limitResponse",
                        "queuing",
                        "queueLengthLimit",
                    ],
                ))
            },
        ),
        Column::age(),
    ]
}

fn or_none(value: Option<&Value>) -> Value {
    value.cloned().unwrap_or_else(|| "<none>".into())
}

fn defaults(object: &mut Tree) {
    let Some(spec) = map_mut(object, "spec") else {
        return;
    };
    for (field, shares) in [("exempt", 0), ("limited", 30)] {
        if let Some(level) = map_mut(spec, field) {
            default(level, "nominalConcurrencyShares", shares);
            default(level, "lendablePercent", 0);
        }
    }
    if let Some(queuing) = map_mut_at(spec, &["limited", "limitResponse", "queuing"]) {
        for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            default_nonzero(queuing, field, value);
        }
    }
}
