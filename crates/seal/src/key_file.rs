//! The operators' keys.
//!
//! ```yaml
//! keys:
//! - name: spring-2026
//!   secret: <32 random bytes in base64>
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use thiserror::Error;

const NAME_BYTES_MAX: usize = 64;

/// Why the file of keys cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The system does not give it.
    #[error("cannot read the encryption keys in {path}")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{path} holds encryption keys and others than its owner may read it: chmod 600 {path}")]
    Open {
        /// The file.
        path: String,
    },
    /// It is not a file of keys.
    #[error("{path} is no file of encryption keys: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong; never a key.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    secret: String,
}

/// The operators' keys; the first is the one in use.
pub struct KeyFile {
    keys: Vec<(String, [u8; 32])>,
}

impl KeyFile {
    /// Reads the file, which only its owner may be able to read.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let shown = || path.display().to_string();
        let failed = |source| KeyFileError::Io {
            path: shown(),
            source,
        };
        let mode = std::fs::metadata(path)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Open { path: shown() });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text).map_err(|reason| KeyFileError::Malformed {
            path: shown(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The parser's own words could quote a key.
        let document: Document = serde_yaml_ng::from_str(text).map_err(|error| {
            let place = error.location().map_or(0, |place| place.line());
            format!("line {place} is not as expected; write keys: [{{name: …, secret: …}}]")
        })?;
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for Entry { name, secret } in document.keys {
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !seen.insert(name.clone()) {
                return Err(format!(
                    "names must differ and have 1 to {NAME_BYTES_MAX} bytes, and {name:?} does not"
                ));
            }
            let secret = STANDARD.decode(secret.trim()).ok();
            let secret = secret.and_then(|secret| <[u8; 32]>::try_from(secret).ok());
            let secret = secret.ok_or_else(|| {
                format!("the secret of {name:?} is not 32 bytes in base64: head -c 32 /dev/urandom | base64")
            })?;
            keys.push((name, secret));
        }
        if keys.is_empty() {
            return Err("it holds no key".to_owned());
        }
        Ok(Self { keys })
    }

    /// The key in use.
    pub(crate) fn first(&self) -> (&str, &[u8; 32]) {
        let (name, secret) = &self.keys[0];
        (name, secret)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8; 32]> {
        let mut keys = self.keys.iter();
        keys.find(|(known, _)| known == name)
            .map(|(_, secret)| secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_keys_is_refused_without_showing_a_key() {
        let good = STANDARD.encode([7; 32]);
        let short = STANDARD.encode([7; 31]);
        for (text, reason) in [
            (String::new(), "line"),
            ("keys: []".to_owned(), "no key"),
            (format!("keys: [{{name: a, secret: {short}}}]"), "32 bytes"),
            (format!("keys: [{{name: '', secret: {good}}}]"), "names"),
            (
                format!("keys: [{{name: a, secret: {good}}}, {{name: a, secret: {good}}}]"),
                "differ",
            ),
            (format!("keys: [{{name: a, secrets: {good}}}]"), "line"),
        ] {
            let told = KeyFile::parse(&text).err().expect(reason);
            assert!(told.contains(reason), "{told}");
            assert!(!told.contains(&good) && !told.contains(&short), "{told}");
        }
        let two = format!("keys:\n- {{name: b, secret: {good}}}\n- {{name: a, secret: {good}}}\n");
        let two = KeyFile::parse(&two).expect("valid");
        assert_eq!(two.first(), ("b", &[7; 32]));
        assert!(two.get("a").is_some() && two.get("c").is_none());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys.yaml");
        let text = format!("keys: [{{name: a, secret: {}}}]", STANDARD.encode([7; 32]));
        std::fs::write(&path, text).expect("written");
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
            assert_eq!(KeyFile::read(&path).is_ok(), fine, "{mode:o}");
        }
    }
}
