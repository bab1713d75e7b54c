//! Reading a file that may say anything.

use crate::format::{
    ELEMENT_BUCKET, ELEMENT_BYTES, Error, FLAG_BRANCH, FLAG_LEAF, Meta, PAGE_BYTES,
    PAGE_HEADER_BYTES, PageHeader, damaged, u32_at, u64_at,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// No tree of a real file is this deep.
const DEPTH_MAX: usize = 64;
const PAGE_BYTES_MIN: u32 = 512;
const PAGE_BYTES_MAX: u32 = 1 << 16;

/// Where a file's bytes come from.
pub trait Source {
    /// Bytes there are.
    fn bytes(&self) -> io::Result<u64>;

    /// Exactly `len` bytes from `offset` on, which lie within the file.
    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;
}

impl Source for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![0; len];
        self.read_exact_at(&mut out, offset)?;
        Ok(out)
    }
}

impl Source for Vec<u8> {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = from.checked_add(len).and_then(|to| self.get(from..to));
        found
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// An open file.
pub struct Reader<S> {
    source: S,
    meta: Meta,
    /// Whole pages that the file holds, whatever the meta says.
    pages: u64,
}

/// A bucket of the file: its name and where its items are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: Vec<u8>,
    root: Root,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    Page(u64),
    /// A small bucket is one page within the value that names it.
    Inline(Vec<u8>),
}

impl<S: Source> Reader<S> {
    /// Opens a file through the newer of its two metas that is whole.
    pub fn open(source: S) -> Result<Self, Error> {
        let bytes = source.bytes()?;
        let meta_at = |offset: u64| -> Result<Option<Meta>, Error> {
            let (from, len) = (offset + PAGE_HEADER_BYTES as u64, crate::format::META_BYTES);
            if from + len as u64 > bytes {
                return Ok(None);
            }
            Ok(Meta::decode(&source.read(from, len)?))
        };
        let first = meta_at(0)?;
        // Without the first, the page size is a guess: bbolt guesses the same way.
        let second_at = first.map_or(PAGE_BYTES as u64, |meta| u64::from(meta.page_bytes));
        let second = meta_at(second_at)?;
        let meta = [first, second]
            .into_iter()
            .flatten()
            .max_by_key(|meta| meta.transaction)
            .ok_or_else(|| damaged("it does not begin like a bbolt database"))?;
        if !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&meta.page_bytes)
            || !meta.page_bytes.is_power_of_two()
        {
            return Err(damaged(format!("its pages have {} bytes", meta.page_bytes)));
        }
        let pages = bytes / u64::from(meta.page_bytes);
        if meta.pages > pages {
            return Err(damaged(format!(
                "it should have {} pages and has {pages}; it was cut",
                meta.pages
            )));
        }
        Ok(Self {
            source,
            meta,
            pages,
        })
    }

    /// The file's buckets, in order.
    pub fn buckets(&self) -> Result<Vec<Bucket>, Error> {
        let mut buckets = Vec::new();
        self.walk(&Root::Page(self.meta.root), &mut |flags, key, value| {
            if flags & ELEMENT_BUCKET != 0 {
                let name = key.to_vec();
                let root = bucket_root(value).ok_or_else(|| damaged("a bucket has no root"))?;
                buckets.push(Bucket { name, root });
            }
            Ok(())
        })?;
        Ok(buckets)
    }

    /// Calls `each` for every item of a bucket, in order. Buckets within it are left out.
    pub fn for_each<E: From<Error>>(
        &self,
        bucket: &Bucket,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        let walked = self.walk(&bucket.root, &mut |flags, key, value| {
            if flags & ELEMENT_BUCKET != 0 {
                return Ok(());
            }
            each(key, value).map_err(|error| {
                failed = Some(error);
                // Any error stops the walk; the caller gets its own.
                Error::Unordered
            })
        });
        match (walked, failed) {
            (_, Some(error)) => Err(error),
            (walked, None) => walked.map_err(E::from),
        }
    }

    fn walk(&self, root: &Root, each: &mut Each<'_>) -> Result<(), Error> {
        match root {
            Root::Inline(page) => leaf(page, each),
            Root::Page(page) => self.walk_page(*page, DEPTH_MAX, &mut self.pages.clone(), each),
        }
    }

    /// `left`: pages that may still be read; a tree has each of its pages once.
    fn walk_page(
        &self,
        id: u64,
        depth: usize,
        left: &mut u64,
        each: &mut Each<'_>,
    ) -> Result<(), Error> {
        let page = self.page(id, left)?;
        let header = PageHeader::decode(&page).expect("a page is longer than its header");
        if header.flags & FLAG_LEAF != 0 {
            return leaf(&page, each);
        }
        if header.flags & FLAG_BRANCH == 0 {
            return Err(damaged(format!(
                "page {id} is neither a branch nor a leaf (flags {:#x})",
                header.flags
            )));
        }
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| damaged(format!("the tree above page {id} is too high")))?;
        for number in 0..usize::from(header.count) {
            let at = PAGE_HEADER_BYTES + number * ELEMENT_BYTES;
            let child = u64_at(&page, at + 8)
                .ok_or_else(|| damaged(format!("page {id} ends within its elements")))?;
            self.walk_page(child, depth, left, each)?;
        }
        Ok(())
    }

    fn page(&self, id: u64, left: &mut u64) -> Result<Vec<u8>, Error> {
        let size = u64::from(self.meta.page_bytes);
        if id >= self.pages {
            return Err(damaged(format!("page {id} lies behind the end")));
        }
        let head = self.source.read(id * size, PAGE_HEADER_BYTES)?;
        let header = PageHeader::decode(&head).ok_or_else(|| damaged("a page is too short"))?;
        if header.id != id {
            return Err(damaged(format!("page {id} says that it is {}", header.id)));
        }
        let pages = u64::from(header.overflow) + 1;
        if pages > self.pages - id {
            return Err(damaged(format!("page {id} is longer than the file")));
        }
        *left = left
            .checked_sub(pages)
            .ok_or_else(|| damaged(format!("page {id} is part of the tree twice")))?;
        let bytes = usize::try_from(pages * size).map_err(|_| damaged("a page is too long"))?;
        Ok(self.source.read(id * size, bytes)?)
    }
}

type Each<'a> = dyn FnMut(u32, &[u8], &[u8]) -> Result<(), Error> + 'a;

fn bucket_root(value: &[u8]) -> Option<Root> {
    match u64_at(value, 0)? {
        0 => Some(Root::Inline(value.get(16..)?.to_vec())),
        page => Some(Root::Page(page)),
    }
}

fn leaf(page: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
    let header = PageHeader::decode(page)
        .filter(|header| header.flags & FLAG_LEAF != 0)
        .ok_or_else(|| damaged("a leaf is none"))?;
    for number in 0..usize::from(header.count) {
        let (flags, key, value) = leaf_element(page, number)
            .ok_or_else(|| damaged(format!("page {} ends within an item", header.id)))?;
        each(flags, key, value)?;
    }
    Ok(())
}

fn leaf_element(page: &[u8], number: usize) -> Option<(u32, &[u8], &[u8])> {
    let at = PAGE_HEADER_BYTES + number * ELEMENT_BYTES;
    let number_at = |offset: usize| usize::try_from(u32_at(page, at + offset)?).ok();
    let key_at = at.checked_add(number_at(4)?)?;
    let value_at = key_at.checked_add(number_at(8)?)?;
    let end = value_at.checked_add(number_at(12)?)?;
    Some((
        u32_at(page, at)?,
        page.get(key_at..value_at)?,
        page.get(value_at..end)?,
    ))
}
