//! Writing a file from front to back: each bucket's tree is built from its
//! leaves up, and the metas are filled in last.

use crate::format::{
    ELEMENT_BUCKET, ELEMENT_BYTES, Error, FLAG_BRANCH, FLAG_FREELIST, FLAG_LEAF, FLAG_META, Meta,
    PAGE_BYTES, PAGE_HEADER_BYTES, PageHeader,
};
use std::io::{Seek, SeekFrom, Write};

const FREELIST: u64 = 2;
const FIRST_FREE: u64 = 3;

/// Writes one file.
pub struct Writer<W> {
    out: W,
    /// The next page.
    next: u64,
    /// Finished buckets and their root pages.
    buckets: Vec<(Vec<u8>, u64)>,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file at the start of `out`.
    pub fn new(mut out: W) -> Result<Self, Error> {
        // The metas and the free list are known only at the end.
        out.write_all(&vec![0; PAGE_BYTES * 3])?;
        Ok(Self {
            out,
            next: FIRST_FREE,
            buckets: Vec::new(),
        })
    }

    /// Begins a bucket. Buckets may come in any order.
    pub fn bucket(&mut self, name: &[u8]) -> BucketWriter<'_, W> {
        BucketWriter {
            name: name.to_vec(),
            tree: Tree::new(0),
            writer: self,
        }
    }

    /// Writes what ties everything together; answers the file and its length in bytes.
    pub fn finish(mut self) -> Result<(W, u64), Error> {
        let mut buckets = std::mem::take(&mut self.buckets);
        buckets.sort();
        let mut root = Tree::new(ELEMENT_BUCKET);
        for (name, page) in buckets {
            let mut value = [0; 16];
            value[..8].copy_from_slice(&page.to_le_bytes());
            root.put(&mut self, &name, &value)?;
        }
        let root = root.finish(&mut self)?;
        let pages = self.next;
        self.out.seek(SeekFrom::Start(0))?;
        for number in 0..2 {
            let meta = Meta {
                page_bytes: u32::try_from(PAGE_BYTES).expect("a small constant"),
                root,
                freelist: FREELIST,
                pages,
                transaction: number,
            };
            let mut page = page_of(number, FLAG_META, 0, 0).to_vec();
            page.extend_from_slice(&meta.encode());
            page.resize(PAGE_BYTES, 0);
            self.out.write_all(&page)?;
        }
        let mut freelist = page_of(FREELIST, FLAG_FREELIST, 0, 0).to_vec();
        freelist.resize(PAGE_BYTES, 0);
        self.out.write_all(&freelist)?;
        self.out.flush()?;
        Ok((self.out, pages * PAGE_BYTES as u64))
    }

    /// Writes a page, over as many pages as it needs; answers its number.
    fn page(&mut self, flags: u16, elements: &Elements) -> Result<u64, Error> {
        let id = self.next;
        let bytes = PAGE_HEADER_BYTES + elements.bytes();
        let pages = bytes.div_ceil(PAGE_BYTES);
        let overflow = u32::try_from(pages - 1).map_err(|_| Error::TooLarge(bytes))?;
        let count = u16::try_from(elements.headers.len()).expect("a page holds few elements");
        let mut page = Vec::with_capacity(pages * PAGE_BYTES);
        page.extend_from_slice(&page_of(id, flags, count, overflow));
        let mut at = elements.headers.len() * ELEMENT_BYTES;
        for (number, header) in elements.headers.iter().enumerate() {
            // Counted from the element itself.
            let position =
                u32::try_from(at - number * ELEMENT_BYTES).map_err(|_| Error::TooLarge(bytes))?;
            page.extend_from_slice(&header.encode(position));
            at += header.data_bytes;
        }
        page.extend_from_slice(&elements.data);
        page.resize(pages * PAGE_BYTES, 0);
        self.out.write_all(&page)?;
        self.next += pages as u64;
        Ok(id)
    }
}

fn page_of(id: u64, flags: u16, count: u16, overflow: u32) -> [u8; PAGE_HEADER_BYTES] {
    PageHeader {
        id,
        flags,
        count,
        overflow,
    }
    .encode()
}

/// Writes one bucket.
pub struct BucketWriter<'a, W> {
    name: Vec<u8>,
    tree: Tree,
    writer: &'a mut Writer<W>,
}

impl<W: Write + Seek> BucketWriter<'_, W> {
    /// Writes the next item; the keys have to ascend.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.tree.put(self.writer, key, value)
    }

    /// Ends the bucket.
    pub fn finish(self) -> Result<(), Error> {
        let root = self.tree.finish(self.writer)?;
        self.writer.buckets.push((self.name, root));
        Ok(())
    }
}

enum Header {
    Leaf { flags: u32, key: u32, value: u32 },
    Branch { key: u32, page: u64 },
}

struct Element {
    header: Header,
    data_bytes: usize,
}

impl Element {
    fn encode(&self, position: u32) -> [u8; ELEMENT_BYTES] {
        let mut out = [0; ELEMENT_BYTES];
        match self.header {
            Header::Leaf { flags, key, value } => {
                out[..4].copy_from_slice(&flags.to_le_bytes());
                out[4..8].copy_from_slice(&position.to_le_bytes());
                out[8..12].copy_from_slice(&key.to_le_bytes());
                out[12..].copy_from_slice(&value.to_le_bytes());
            }
            Header::Branch { key, page } => {
                out[..4].copy_from_slice(&position.to_le_bytes());
                out[4..8].copy_from_slice(&key.to_le_bytes());
                out[8..].copy_from_slice(&page.to_le_bytes());
            }
        }
        out
    }
}

/// What will be one page.
#[derive(Default)]
struct Elements {
    first_key: Vec<u8>,
    headers: Vec<Element>,
    data: Vec<u8>,
}

impl Elements {
    fn bytes(&self) -> usize {
        self.headers.len() * ELEMENT_BYTES + self.data.len()
    }

    fn fits(&self, more: usize) -> bool {
        self.headers.is_empty()
            || PAGE_HEADER_BYTES + self.bytes() + ELEMENT_BYTES + more <= PAGE_BYTES
    }

    fn push(&mut self, header: Header, parts: [&[u8]; 2]) {
        if self.headers.is_empty() {
            self.first_key = parts[0].to_vec();
        }
        let data_bytes = parts[0].len() + parts[1].len();
        self.headers.push(Element { header, data_bytes });
        self.data.extend_from_slice(parts[0]);
        self.data.extend_from_slice(parts[1]);
    }
}

/// A tree under construction: the leaf being filled, and the pages that are done.
struct Tree {
    flags: u32,
    leaf: Elements,
    last: Option<Vec<u8>>,
    done: Vec<(Vec<u8>, u64)>,
}

impl Tree {
    fn new(flags: u32) -> Self {
        Self {
            flags,
            leaf: Elements::default(),
            last: None,
            done: Vec::new(),
        }
    }

    fn put<W: Write + Seek>(
        &mut self,
        writer: &mut Writer<W>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        if self.last.as_deref().is_some_and(|last| key <= last) {
            return Err(Error::Unordered);
        }
        self.last = Some(key.to_vec());
        if !self.leaf.fits(key.len() + value.len()) {
            self.end_leaf(writer)?;
        }
        let header = Header::Leaf {
            flags: self.flags,
            key: size(key)?,
            value: size(value)?,
        };
        self.leaf.push(header, [key, value]);
        Ok(())
    }

    fn end_leaf<W: Write + Seek>(&mut self, writer: &mut Writer<W>) -> Result<(), Error> {
        let leaf = std::mem::take(&mut self.leaf);
        let page = writer.page(FLAG_LEAF, &leaf)?;
        self.done.push((leaf.first_key, page));
        Ok(())
    }

    /// The number of the root page; an empty tree is an empty leaf.
    fn finish<W: Write + Seek>(mut self, writer: &mut Writer<W>) -> Result<u64, Error> {
        if !self.leaf.headers.is_empty() || self.done.is_empty() {
            self.end_leaf(writer)?;
        }
        let mut level = self.done;
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut branch = Elements::default();
            for (key, page) in level {
                // Two at least, or the tree would never narrow to a root.
                if branch.headers.len() >= 2 && !branch.fits(key.len()) {
                    let full = std::mem::take(&mut branch);
                    above.push((full.first_key.clone(), writer.page(FLAG_BRANCH, &full)?));
                }
                let header = Header::Branch {
                    key: size(&key)?,
                    page,
                };
                branch.push(header, [&key, &[]]);
            }
            above.push((branch.first_key.clone(), writer.page(FLAG_BRANCH, &branch)?));
            level = above;
        }
        Ok(level[0].1)
    }
}

fn size(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len())
        .ok()
        .filter(|size| *size < 1 << 31)
        .ok_or(Error::TooLarge(bytes.len()))
}
