//! `batch/v1` `Job`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("Job")],
        ..Kind::namespaced("batch", "v1", "Job", "jobs")
    }
}
