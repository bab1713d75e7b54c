//! Certificate signing requests, as nodes and users make them.

use crate::credentials::parse;
use crate::{PkiError, PrivateKey, Profile, der, key};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// What a key may be used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// Bits of the `keyUsage` extension, bit 0 = digital signature.
    pub(crate) key: u16,
    /// Bits into [`EXTENDED`].
    pub(crate) extended: u16,
}

const KEY: [(&str, u16); 10] = [
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

const EXTENDED: [(&str, &[u32]); 12] = [
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("any", &[2, 5, 29, 37, 0]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
];

impl Usages {
    /// What TLS servers need.
    pub const SERVER: Self = Self {
        key: 0b101,
        extended: 0b01,
    };
    /// What TLS clients need.
    pub const CLIENT: Self = Self {
        key: 0b101,
        extended: 0b10,
    };
    /// What a CA needs: signature, certificates and revocation lists.
    pub(crate) const AUTHORITY: Self = Self {
        key: 0b110_0101,
        extended: 0,
    };

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            key: self.key | other.key,
            extended: self.extended | other.extended,
        }
    }

    /// From the words of `CertificateSigningRequest.spec.usages`.
    ///
    /// # Errors
    /// The first word that is not known.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, PkiError> {
        let mut usages = Self::default();
        for word in words {
            if let Some((_, bit)) = KEY.iter().find(|(name, _)| *name == word) {
                usages.key |= 1 << bit;
            } else if let Some(at) = EXTENDED.iter().position(|(name, _)| *name == word) {
                usages.extended |= 1 << at;
            } else {
                return Err(PkiError::Request(format!("unknown key usage \"{word}\"")));
            }
        }
        Ok(usages)
    }

    pub(crate) fn extended_oids(&self) -> Vec<Vec<u8>> {
        (0..EXTENDED.len())
            .filter(|at| self.extended & (1 << at) != 0)
            .map(|at| der::oid(EXTENDED[at].1))
            .collect()
    }
}

/// What a request asks to be certified. Its signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Common name of the subject.
    pub common_name: String,
    /// Organizations of the subject.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub email_addresses: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    pub(crate) subject: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a request in PEM form and checks that its key signed it.
    ///
    /// # Errors
    /// If it is malformed or its signature is wrong.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let bad = |why: &dyn std::fmt::Display| PkiError::Request(why.to_string());
        let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
            .map_err(|error| bad(&error))?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| bad(&error))?;
        request.verify_signature().map_err(|error| bad(&error))?;
        let info = &request.certification_request_info;
        let texts = |values: Vec<Result<&str, x509_parser::error::X509Error>>| {
            values
                .into_iter()
                .map(|value| value.map(str::to_owned))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| bad(&error))
        };
        let names = texts(
            info.subject
                .iter_common_name()
                .map(|a| a.as_str())
                .collect(),
        )?;
        let organizations = texts(
            info.subject
                .iter_organization()
                .map(|a| a.as_str())
                .collect(),
        )?;
        let mut parsed = Self {
            common_name: names.into_iter().next_back().unwrap_or_default(),
            organizations,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            email_addresses: Vec::new(),
            uris: Vec::new(),
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    parsed.take_name(name)?;
                }
            }
        }
        Ok(parsed)
    }

    fn take_name(&mut self, name: &GeneralName<'_>) -> Result<(), PkiError> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.email_addresses.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => self.ip_addresses.push(address(bytes)?),
            other => {
                return Err(PkiError::Request(format!("unsupported name {other}")));
            }
        }
        Ok(())
    }

    /// Makes a request for a profile, signed by its key.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn create(profile: &Profile, key: &PrivateKey) -> Result<String, PkiError> {
        let mut attributes = Vec::new();
        if let Some(names) = alternative_names(&profile.dns_names, &profile.ip_addresses, &[], &[])
        {
            // extensionRequest: what the certificate should have.
            let extensions = der::sequence(&[der::sequence(&[
                der::oid(&[2, 5, 29, 17]),
                der::element(der::OCTET_STRING, &names),
            ])]);
            attributes = der::sequence(&[
                der::oid(&[1, 2, 840, 113_549, 1, 9, 14]),
                der::element(der::SET, &extensions),
            ]);
        }
        let info = der::sequence(&[
            der::unsigned(&[0]),
            subject(&profile.common_name, &profile.organizations),
            key.public_key_der(),
            der::explicit(0, &attributes),
        ]);
        let (algorithm, signature) = key.sign(&info)?;
        let request = der::sequence(&[info, algorithm, der::bits(&signature)]);
        Ok(key::pem("CERTIFICATE REQUEST", &request))
    }
}

pub(crate) fn address(bytes: &[u8]) -> Result<IpAddr, PkiError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .map_err(|_| PkiError::Request("an address has neither 4 nor 16 bytes".into()))
}

/// A distinguished name: the organizations, then the common name.
pub(crate) fn subject(common_name: &str, organizations: &[String]) -> Vec<u8> {
    let attribute = |kind: u32, value: &str| {
        let pair = der::sequence(&[der::oid(&[2, 5, 4, kind]), der::text(value)]);
        der::element(der::SET, &pair)
    };
    let mut parts: Vec<Vec<u8>> = organizations.iter().map(|o| attribute(10, o)).collect();
    parts.push(attribute(3, common_name));
    der::sequence(&parts)
}

/// The content of a `subjectAltName` extension; `None` if there are no names.
pub(crate) fn alternative_names(
    dns: &[String],
    addresses: &[IpAddr],
    emails: &[String],
    uris: &[String],
) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    for (tag, texts) in [(0x81, emails), (0x82, dns), (0x86, uris)] {
        names.extend(texts.iter().map(|text| der::element(tag, text.as_bytes())));
    }
    for address in addresses {
        names.push(match address {
            IpAddr::V4(v4) => der::element(0x87, &v4.octets()),
            IpAddr::V6(v6) => der::element(0x87, &v6.octets()),
        });
    }
    (!names.is_empty()).then(|| der::sequence(&names))
}

/// The DNS names and addresses of a certificate.
pub(crate) fn names_of(
    certificate: &CertificateDer<'_>,
) -> Result<(Vec<String>, Vec<IpAddr>), PkiError> {
    let (certificate, subject) = parse(certificate)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| PkiError::Certificate {
            what: subject,
            why: error.to_string(),
        })?;
    let (mut dns, mut addresses) = (Vec::new(), Vec::new());
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.push(address(bytes)?),
            _ => {}
        }
    }
    Ok((dns, addresses))
}
