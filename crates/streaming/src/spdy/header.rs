//! Header blocks: name/value pairs, compressed over the whole connection with
//! the dictionary of the SPDY/3 specification.

use bytes::{Buf, BufMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Names (lower case) and values, in order.
pub type Headers = Vec<(String, String)>;

/// The most that one header block may decompress to, in bytes.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// Words of the dictionary, each preceded by its length in four bytes.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url \
    public set-cookie keep-alive origin";

/// The part of the dictionary that has no lengths.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416\
417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 \
Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service \
UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, \
Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
utf-,*,enq=0.";

/// What is wrong with a header block.
#[derive(Debug, thiserror::Error)]
pub enum HeaderCodecError {
    /// zlib refused it.
    #[error("a SPDY header block does not decompress: {0}")]
    Inflate(#[from] flate2::DecompressError),
    /// zlib refused to compress.
    #[error("a SPDY header block does not compress: {0}")]
    Deflate(#[from] flate2::CompressError),
    /// More than a header block may hold.
    #[error("a SPDY header block is larger than {BLOCK_BYTES_MAX} bytes")]
    TooLarge,
    /// Lengths that do not fit, or bytes that are no text.
    #[error("a SPDY header block is malformed")]
    Malformed,
}

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1500);
    for word in WORDS.split_ascii_whitespace() {
        bytes.put_u32(u32::try_from(word.len()).expect("a word is short"));
        bytes.put_slice(word.replace('_', " ").as_bytes());
    }
    bytes.put_slice(TAIL.as_bytes());
    bytes
}

/// Compresses the header blocks of one direction.
pub struct HeaderEncoder(Compress);

impl HeaderEncoder {
    pub fn new() -> Self {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&dictionary())
            .expect("a fresh zlib stream takes a dictionary");
        Self(zlib)
    }

    pub fn encode(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, HeaderCodecError> {
        let length = |text: &str| u32::try_from(text.len()).map_err(|_| HeaderCodecError::TooLarge);
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len()).map_err(|_| HeaderCodecError::TooLarge)?);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(length(text)?);
            plain.put_slice(text.as_bytes());
        }
        if plain.len() > BLOCK_BYTES_MAX {
            return Err(HeaderCodecError::TooLarge);
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).expect("not beyond the input");
            block.reserve(64);
            self.0
                .compress_vec(&plain[done..], &mut block, FlushCompress::Sync)?;
            let consumed =
                usize::try_from(self.0.total_in() - start).expect("not beyond the input");
            // Room left over means that the flush is complete.
            if consumed == plain.len() && block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }
}

/// Decompresses the header blocks of one direction.
pub struct HeaderDecoder(Decompress);

impl HeaderDecoder {
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, HeaderCodecError> {
        let mut plain =
            Vec::with_capacity(block.len().saturating_mul(4).clamp(256, BLOCK_BYTES_MAX));
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).expect("not beyond the input");
            if plain.len() == plain.capacity() {
                plain.reserve(1024);
            }
            match self
                .0
                .decompress_vec(&block[done..], &mut plain, FlushDecompress::Sync)
            {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary())?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if plain.len() > BLOCK_BYTES_MAX {
                return Err(HeaderCodecError::TooLarge);
            }
            let consumed =
                usize::try_from(self.0.total_in() - start).expect("not beyond the input");
            if plain.len() < plain.capacity() {
                if consumed == block.len() {
                    return parse(&plain);
                }
                if consumed == done {
                    return Err(HeaderCodecError::Malformed);
                }
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, HeaderCodecError> {
    fn text(plain: &mut &[u8]) -> Result<String, HeaderCodecError> {
        let length = plain
            .try_get_u32()
            .map_err(|_| HeaderCodecError::Malformed)? as usize;
        if plain.len() < length {
            return Err(HeaderCodecError::Malformed);
        }
        let (text, rest) = plain.split_at(length);
        *plain = rest;
        String::from_utf8(text.to_vec()).map_err(|_| HeaderCodecError::Malformed)
    }
    let pairs = plain
        .try_get_u32()
        .map_err(|_| HeaderCodecError::Malformed)?;
    let mut headers = Vec::new();
    for _ in 0..pairs {
        headers.push((text(&mut plain)?, text(&mut plain)?));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_specification() {
        // Every SPDY/3 peer announces the dictionary by this checksum.
        let block = HeaderEncoder::new().encode(&[]).expect("encodes");
        assert_eq!(block[2..6], 0xe3c6_a7c2_u32.to_be_bytes());
    }

    #[test]
    fn blocks_share_one_compression_context() {
        let (mut encoder, mut decoder) = (HeaderEncoder::new(), HeaderDecoder::new());
        let first = headers(&[("streamtype", "stdout"), ("port", "8080")]);
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let block = encoder.encode(&first).expect("encodes");
            sizes.push(block.len());
            assert_eq!(decoder.decode(&block).expect("decodes"), first);
        }
        assert!(sizes[2] < sizes[0], "{sizes:?}");
    }

    #[test]
    fn a_large_block_survives_and_a_larger_one_is_refused() {
        let value = |length: usize| {
            (0..length)
                .map(|i| char::from(b'a' + (i * i % 26) as u8))
                .collect::<String>()
        };
        let large = headers(&[("x", &value(50_000))]);
        let block = HeaderEncoder::new().encode(&large).expect("encodes");
        assert_eq!(HeaderDecoder::new().decode(&block).expect("decodes"), large);
        let larger = headers(&[("x", &value(70_000))]);
        assert!(matches!(
            HeaderEncoder::new().encode(&larger),
            Err(HeaderCodecError::TooLarge)
        ));
    }

    #[test]
    fn damaged_blocks_are_errors() {
        let block = HeaderEncoder::new()
            .encode(&headers(&[("a", "b")]))
            .expect("encodes");
        for cut in [0, 3, block.len() / 2] {
            assert!(
                HeaderDecoder::new().decode(&block[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        assert!(HeaderDecoder::new().decode(b"not zlib at all").is_err());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']).is_err());
    }
}
