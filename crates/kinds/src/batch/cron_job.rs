//! `batch/v1` `CronJob`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cj"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("CronJob")],
        ..Kind::namespaced("batch", "v1", "CronJob", "cronjobs")
    }
}
