//! The key store: the keys that seal data, themselves sealed.

use crate::cipher::{Cipher, Unsealing};
use crate::key_file::{KeyFile, KeyFileError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::{Mutex, RwLock};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

const VERSION: u32 = 1;
/// What the key store is sealed for.
const PURPOSE: &[u8] = b"kontiki key store 1";
/// A data key's number, before what it sealed.
const NUMBER_BYTES: usize = 8;

/// Why the key store cannot be used.
#[derive(Debug, Error)]
pub enum SealError {
    /// The operators' keys cannot be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Their file lacks the key.
    #[error(
        "{path} is sealed with the encryption key {name:?}, which the key file does not hold: put that key back, behind the one that shall be in use"
    )]
    NoKey {
        /// The key store.
        path: String,
        /// The key's name.
        name: String,
    },
    /// The key of that name is another.
    #[error(
        "the encryption key {name:?} does not open {path}: it is not the key of that name with which it was sealed, or the file is damaged"
    )]
    WrongKey {
        /// The key store.
        path: String,
        /// The key's name.
        name: String,
    },
    /// The key store is not one.
    #[error("{path} is no key store that this program knows: {reason}")]
    Malformed {
        /// The key store.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The system refused something.
    #[error("cannot write {path}")]
    Io {
        /// The key store.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// The key store's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    version: u32,
    sealed_with: String,
    keys: String,
}

/// What is sealed in it.
#[derive(Clone, Serialize, Deserialize)]
struct Secrets {
    /// Makes tokens of names.
    names: [u8; 32],
    /// The data key that seals.
    active: u64,
    data: BTreeMap<u64, [u8; 32]>,
}

struct Open {
    sealed_with: String,
    secrets: Secrets,
    ciphers: BTreeMap<u64, Arc<Cipher>>,
    names: hmac::Key,
}

/// The keys that seal a member's data.
pub struct Keyring {
    path: PathBuf,
    key_file: PathBuf,
    random: SystemRandom,
    open: RwLock<Open>,
    /// Held while the key store is being written.
    writing: Mutex<()>,
}

impl Keyring {
    /// Opens the key store at `path` with the keys in `key_file`, or makes one if
    /// there is none.
    pub fn open(path: &Path, key_file: &Path) -> Result<Arc<Self>, SealError> {
        let keys = KeyFile::read(key_file)?;
        let random = SystemRandom::new();
        let (open, is_new) = match fs::read(path) {
            Ok(bytes) => (read(path, &bytes, &keys)?, false),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut secrets = Secrets {
                    names: draw(&random),
                    active: 0,
                    data: BTreeMap::new(),
                };
                secrets.add_key(&random);
                (Open::new(keys.first().0.to_owned(), secrets), true)
            }
            Err(source) => return Err(failed(path)(source)),
        };
        let ring = Self {
            path: path.to_owned(),
            key_file: key_file.to_owned(),
            random,
            open: RwLock::new(open),
            writing: Mutex::default(),
        };
        if is_new {
            let secrets = ring.open.read().secrets.clone();
            ring.write(&keys, &secrets)?;
        }
        ring.turn_to(&keys)?;
        Ok(Arc::new(ring))
    }

    /// Whether there is a key store.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// Reads the operators' keys again; whether another one is in use now.
    pub fn reload(&self) -> Result<bool, SealError> {
        self.turn_to(&KeyFile::read(&self.key_file)?)
    }

    /// If another key than before comes first, seals the key store with it, and
    /// everything from now on with a new data key.
    fn turn_to(&self, keys: &KeyFile) -> Result<bool, SealError> {
        let _writing = self.writing.lock();
        let (name, _) = keys.first();
        let mut secrets = {
            let open = self.open.read();
            if open.sealed_with == name {
                return Ok(false);
            }
            open.secrets.clone()
        };
        secrets.add_key(&self.random);
        self.write(keys, &secrets)?;
        *self.open.write() = Open::new(name.to_owned(), secrets);
        Ok(true)
    }

    fn write(&self, keys: &KeyFile, secrets: &Secrets) -> Result<(), SealError> {
        let (name, secret) = keys.first();
        let plain = serde_json::to_vec(secrets).expect("plain data");
        let mut sealed = Vec::new();
        Cipher::new(secret).seal(&self.random, PURPOSE, &plain, &mut sealed);
        let envelope = Envelope {
            version: VERSION,
            sealed_with: name.to_owned(),
            keys: STANDARD.encode(sealed),
        };
        let text = serde_json::to_vec_pretty(&envelope).expect("plain data");
        write_durably(&self.path, &text).map_err(failed(&self.path))
    }

    /// The name of the operators' key in use.
    #[must_use]
    pub fn sealed_with(&self) -> String {
        self.open.read().sealed_with.clone()
    }

    /// How many data keys there are; older ones open what they once sealed.
    #[must_use]
    pub fn data_keys(&self) -> usize {
        self.open.read().ciphers.len()
    }

    /// Appends `plain` to `out`, sealed for the place that `aad` names.
    pub fn seal_into(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let (number, cipher) = {
            let open = self.open.read();
            let number = open.secrets.active;
            (number, open.ciphers[&number].clone())
        };
        out.extend_from_slice(&number.to_be_bytes());
        cipher.seal(&self.random, aad, plain, out);
    }

    /// `plain`, sealed for the place that `aad` names.
    #[must_use]
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.seal_into(aad, plain, &mut out);
        out
    }

    /// Opens what was sealed for the place that `aad` names.
    pub fn unseal(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealing> {
        let (number, body) = sealed
            .split_first_chunk::<NUMBER_BYTES>()
            .ok_or(Unsealing::Wrong)?;
        let number = u64::from_be_bytes(*number);
        let cipher = self.open.read().ciphers.get(&number).cloned();
        cipher.ok_or(Unsealing::UnknownKey(number))?.open(aad, body)
    }

    /// What stands for a name on the disk: the same for the same name, for ever, and
    /// nothing of it.
    #[must_use]
    pub fn token(&self, name: &[u8]) -> [u8; 16] {
        let open = self.open.read();
        let tag = hmac::sign(&open.names, name);
        tag.as_ref()[..16]
            .try_into()
            .expect("a digest has 32 bytes")
    }
}

impl Secrets {
    fn add_key(&mut self, random: &SystemRandom) {
        // Random, so that no key store takes data for its own that another sealed.
        self.active = u64::from_be_bytes(draw::<8>(random));
        self.data.insert(self.active, draw(random));
    }
}

impl Open {
    fn new(sealed_with: String, secrets: Secrets) -> Self {
        let ciphers = secrets.data.iter();
        Self {
            sealed_with,
            names: hmac::Key::new(hmac::HMAC_SHA256, &secrets.names),
            ciphers: ciphers
                .map(|(number, secret)| (*number, Arc::new(Cipher::new(secret))))
                .collect(),
            secrets,
        }
    }
}

fn draw<const N: usize>(random: &SystemRandom) -> [u8; N] {
    let mut drawn = [0; N];
    random
        .fill(&mut drawn)
        .expect("the system has random numbers once it has started");
    drawn
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SealError + '_ {
    |source| SealError::Io {
        path: path.display().to_string(),
        source,
    }
}

fn read(path: &Path, bytes: &[u8], keys: &KeyFile) -> Result<Open, SealError> {
    let shown = || path.display().to_string();
    let malformed = |reason: &str| SealError::Malformed {
        path: shown(),
        reason: reason.to_owned(),
    };
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))?;
    if envelope.version != VERSION {
        return Err(malformed(&format!(
            "it has version {}, this program knows {VERSION}",
            envelope.version
        )));
    }
    let name = envelope.sealed_with;
    let secret = keys.get(&name).ok_or_else(|| SealError::NoKey {
        path: shown(),
        name: name.clone(),
    })?;
    let sealed = STANDARD.decode(envelope.keys);
    let sealed = sealed.map_err(|_| malformed("its keys are not base64"))?;
    let plain = Cipher::new(secret).open(PURPOSE, &sealed);
    let plain = plain.map_err(|_| SealError::WrongKey {
        path: shown(),
        name: name.clone(),
    })?;
    let secrets: Secrets =
        serde_json::from_slice(&plain).map_err(|_| malformed("what is sealed in it"))?;
    if !secrets.data.contains_key(&secrets.active) {
        return Err(malformed("it lacks the key that seals"));
    }
    Ok(Open::new(name, secrets))
}

/// Written aside, synced and renamed: the old one or the new one is there, whole.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            Self { dir }
        }

        fn keys(&self, keys: &[(&str, u8)]) {
            let lines = keys.iter().map(|(name, byte)| {
                format!(
                    "- {{name: {name}, secret: {}}}\n",
                    STANDARD.encode([*byte; 32])
                )
            });
            let path = self.dir.path().join("keys.yaml");
            let text = format!("keys:\n{}", lines.collect::<String>());
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("set");
        }

        fn open(&self) -> Result<Arc<Keyring>, SealError> {
            let dir = self.dir.path();
            Keyring::open(&dir.join("KEYS"), &dir.join("keys.yaml"))
        }
    }

    #[test]
    fn what_was_sealed_opens_at_its_own_place_and_nowhere_else() {
        let files = Files::new();
        files.keys(&[("a", 1)]);
        let ring = files.open().expect("new");
        for len in [0, 1, 15, 16, 17, 5000] {
            let plain = vec![0x5a; len];
            let sealed = ring.seal(b"here", &plain);
            assert_eq!(ring.unseal(b"here", &sealed), Ok(plain.clone()));
            assert_eq!(ring.unseal(b"there", &sealed), Err(Unsealing::Wrong));
            assert_ne!(ring.seal(b"here", &plain), sealed);
            for bit in (NUMBER_BYTES * 8..sealed.len() * 8).step_by(7) {
                let mut sealed = sealed.clone();
                sealed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(ring.unseal(b"here", &sealed), Err(Unsealing::Wrong));
            }
            for len in [0, 7, 8, 31, 32, sealed.len() - 1] {
                assert!(ring.unseal(b"here", &sealed[..len]).is_err());
            }
        }
    }

    #[test]
    fn a_new_first_key_takes_over_while_data_is_written_and_the_old_one_may_go() {
        let files = Files::new();
        files.keys(&[("a", 1)]);
        let ring = files.open().expect("new");
        let (old, token) = (ring.seal(b"x", b"old"), ring.token(b"name"));
        assert!(!ring.reload().expect("the same"));
        files.keys(&[("b", 2), ("a", 1)]);
        assert!(ring.reload().expect("another"));
        assert_eq!((ring.sealed_with().as_str(), ring.data_keys()), ("b", 2));
        let new = ring.seal(b"x", b"new");
        assert_ne!(new[..8], old[..8]);
        drop(ring);
        files.keys(&[("b", 2)]);
        let ring = files.open().expect("the key store needs no other");
        assert_eq!(ring.unseal(b"x", &old).as_deref(), Ok(&b"old"[..]));
        assert_eq!(ring.unseal(b"x", &new).as_deref(), Ok(&b"new"[..]));
        assert_eq!(ring.token(b"name"), token);
        assert_ne!(ring.token(b"other"), token);
    }

    #[test]
    fn a_missing_and_a_wrong_key_are_told_apart_and_change_nothing() {
        let files = Files::new();
        files.keys(&[("a", 1)]);
        let sealed = files.open().expect("new").seal(b"x", b"y");
        let store = files.dir.path().join("KEYS");
        let before = fs::read(&store).expect("it is there");
        files.keys(&[("b", 1)]);
        assert!(matches!(files.open(), Err(SealError::NoKey { name, .. }) if name == "a"));
        files.keys(&[("a", 9)]);
        assert!(matches!(files.open(), Err(SealError::WrongKey { name, .. }) if name == "a"));
        assert_eq!(fs::read(&store).expect("it is there"), before);
        // A key store that was lost and made anew does not take the data for damaged.
        fs::remove_file(&store).expect("removed");
        let other = files.open().expect("new");
        assert!(matches!(
            other.unseal(b"x", &sealed),
            Err(Unsealing::UnknownKey(_))
        ));
    }
}
