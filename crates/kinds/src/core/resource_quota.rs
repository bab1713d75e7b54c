//! `core/v1` `ResourceQuota`.

use crate::kind::texts;
use crate::rules::Rules;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["quota"]),
        subresources: vec![Subresource::status("ResourceQuota")],
        strategy: Rules { ..Rules::PLAIN }.strategy(),
        ..Kind::namespaced("", "v1", "ResourceQuota", "resourcequotas")
    }
}
