//! The suite that every [`Engine`] has to pass under the state machine, and
//! the dumb oracle that it is held against.
//!
//! Everything is derived from a seed; a failure names the seed that replays it.

mod oracle;
mod requests;
mod stress;
mod suite;

pub use oracle::{Oracle, everything};
pub use stress::stress;
pub use suite::{Harness, run};

/// A small deterministic generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// Whether one in `n` happens.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Bytes of a small alphabet, so that they meet often.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| b'a' + self.below(16) as u8).collect()
    }

    /// Bytes that somebody damaged: flipped, cut, overwritten, moved, repeated.
    pub fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..1 + self.below(3) {
            if damaged.is_empty() {
                damaged = self.bytes(4);
            }
            let at = self.below(damaged.len());
            let end = at + 1 + self.below((damaged.len() - at).min(16));
            match self.below(8) {
                0 => damaged[at] ^= 1 << self.below(8),
                1 => damaged[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => damaged.truncate(at),
                3 => damaged[at..end].fill([0, 0xff][self.below(2)]),
                4 => drop(damaged.drain(at..end)),
                5 => {
                    let again = damaged[at..end].to_vec();
                    damaged.splice(at..at, again);
                }
                6 => damaged.extend((0..=self.below(20)).map(|byte| byte as u8)),
                _ => {
                    let other = self.below(damaged.len());
                    damaged.swap(at, other);
                }
            }
        }
        damaged
    }

    /// A key out of a few dozen, zero bytes and prefixes of each other included.
    pub fn key(&mut self) -> bytes::Bytes {
        let len = 1 + self.below(3);
        (0..len)
            .map(|_| [0, b'/', b'a', 0xff][self.below(4)])
            .collect()
    }

    /// A range of such keys: one, a prefix, an interval, an inverted or an open one.
    pub fn range(&mut self) -> kontiki_store::KeyRange {
        use kontiki_store::KeyRange;
        let key = self.key();
        match self.below(5) {
            0 | 1 => KeyRange::one(key),
            2 => KeyRange::prefix(key),
            3 => KeyRange {
                key,
                end: bytes::Bytes::from_static(b"\0"),
            },
            _ => KeyRange {
                key,
                end: self.key(),
            },
        }
    }
}
