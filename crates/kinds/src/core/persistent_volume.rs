//! `core/v1` `PersistentVolume`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pv"]),
        subresources: vec![Subresource::status("PersistentVolume")],
        ..Kind::cluster("", "v1", "PersistentVolume", "persistentvolumes")
    }
}
