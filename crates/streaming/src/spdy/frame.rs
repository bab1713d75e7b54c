//! Frames: how they lie on the wire.

use super::header::{HeaderCodecError, HeaderDecoder, HeaderEncoder, Headers};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The sender sends no more on this stream.
pub const FLAG_FIN: u8 = 1;
const VERSION: u16 = 3;
const ID_MASK: u32 = 0x7fff_ffff;
/// The largest control frame that is read, in bytes.
const CONTROL_BYTES_MAX: usize = 64 << 10;
/// The most data that is put into one frame, in bytes.
pub const DATA_BYTES_MAX: usize = 16 << 10;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Its headers.
    #[error(transparent)]
    Headers(#[from] HeaderCodecError),
    /// Another protocol, or another version of this one.
    #[error("the peer speaks SPDY version {0}, not 3")]
    Version(u16),
    /// A control frame beyond what is read.
    #[error("a SPDY control frame of {0} bytes is larger than {CONTROL_BYTES_MAX}")]
    TooLarge(usize),
    /// A control frame that ends too early.
    #[error("a SPDY control frame of type {0} is too short")]
    Short(u16),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the specification")]
pub enum Frame {
    SynStream {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    SynReply {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    RstStream {
        id: u32,
        status: u32,
    },
    Settings {
        entries: Vec<(u32, u32)>,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last_id: u32,
        status: u32,
    },
    Headers {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    Data {
        id: u32,
        data: Bytes,
        fin: bool,
    },
}

/// The eight bytes before every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    Control { kind: u16, flags: u8, length: usize },
    Data { id: u32, flags: u8, length: usize },
}

impl Head {
    pub const BYTES: usize = 8;

    pub fn parse(mut bytes: [u8; Self::BYTES]) -> Result<Self, FrameError> {
        let control = bytes[0] & 0x80 != 0;
        bytes[0] &= 0x7f;
        let mut rest = &bytes[..];
        let word = rest.get_u32();
        let flags_and_length = rest.get_u32();
        let flags = (flags_and_length >> 24) as u8;
        let length = (flags_and_length & 0x00ff_ffff) as usize;
        if !control {
            return Ok(Self::Data {
                id: word,
                flags,
                length,
            });
        }
        let version = (word >> 16) as u16;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if length > CONTROL_BYTES_MAX {
            return Err(FrameError::TooLarge(length));
        }
        Ok(Self::Control {
            kind: (word & 0xffff) as u16,
            flags,
            length,
        })
    }
}

/// The control frame that `body` holds; `None` for a kind that is to be passed over.
pub fn parse_control(
    kind: u16,
    flags: u8,
    mut body: &[u8],
    decoder: &mut HeaderDecoder,
) -> Result<Option<Frame>, FrameError> {
    let fin = flags & FLAG_FIN != 0;
    let word = |body: &mut &[u8]| body.try_get_u32().map_err(|_| FrameError::Short(kind));
    Ok(Some(match kind {
        1 => {
            let id = word(&mut body)? & ID_MASK;
            word(&mut body)?;
            let headers = body.get(2..).ok_or(FrameError::Short(kind))?;
            Frame::SynStream {
                id,
                headers: decoder.decode(headers)?,
                fin,
            }
        }
        2 => Frame::SynReply {
            id: word(&mut body)? & ID_MASK,
            headers: decoder.decode(body)?,
            fin,
        },
        3 => Frame::RstStream {
            id: word(&mut body)? & ID_MASK,
            status: word(&mut body)?,
        },
        4 => {
            let count = word(&mut body)?;
            let mut entries = Vec::new();
            for _ in 0..count {
                entries.push((word(&mut body)? & 0x00ff_ffff, word(&mut body)?));
            }
            Frame::Settings { entries }
        }
        6 => Frame::Ping {
            id: word(&mut body)?,
        },
        7 => Frame::GoAway {
            last_id: word(&mut body)? & ID_MASK,
            status: word(&mut body)?,
        },
        8 => Frame::Headers {
            id: word(&mut body)? & ID_MASK,
            headers: decoder.decode(body)?,
            fin,
        },
        9 => Frame::WindowUpdate {
            id: word(&mut body)? & ID_MASK,
            delta: word(&mut body)? & ID_MASK,
        },
        _ => return Ok(None),
    }))
}

fn put_control(out: &mut BytesMut, kind: u16, flags: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("control frames are small");
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | length);
    out.put_slice(body);
}

/// Puts a frame's bytes behind `out`.
pub fn put(
    out: &mut BytesMut,
    frame: &Frame,
    encoder: &mut HeaderEncoder,
) -> Result<(), FrameError> {
    let flags = |fin: &bool| if *fin { FLAG_FIN } else { 0 };
    let mut body = Vec::new();
    match frame {
        Frame::SynStream { id, headers, fin } => {
            body.put_u32(*id);
            body.put_u32(0);
            body.put_u16(0);
            body.put_slice(&encoder.encode(headers)?);
            put_control(out, 1, flags(fin), &body);
        }
        Frame::SynReply { id, headers, fin } => {
            body.put_u32(*id);
            body.put_slice(&encoder.encode(headers)?);
            put_control(out, 2, flags(fin), &body);
        }
        Frame::Headers { id, headers, fin } => {
            body.put_u32(*id);
            body.put_slice(&encoder.encode(headers)?);
            put_control(out, 8, flags(fin), &body);
        }
        Frame::Settings { entries } => {
            body.put_u32(u32::try_from(entries.len()).expect("settings are few"));
            for (id, value) in entries {
                body.put_u32(*id);
                body.put_u32(*value);
            }
            put_control(out, 4, 0, &body);
        }
        Frame::RstStream { id, status } => put_pair(out, 3, *id, *status),
        Frame::GoAway { last_id, status } => put_pair(out, 7, *last_id, *status),
        Frame::WindowUpdate { id, delta } => put_pair(out, 9, *id, *delta),
        Frame::Ping { id } => put_control(out, 6, 0, &id.to_be_bytes()),
        Frame::Data { id, data, fin } => {
            let length = u32::try_from(data.len()).expect("data is split before it is framed");
            out.put_u32(*id & ID_MASK);
            out.put_u32(u32::from(flags(fin)) << 24 | length);
            out.put_slice(data);
        }
    }
    Ok(())
}

fn put_pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    let mut body = [0; 8];
    body[..4].copy_from_slice(&first.to_be_bytes());
    body[4..].copy_from_slice(&second.to_be_bytes());
    put_control(out, kind, 0, &body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(bytes: &[u8], decoder: &mut HeaderDecoder) -> Result<Option<Frame>, FrameError> {
        let (head, body) = bytes.split_at(Head::BYTES);
        match Head::parse(head.try_into().expect("eight bytes"))? {
            Head::Control {
                kind,
                flags,
                length,
            } => parse_control(kind, flags, &body[..length], decoder),
            Head::Data { id, flags, length } => Ok(Some(Frame::Data {
                id,
                data: Bytes::copy_from_slice(&body[..length]),
                fin: flags & FLAG_FIN != 0,
            })),
        }
    }

    #[test]
    fn every_frame_survives_the_wire() {
        let headers = vec![("streamtype".to_owned(), "error".to_owned())];
        let frames = [
            Frame::SynStream {
                id: 1,
                headers: headers.clone(),
                fin: false,
            },
            Frame::SynReply {
                id: 1,
                headers: Vec::new(),
                fin: true,
            },
            Frame::Headers {
                id: 3,
                headers,
                fin: false,
            },
            Frame::RstStream { id: 5, status: 8 },
            Frame::Settings {
                entries: vec![(7, 65_536), (4, 100)],
            },
            Frame::Ping { id: 9 },
            Frame::GoAway {
                last_id: 11,
                status: 0,
            },
            Frame::WindowUpdate { id: 0, delta: 4096 },
            Frame::Data {
                id: 1,
                data: Bytes::from_static(b"hello"),
                fin: true,
            },
        ];
        let (mut encoder, mut decoder) = (HeaderEncoder::new(), HeaderDecoder::new());
        for frame in frames {
            let mut bytes = BytesMut::new();
            put(&mut bytes, &frame, &mut encoder).expect("encodes");
            assert_eq!(
                read_back(&bytes, &mut decoder).expect("decodes"),
                Some(frame)
            );
        }
    }

    #[test]
    fn malformed_frames_are_errors_and_unknown_ones_are_passed_over() {
        let decode = |bytes: &[u8]| read_back(bytes, &mut HeaderDecoder::new());
        assert!(matches!(
            decode(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]),
            Err(FrameError::Version(2))
        ));
        assert!(matches!(
            decode(&[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0]),
            Err(FrameError::Short(6))
        ));
        assert!(matches!(
            decode(&[0x80, 3, 0, 4, 0, 0xff, 0, 0]),
            Err(FrameError::TooLarge(_))
        ));
        assert!(matches!(
            decode(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 9]),
            Err(FrameError::Short(4))
        ));
        assert!(matches!(decode(&[0x80, 3, 0, 99, 0, 0, 0, 0]), Ok(None)));
    }
}
