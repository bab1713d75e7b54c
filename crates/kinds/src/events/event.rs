//! `events.k8s.io/v1` `Event`.

use crate::core::event_checks;
use crate::kind::texts;
use crate::kind::{Conversion, SelectableField};
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::{Kind, Storage};
use std::sync::Arc;

pub(crate) fn kind() -> Kind {
    Kind {
        storage: Some(Storage::new("/registry/events".into(), "v1".into())),
        ttl_seconds: Some(3600),
        short_names: texts(&["ev"]),
        selectable_fields: vec![
            SelectableField::new("reason", |e| crate::tree::text(e, "reason").into()),
            SelectableField::new("type", |e| crate::tree::text(e, "type").into()),
        ],
        conversion: Some(Conversion {
            to_stored: crate::core::event::from_events,
            from_stored: crate::core::event::to_events,
        }),
        strategy: Rules {
            create_on_update: true,
            validate: |object| event_checks::of_either(object, "reportingController"),
            validate_create: event_checks::create,
            validate_update: event_checks::update,
            name: names::dns_subdomain,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("events.k8s.io", "v1", "Event", "events")
    }
}

/// Core's columns, read through core's form of the event.
fn columns() -> Vec<Column> {
    let adapt = |column: Column| {
        let inner = column.cell.clone();
        Column {
            cell: Arc::new(move |object, context| {
                let mut core = object.clone();
                crate::core::event::from_events(&mut core);
                inner(&core, context)
            }),
            ..column
        }
    };
    let core = crate::core::event::kind().columns;
    core.into_iter().map(adapt).collect()
}
