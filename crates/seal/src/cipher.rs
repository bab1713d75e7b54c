//! AES-256-GCM under a key of each message's own.
//!
//! A random nonce of GCM's own length may repeat after some 2^32 messages, which a
//! busy store writes within days. So each message draws 192 bits: the first half
//! makes the message's key (HMAC-SHA-256 under the data key), the second is the
//! nonce of AES-GCM under that.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

const HALF: usize = NONCE_LEN;
/// What a sealed message is longer by, its key's number apart.
pub(crate) const OVERHEAD: usize = 2 * HALF + 16;

/// Why a sealed message does not open.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unsealing {
    /// The key store does not hold the key.
    #[error(
        "it is sealed with data key {0:016x}, which this key store does not hold: put back the file KEYS that belongs to this data"
    )]
    UnknownKey(u64),
    /// The bytes are not what was sealed, or not for this place.
    #[error("it is not what was sealed there")]
    Wrong,
}

/// A key that seals.
pub(crate) struct Cipher {
    key: hmac::Key,
}

impl Cipher {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    fn of_message(&self, half: &[u8]) -> LessSafeKey {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"kontiki message key\0");
        context.update(half);
        let key = UnboundKey::new(&AES_256_GCM, context.sign().as_ref());
        LessSafeKey::new(key.expect("the digest is as long as the key"))
    }

    /// Appends the sealed message to `out`.
    pub(crate) fn seal(&self, random: &SystemRandom, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let mut drawn = [0; 2 * HALF];
        random
            .fill(&mut drawn)
            .expect("the system has random numbers once it has started");
        out.reserve(OVERHEAD + plain.len());
        out.extend_from_slice(&drawn);
        let start = out.len();
        out.extend_from_slice(plain);
        let nonce =
            Nonce::try_assume_unique_for_key(&drawn[HALF..]).expect("half of what was drawn");
        let key = self.of_message(&drawn[..HALF]);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[start..])
            .expect("messages are far shorter than GCM allows");
        out.extend_from_slice(tag.as_ref());
    }

    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealing> {
        let (drawn, body) = sealed.split_at_checked(2 * HALF).ok_or(Unsealing::Wrong)?;
        let nonce =
            Nonce::try_assume_unique_for_key(&drawn[HALF..]).map_err(|_| Unsealing::Wrong)?;
        let mut body = body.to_vec();
        let key = self.of_message(&drawn[..HALF]);
        let plain = key.open_in_place(nonce, Aad::from(aad), &mut body);
        let len = plain.map_err(|_| Unsealing::Wrong)?.len();
        body.truncate(len);
        Ok(body)
    }
}
