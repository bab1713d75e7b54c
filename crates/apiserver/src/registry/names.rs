//! Names that the server chooses.

use rand::Rng as _;

/// Upstream's alphabet: no vowels, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_CHARS: usize = 5;
const NAME_CHARS_MAX: usize = 63;

/// A name that starts with `prefix`.
#[must_use]
pub fn generate(prefix: &str) -> String {
    let mut end = prefix.len().min(NAME_CHARS_MAX - SUFFIX_CHARS);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut random = rand::rng();
    let suffix =
        (0..SUFFIX_CHARS).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    prefix[..end].chars().chain(suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prefix_is_cut_so_that_the_name_fits() {
        let name = generate(&"x".repeat(80));
        assert_eq!(name.len(), NAME_CHARS_MAX);
        assert!(generate("a-").starts_with("a-"));
        assert_eq!(generate("a-").len(), 7);
    }
}
