//! `autoscaling/v1` `HorizontalPodAutoscaler`.

use crate::kind::texts;
use crate::{Kind, Storage, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        storage: Some(Storage::new(
            "/registry/horizontalpodautoscalers".into(),
            "autoscaling/v2".into(),
        )),
        short_names: texts(&["hpa"]),
        categories: texts(&["all"]),
        subresources: vec![Subresource::status("HorizontalPodAutoscaler")],
        ..Kind::namespaced(
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
    }
}
