//! `certificates.k8s.io/v1` `CertificateSigningRequest`.

use crate::kind::texts;
use crate::{Kind, Subresource};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["csr"]),
        subresources: vec![
            Subresource::of_object("approval", "CertificateSigningRequest"),
            Subresource::status("CertificateSigningRequest"),
        ],
        ..Kind::cluster(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
        )
    }
}
