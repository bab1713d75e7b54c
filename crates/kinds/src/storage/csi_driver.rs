//! `storage.k8s.io/v1` `CSIDriver`.

use crate::Kind;

pub(crate) fn kind() -> Kind {
    Kind::cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers")
}
