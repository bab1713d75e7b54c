//! `autoscaling/v2` `HorizontalPodAutoscaler`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["hpa"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("HorizontalPodAutoscaler")],
        ..Kind::namespaced(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
    }
}
