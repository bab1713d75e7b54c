//! The documentation texts, unpacked only while something renders them.

use serde_json::Value;

static DOCS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docs.json.zst"));

/// Texts by type and member.
pub(crate) struct Docs(Value);

impl Docs {
    /// Unpacks the texts: about 3 MiB while they are held.
    pub fn unpack() -> Self {
        let bytes = zstd::decode_all(DOCS).expect("the build script compressed the texts");
        Self(serde_json::from_slice(&bytes).expect("the build script wrote JSON"))
    }

    /// The text of a type, or of one of its members.
    pub fn text(&self, ty: &str, member: &str) -> &str {
        self.0[ty][member].as_str().unwrap_or_default()
    }
}
