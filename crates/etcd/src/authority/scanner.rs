//! Finds authorities that are URLs in what an HTTP/2 client sends.
//!
//! It knows no more of HTTP/2 and HPACK (RFC 9113, RFC 7541) than where header
//! blocks and their strings begin and end. What it does not understand it leaves
//! to the library behind it.

/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// HPACK's static index of `:authority`.
const AUTHORITY: u8 = 1;
/// The longest beginning that has to be seen: `https://` in Huffman's code has
/// 46 bits, in plain it has 8 bytes.
const BEGINNING_BYTES_MAX: usize = 8;

/// Reads along; see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    at: At,
    /// Bytes left of the frame.
    frame_left: usize,
    /// The block goes on in the frame that comes next.
    block_goes_on: bool,
    block: Block,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Preface(usize),
    FrameHeader([u8; FRAME_HEADER_BYTES], usize),
    /// Fields before a block: how many bytes.
    Fields(usize),
    Block,
    /// A frame that holds no block.
    Other,
    /// No HTTP/2, or nothing that is understood.
    Blind,
}

impl Default for At {
    fn default() -> Self {
        Self::Preface(0)
    }
}

/// Where in a header block.
#[derive(Clone, Copy, Debug, Default)]
enum Block {
    #[default]
    Field,
    /// The rest of an index, and what follows.
    Index(Then),
    /// The length of a string, and what it is.
    Length(String),
    /// The rest of a length of more than one byte.
    LengthRest {
        string: String,
        length: usize,
        shift: u32,
    },
    /// The start of an authority.
    Authority {
        huffman: bool,
        length: usize,
    },
    Skip {
        left: usize,
        then: Then,
    },
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Field,
    Value,
}

#[derive(Clone, Copy, Debug)]
enum String {
    Name,
    Value,
    Authority,
}

impl Scanner {
    /// Whether everything that is still to come goes through as it is.
    pub(super) fn is_blind(&self) -> bool {
        matches!(self.at, At::Blind)
    }

    /// Mends `bytes`, which follow those judged before; answers how many are
    /// judged. The others, fewer than eight, are to be shown again with more
    /// behind them.
    pub(super) fn scan(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let taken = self.step(&mut bytes[done..]);
            if taken == 0 {
                break;
            }
            done += taken;
        }
        done
    }

    /// Takes at least one byte unless more are needed to judge.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match self.at {
            At::Blind => bytes.len(),
            At::Preface(seen) => {
                self.at = match PREFACE.get(seen) {
                    Some(expected) if *expected != bytes[0] => At::Blind,
                    _ if seen + 1 == PREFACE.len() => At::FrameHeader([0; 9], 0),
                    _ => At::Preface(seen + 1),
                };
                1
            }
            At::FrameHeader(mut header, seen) => {
                header[seen] = bytes[0];
                if seen + 1 == FRAME_HEADER_BYTES {
                    self.frame(&header);
                } else {
                    self.at = At::FrameHeader(header, seen + 1);
                }
                1
            }
            At::Fields(left) => {
                let taken = left.min(bytes.len()).min(self.frame_left);
                self.at = if taken == left {
                    At::Block
                } else {
                    At::Fields(left - taken)
                };
                self.took(taken)
            }
            At::Other => {
                let taken = self.frame_left.min(bytes.len());
                self.took(taken)
            }
            At::Block => {
                let whole = bytes.len() >= self.frame_left;
                let end = self.frame_left.min(bytes.len());
                match self.block_step(&mut bytes[..end], whole) {
                    Some(taken) => self.took(taken),
                    None => {
                        self.at = At::Blind;
                        bytes.len()
                    }
                }
            }
        }
    }

    fn took(&mut self, taken: usize) -> usize {
        self.frame_left -= taken;
        if self.frame_left == 0 {
            self.at = At::FrameHeader([0; 9], 0);
        }
        taken
    }

    fn frame(&mut self, header: &[u8; FRAME_HEADER_BYTES]) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        self.frame_left = length as usize;
        let (kind, flags) = (header[3], header[4]);
        self.at = match kind {
            HEADERS if !self.block_goes_on => {
                self.block = Block::Field;
                self.block_goes_on = flags & END_HEADERS == 0;
                // What pads a frame comes last: no client of etcd's pads, and
                // zeros are read as fields without harm.
                let fields =
                    usize::from(flags & PADDED != 0) + 5 * usize::from(flags & PRIORITY != 0);
                if fields == 0 {
                    At::Block
                } else {
                    At::Fields(fields)
                }
            }
            CONTINUATION if self.block_goes_on => {
                self.block_goes_on = flags & END_HEADERS == 0;
                At::Block
            }
            _ => At::Other,
        };
        if self.frame_left == 0 {
            self.at = At::FrameHeader([0; 9], 0);
        }
    }

    /// As [`Self::step`], within the block's part in this frame, of which
    /// `whole` says that it ends with `bytes`. `None`: not understood.
    fn block_step(&mut self, bytes: &mut [u8], whole: bool) -> Option<usize> {
        let byte = bytes[0];
        match self.block {
            Block::Field => self.block = field(byte),
            Block::Index(then) => {
                if byte & 0x80 == 0 {
                    self.block = then.block();
                }
            }
            Block::Length(string) => {
                let length = usize::from(byte & 0x7f);
                self.block = if length == 0x7f {
                    // A name that long names no single host; let it be.
                    let string = match string {
                        String::Authority => String::Value,
                        other => other,
                    };
                    Block::LengthRest {
                        string,
                        length,
                        shift: 0,
                    }
                } else {
                    string.block(byte & 0x80 != 0, length)
                };
            }
            Block::LengthRest {
                string,
                length,
                shift,
            } => {
                let more = usize::from(byte & 0x7f).checked_shl(shift)?;
                let length = length.checked_add(more)?;
                let shift = shift + 7;
                if shift > 28 {
                    return None;
                }
                self.block = if byte & 0x80 == 0 {
                    string.block(false, length)
                } else {
                    Block::LengthRest {
                        string,
                        length,
                        shift,
                    }
                };
            }
            Block::Authority { huffman, length } => {
                let needed = length.min(BEGINNING_BYTES_MAX);
                if bytes.len() < needed && !whole {
                    return Some(0);
                }
                if bytes.len() >= needed {
                    mend(&mut bytes[..needed], huffman);
                }
                let taken = length.min(bytes.len());
                self.block = skip(length - taken, Then::Field);
                return Some(taken);
            }
            Block::Skip { left, then } => {
                let taken = left.min(bytes.len());
                self.block = skip(left - taken, then);
                return Some(taken);
            }
        }
        Some(1)
    }
}

/// What follows a field's first byte.
fn field(byte: u8) -> Block {
    let (prefix, literal) = match byte {
        0x80.. => (0x7f, false),
        0x40.. => (0x3f, true),
        0x20.. => (0x1f, false),
        _ => (0x0f, true),
    };
    match (byte & prefix, literal) {
        (0, true) => Block::Length(String::Name),
        (AUTHORITY, true) => Block::Length(String::Authority),
        (index, true) if index == prefix => Block::Index(Then::Value),
        (_, true) => Block::Length(String::Value),
        (index, false) if index == prefix => Block::Index(Then::Field),
        (_, false) => Block::Field,
    }
}

fn skip(left: usize, then: Then) -> Block {
    if left == 0 {
        then.block()
    } else {
        Block::Skip { left, then }
    }
}

impl Then {
    fn block(self) -> Block {
        match self {
            Self::Field => Block::Field,
            Self::Value => Block::Length(String::Value),
        }
    }
}

impl String {
    fn block(self, huffman: bool, length: usize) -> Block {
        match self {
            Self::Name => skip(length, Then::Value),
            Self::Authority if length > 0 => Block::Authority { huffman, length },
            Self::Value | Self::Authority => skip(length, Then::Field),
        }
    }
}

/// Bits of Huffman's code, from the left.
struct Code {
    bits: u64,
    length: u32,
}

/// Codes of RFC 7541, appendix B: `(code, bits)`.
const fn code(codes: &[(u64, u32)]) -> Code {
    let (mut bits, mut length, mut i) = (0, 0, 0);
    while i < codes.len() {
        bits = (bits << codes[i].1) | codes[i].0;
        length += codes[i].1;
        i += 1;
    }
    Code {
        bits: bits << (64 - length),
        length,
    }
}

const H: (u64, u32) = (0x27, 6);
const T: (u64, u32) = (0x09, 5);
const P: (u64, u32) = (0x2b, 6);
const S: (u64, u32) = (0x08, 5);
const COLON: (u64, u32) = (0x5c, 7);
const SLASH: (u64, u32) = (0x18, 6);
const B: (u64, u32) = (0x5d, 7);
const DASH: (u64, u32) = (0x16, 6);

/// What is looked for, and what takes its place: of the same length.
const CODED: [(Code, Code); 2] = [
    (
        code(&[H, T, T, P, COLON, SLASH, SLASH]),
        code(&[H, T, T, P, B, DASH, DASH]),
    ),
    (
        code(&[H, T, T, P, S, COLON, SLASH, SLASH]),
        code(&[H, T, T, P, S, B, DASH, DASH]),
    ),
];
const PLAIN: [(&[u8], &[u8]); 2] = [(b"http://", b"httpB--"), (b"https://", b"httpsB--")];

fn mend(beginning: &mut [u8], huffman: bool) {
    if !huffman {
        for (url, name) in PLAIN {
            if beginning.starts_with(url) {
                beginning[..name.len()].copy_from_slice(name);
            }
        }
        return;
    }
    let mut eight = [0; 8];
    eight[..beginning.len()].copy_from_slice(beginning);
    let bits = u64::from_be_bytes(eight);
    for (url, name) in &CODED {
        let mask = !(u64::MAX >> url.length);
        if bits & mask == url.bits {
            let mended = (bits & !mask) | name.bits;
            beginning.copy_from_slice(&mended.to_be_bytes()[..beginning.len()]);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends: the preface and a HEADERS frame with `block`.
    fn sent(block: &[u8], flags: u8) -> Vec<u8> {
        let length = u8::try_from(block.len()).expect("a short block");
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 0, length, HEADERS, flags, 0, 0, 0, 1]);
        bytes.extend_from_slice(block);
        bytes.extend_from_slice(&[0, 0, 3, 0, 1, 0, 0, 0, 1, 0x41, 7, b'h']);
        bytes
    }

    /// Shows the bytes in portions, what is not judged again.
    fn scanned(bytes: &[u8], portion: usize) -> Vec<u8> {
        let (mut scanner, mut out, mut held) = (Scanner::default(), Vec::new(), Vec::new());
        for part in bytes.chunks(portion) {
            held.extend_from_slice(part);
            let judged = scanner.scan(&mut held);
            out.extend(held.drain(..judged));
        }
        out.extend(held);
        out
    }

    fn literal(first: u8, huffman: bool, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("short");
        [&[first, length | (u8::from(huffman) << 7)], value].concat()
    }

    /// `http://127.0.0.1:2379` in Huffman's code.
    const HTTP: [u8; 15] = [
        0x9d, 0x29, 0xae, 0xe3, 0x0c, 0x04, 0x4e, 0xae, 0x05, 0xc0, 0xb8, 0x6e, 0x09, 0x97, 0x5f,
    ];

    #[test]
    fn urls_become_names_of_the_same_length_wherever_the_reads_are_cut() {
        let indexed = [0x83, 0x86];
        let path = literal(0x44, false, b"/etcdserverpb.Maintenance/Status");
        for (value, mended, huffman) in [
            (&b"http://h:1"[..], &b"httpB--h:1"[..], false),
            (b"https://h:1", b"httpsB--h:1", false),
            (b"h:1", b"h:1", false),
            (b"http:2379", b"http:2379", false),
            (b"", b"", false),
        ] {
            for first in [0x41, 0x01, 0x11] {
                let block = |value| {
                    [
                        &indexed[..],
                        &path,
                        &literal(first, huffman, value),
                        &literal(0x40, false, b"x-name")[..],
                        &literal(0, false, b"http://untouched")[1..],
                    ]
                    .concat()
                };
                let (given, wanted) = (sent(&block(value), 4), sent(&block(mended), 4));
                for portion in 1..given.len() {
                    assert_eq!(scanned(&given, portion), wanted, "{portion}");
                }
            }
        }
    }

    #[test]
    fn what_is_coded_is_mended_in_its_code() {
        let block = literal(0x41, true, &HTTP);
        let given = sent(&block, 4);
        for portion in 1..given.len() {
            let out = scanned(&given, portion);
            assert_eq!(out.len(), given.len());
            let changed: Vec<usize> = (0..given.len()).filter(|i| out[*i] != given[*i]).collect();
            // Bits 22 to 40 of the value are ours.
            let start = given.len() - 12 - HTTP.len();
            assert!(!changed.is_empty(), "{portion}");
            assert!(
                changed.iter().all(|i| (start + 2..=start + 5).contains(i)),
                "{changed:?}"
            );
        }
    }

    #[test]
    fn what_is_no_http2_goes_through() {
        for text in [
            &b"GET / HTTP/1.1\r\nhost: http://x\r\n\r\n"[..],
            b"PRI * HTTP/1.1",
            &[0xff; 100],
        ] {
            assert_eq!(scanned(text, 7), text);
        }
        // Lengths that lie do no harm.
        let mut lies = sent(&[0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 4);
        lies.extend_from_slice(&[0x41; 300]);
        assert_eq!(scanned(&lies, 5).len(), lies.len());
    }
}
