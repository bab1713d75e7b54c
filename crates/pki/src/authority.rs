//! A certificate authority.

use crate::credentials::{certificates, parse, validity};
use crate::request::{alternative_names, names_of, subject};
use crate::{CertificateRequest, Credentials, PkiError, PrivateKey, Profile, Usages, der, key};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use std::path::Path;
use x509_parser::extensions::ParsedExtension;

/// How long a new CA is valid.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);
/// Certificates are valid a little before now, because clocks differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A certificate authority: its certificate and its key.
#[derive(Clone, Debug)]
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKey,
}

/// What a signer adds to a request.
#[derive(Clone, Debug)]
pub struct SigningPolicy {
    /// What the certificate may be used for.
    pub usages: Usages,
    /// How long it is valid; never beyond the CA itself.
    pub lifetime: SignedDuration,
}

impl Authority {
    /// Makes a new CA.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn create(common_name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let key = PrivateKey::generate()?;
        let name = subject(common_name, &[]);
        let body = Body {
            issuer: name.clone(),
            subject: name,
            public_key: key.public_key_der(),
            not_before: now - CLOCK_SKEW,
            not_after: now + LIFETIME,
            usages: Usages::AUTHORITY,
            is_authority: true,
            issuer_key_id: None,
            names: None,
        };
        let der = body.sign(&key)?;
        Self::from_pem(&key::pem("CERTIFICATE", &der), key.to_pem())
    }

    /// Reads a CA.
    ///
    /// # Errors
    /// If it is malformed, no CA, or its certificate and key do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let credentials = Credentials::from_pem(certificate_pem, key_pem)?;
        let certificate = credentials.chain()?.swap_remove(0);
        let (parsed, name) = parse(&certificate)?;
        if !parsed.is_ca() {
            return Err(PkiError::Certificate {
                what: name,
                why: "it is not a certificate authority".into(),
            });
        }
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            certificate,
            key: credentials.key,
        })
    }

    /// Its certificate in PEM form.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its certificate in DER form.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key in PEM form. Mind where it goes.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        self.key.to_pem()
    }

    /// SHA-256 of its certificate, in hex: what join tokens pin.
    #[must_use]
    pub fn pin(&self) -> String {
        pin(&self.certificate)
    }

    /// Issues a certificate for a new key.
    ///
    /// The chain ends with the CA's own certificate, so that a joining node that
    /// knows nothing but the pin finds it in the handshake.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn issue(&self, profile: &Profile, now: Timestamp) -> Result<Credentials, PkiError> {
        let key = PrivateKey::generate()?;
        let names = alternative_names(&profile.dns_names, &profile.ip_addresses, &[], &[]);
        let leaf = self.certify(
            subject(&profile.common_name, &profile.organizations),
            key.public_key_der(),
            names,
            &profile.usages,
            profile.lifetime,
            now,
        )?;
        Ok(Credentials {
            chain_pem: format!("{leaf}{}", self.certificate_pem),
            key,
        })
    }

    /// Uses the certificate at `stem.crt`/`stem.key` while it is good for the
    /// profile and has more than a third of its life left; issues it otherwise.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn ensure(
        &self,
        stem: &Path,
        profile: &Profile,
        now: Timestamp,
    ) -> Result<Credentials, PkiError> {
        if let Ok(present) = Credentials::load(stem)
            && self.is_good(&present, profile, now).unwrap_or(false)
        {
            return Ok(present);
        }
        let fresh = self.issue(profile, now)?;
        fresh.store(stem)?;
        Ok(fresh)
    }

    fn is_good(
        &self,
        present: &Credentials,
        profile: &Profile,
        now: Timestamp,
    ) -> Result<bool, PkiError> {
        let chain = present.chain()?;
        let (leaf, _) = parse(&chain[0])?;
        let (authority, _) = parse(&self.certificate)?;
        let (dns, addresses) = names_of(&chain[0])?;
        let wanted = subject(&profile.common_name, &profile.organizations);
        Ok(leaf.verify_signature(Some(authority.public_key())).is_ok()
            && leaf.subject().as_raw() == wanted
            && profile.dns_names.iter().all(|name| dns.contains(name))
            && profile.ip_addresses.iter().all(|ip| addresses.contains(ip))
            && !present.needs_renewal(now)?)
    }

    /// Signs a request: its subject, names and key, with the policy's usages.
    /// The answer is the certificate alone, in PEM form.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        policy: &SigningPolicy,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let names = alternative_names(
            &request.dns_names,
            &request.ip_addresses,
            &request.email_addresses,
            &request.uris,
        );
        self.certify(
            request.subject.clone(),
            request.public_key.clone(),
            names,
            &policy.usages,
            policy.lifetime,
            now,
        )
    }

    fn certify(
        &self,
        subject: Vec<u8>,
        public_key: Vec<u8>,
        names: Option<Vec<u8>>,
        usages: &Usages,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let (authority, _) = parse(&self.certificate)?;
        let (_, authority_ends) = validity(&self.certificate)?;
        let key_id = authority.extensions().iter().find_map(|extension| {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            }
        });
        let body = Body {
            issuer: authority.subject().as_raw().to_vec(),
            subject,
            public_key,
            not_before: now - CLOCK_SKEW,
            not_after: (now + lifetime).min(authority_ends),
            usages: usages.clone(),
            is_authority: false,
            issuer_key_id: key_id,
            names,
        };
        Ok(key::pem("CERTIFICATE", &body.sign(&self.key)?))
    }
}

/// SHA-256 of a certificate, in hex.
pub(crate) fn pin(certificate: &CertificateDer<'_>) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate))
}

/// What is signed.
struct Body {
    issuer: Vec<u8>,
    subject: Vec<u8>,
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    usages: Usages,
    is_authority: bool,
    issuer_key_id: Option<Vec<u8>>,
    names: Option<Vec<u8>>,
}

impl Body {
    fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, PkiError> {
        let mut serial = key::random::<16>()?;
        // Positive and of full length.
        serial[0] = serial[0] & 0x7f | 0x40;
        let body = der::sequence(&[
            der::explicit(0, &der::unsigned(&[2])),
            der::unsigned(&serial),
            key.algorithm()?,
            self.issuer.clone(),
            der::sequence(&[der::time(self.not_before), der::time(self.not_after)]),
            self.subject.clone(),
            self.public_key.clone(),
            der::explicit(3, &der::sequence(&self.extensions())),
        ]);
        let (algorithm, signature) = key.sign(&body)?;
        Ok(der::sequence(&[body, algorithm, der::bits(&signature)]))
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let critical = || der::element(der::BOOLEAN, &[0xff]);
        let extension = |number: u32, is_critical: bool, content: &[u8]| {
            let mut parts = vec![der::oid(&[2, 5, 29, number])];
            if is_critical {
                parts.push(critical());
            }
            parts.push(der::element(der::OCTET_STRING, content));
            der::sequence(&parts)
        };
        let mut all = Vec::new();
        if self.usages.key != 0 {
            all.push(extension(15, true, &der::flags(self.usages.key)));
        }
        let extended = self.usages.extended_oids();
        if !extended.is_empty() {
            all.push(extension(37, false, &der::sequence(&extended)));
        }
        let constraints = if self.is_authority {
            der::sequence(&[critical()])
        } else {
            der::sequence(&[])
        };
        all.push(extension(19, true, &constraints));
        if self.is_authority {
            let digest = ring::digest::digest(&ring::digest::SHA256, &self.public_key);
            let id = der::element(der::OCTET_STRING, &digest.as_ref()[..20]);
            all.push(extension(14, false, &id));
        }
        if let Some(id) = &self.issuer_key_id {
            let content = der::sequence(&[der::element(0x80, id)]);
            all.push(extension(35, false, &content));
        }
        if let Some(names) = &self.names {
            all.push(extension(17, false, names));
        }
        all
    }
}

/// The certificates of a CA bundle in PEM form.
pub(crate) fn bundle(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    certificates(pem)
}

#[cfg(test)]
mod tests;
