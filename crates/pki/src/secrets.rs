//! What the servers of one cluster share.

use crate::{Authority, PkiError, PrivateKey, files};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the key that signs service-account tokens lies in the directory.
pub const SERVICE_ACCOUNT_KEY_FILE: &str = "sa.key";
const SERVICE_ACCOUNT_PUBLIC_FILE: &str = "sa.pub";
/// More verification keys, one after the other, for rotation; optional.
const SERVICE_ACCOUNT_OLD_FILE: &str = "sa-old.pub";

/// Stem and common name of each CA.
const AUTHORITIES: [(&str, &str); 3] = [
    ("ca", "kubernetes"),
    ("store-ca", "kontiki-store"),
    ("front-proxy-ca", "front-proxy-ca"),
];

/// The authorities and keys that the servers of one cluster share.
#[derive(Clone, Debug)]
pub struct ClusterSecrets {
    /// Vouches for servers, nodes, components and users.
    pub cluster: Authority,
    /// Vouches for the store's members and its clients, and for nobody else.
    pub store: Authority,
    /// Vouches for the proxy that may speak for other users.
    pub front_proxy: Authority,
    /// Signs service-account tokens.
    pub service_account_key: PrivateKey,
    /// Public keys, in PEM form, of older signing keys whose tokens still count.
    pub old_service_account_keys: String,
}

impl ClusterSecrets {
    /// Makes the secrets of a new cluster.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn create(now: Timestamp) -> Result<Self, PkiError> {
        let [cluster, store, front_proxy] =
            AUTHORITIES.map(|(_, name)| Authority::create(name, now));
        Ok(Self {
            cluster: cluster?,
            store: store?,
            front_proxy: front_proxy?,
            service_account_key: PrivateKey::generate()?,
            old_service_account_keys: String::new(),
        })
    }

    /// Reads the secrets of a directory, or makes them if it is empty or not there.
    ///
    /// # Errors
    /// If only some files are there, one is malformed or cannot be read or written.
    pub fn load_or_create(directory: &Path, now: Timestamp) -> Result<Self, PkiError> {
        match Self::load(directory)? {
            Some(secrets) => Ok(secrets),
            None => {
                let secrets = Self::create(now)?;
                secrets.store(directory)?;
                Ok(secrets)
            }
        }
    }

    /// Reads the secrets of a directory; `None` if it has none of them.
    ///
    /// # Errors
    /// If only some files are there, or one is malformed or cannot be read.
    pub fn load(directory: &Path) -> Result<Option<Self>, PkiError> {
        let mut found = BTreeMap::new();
        let mut missing = None;
        for name in required() {
            let path = directory.join(&name);
            if path.exists() {
                found.insert(name, files::read(&path)?);
            } else {
                missing = missing.or(Some(name));
            }
        }
        match missing {
            Some(_) if found.is_empty() => return Ok(None),
            Some(missing) => {
                return Err(PkiError::Incomplete {
                    directory: directory.to_owned(),
                    missing,
                });
            }
            None => {}
        }
        let old = directory.join(SERVICE_ACCOUNT_OLD_FILE);
        if old.exists() {
            found.insert(SERVICE_ACCOUNT_OLD_FILE.to_owned(), files::read(&old)?);
        }
        Self::from_files(&found).map(Some)
    }

    /// Writes the secrets to a directory that has none: all of them or nothing.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn store(&self, directory: &Path) -> Result<(), PkiError> {
        let fresh = sibling(directory);
        files::remove_directory(&fresh)?;
        let into = if directory.exists() {
            directory
        } else {
            &*fresh
        };
        files::make_directory(into)?;
        for (name, content) in self.to_files() {
            files::write_private(&into.join(name), &content)?;
        }
        let public = self.service_account_key.public_key_pem();
        files::write_private(&into.join(SERVICE_ACCOUNT_PUBLIC_FILE), &public)?;
        if into == directory {
            return Ok(());
        }
        files::rename(&fresh, directory)
    }

    /// Everything in one text, for a joining server. It must travel over TLS only.
    #[must_use]
    pub fn to_bundle(&self) -> String {
        serde_json::to_string(&self.to_files()).expect("a map of texts always encodes")
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// If something is missing or malformed.
    pub fn from_bundle(bundle: &str) -> Result<Self, PkiError> {
        // serde's message could quote a key, so it says only where.
        let found: BTreeMap<String, String> = serde_json::from_str(bundle).map_err(|error| {
            PkiError::Bundle(format!(
                "at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        Self::from_files(&found)
    }

    fn to_files(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for ((stem, _), authority) in AUTHORITIES.iter().zip(self.authorities()) {
            all.insert(
                format!("{stem}.crt"),
                authority.certificate_pem().to_owned(),
            );
            all.insert(format!("{stem}.key"), authority.key_pem().to_owned());
        }
        all.insert(
            SERVICE_ACCOUNT_KEY_FILE.to_owned(),
            self.service_account_key.to_pem().to_owned(),
        );
        if !self.old_service_account_keys.is_empty() {
            all.insert(
                SERVICE_ACCOUNT_OLD_FILE.to_owned(),
                self.old_service_account_keys.clone(),
            );
        }
        all
    }

    fn from_files(found: &BTreeMap<String, String>) -> Result<Self, PkiError> {
        let text = |name: &str| {
            found
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| PkiError::Bundle(format!("{name} is missing")))
        };
        let authority = |stem: &str| {
            Authority::from_pem(text(&format!("{stem}.crt"))?, text(&format!("{stem}.key"))?)
        };
        Ok(Self {
            cluster: authority(AUTHORITIES[0].0)?,
            store: authority(AUTHORITIES[1].0)?,
            front_proxy: authority(AUTHORITIES[2].0)?,
            service_account_key: PrivateKey::from_pem(text(SERVICE_ACCOUNT_KEY_FILE)?)?,
            old_service_account_keys: found
                .get(SERVICE_ACCOUNT_OLD_FILE)
                .cloned()
                .unwrap_or_default(),
        })
    }

    fn authorities(&self) -> [&Authority; 3] {
        [&self.cluster, &self.store, &self.front_proxy]
    }
}

fn required() -> Vec<String> {
    let mut names: Vec<String> = AUTHORITIES
        .iter()
        .flat_map(|(stem, _)| [format!("{stem}.crt"), format!("{stem}.key")])
        .collect();
    names.push(SERVICE_ACCOUNT_KEY_FILE.to_owned());
    names
}

fn sibling(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    directory.with_file_name(name)
}
