//! Files that were written are read back, and damaged ones are refused.

use kontiki_bolt::{Error, PAGE_BYTES, Reader, Writer};
use std::collections::BTreeMap;
use std::io::Cursor;

type Content = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Small, scattered, the same every time.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn content() -> Content {
    let big = (0..20_000u64).map(|n| {
        let value = vec![n as u8; (mix(n) % 90) as usize];
        (n.to_be_bytes().to_vec(), value)
    });
    let mut content = Content::from([
        (b"key".to_vec(), big.collect()),
        (b"empty".to_vec(), BTreeMap::new()),
    ]);
    let wide = content.entry(b"wide".to_vec()).or_default();
    wide.insert(b"a".to_vec(), vec![1; PAGE_BYTES * 5 + 17]);
    wide.insert(b"b".to_vec(), Vec::new());
    wide.insert(b"c".to_vec(), vec![2; PAGE_BYTES - 32]);
    wide.insert(vec![b'd'; 3 * PAGE_BYTES], vec![3]);
    content
}

fn written(content: &Content) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("memory");
    // Buckets may come in any order.
    for (name, items) in content.iter().rev() {
        let mut bucket = writer.bucket(name);
        for (key, value) in items {
            bucket.put(key, value).expect("memory");
        }
        bucket.finish().expect("memory");
    }
    let (out, bytes) = writer.finish().expect("memory");
    let out = out.into_inner();
    assert_eq!(out.len() as u64, bytes);
    out
}

fn read(file: Vec<u8>) -> Result<Content, Error> {
    let reader = Reader::open(file)?;
    let mut content = Content::new();
    for bucket in reader.buckets()? {
        let items = content.entry(bucket.name.clone()).or_default();
        reader.for_each(&bucket, |key, value| {
            items.insert(key.to_vec(), value.to_vec());
            Ok::<_, Error>(())
        })?;
    }
    Ok(content)
}

#[test]
fn what_was_written_is_read_back_whatever_its_size() {
    let content = content();
    assert_eq!(read(written(&content)).unwrap(), content);
    assert_eq!(
        read(written(&Content::new())).unwrap(),
        Content::new(),
        "a file without buckets"
    );
}

#[test]
fn keys_out_of_order_are_refused() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("memory");
    let mut bucket = writer.bucket(b"b");
    bucket.put(b"k", b"").unwrap();
    for key in [&b"k"[..], b"j"] {
        assert!(matches!(bucket.put(key, b""), Err(Error::Unordered)));
    }
}

#[test]
fn one_whole_meta_is_enough_and_none_is_not() {
    let content = content();
    let file = written(&content);
    for lost in [0, PAGE_BYTES] {
        let mut file = file.clone();
        file[lost + 20] ^= 1;
        assert_eq!(read(file).unwrap(), content);
    }
    let mut file = file;
    file[20] ^= 1;
    file[PAGE_BYTES + 20] ^= 1;
    assert!(matches!(read(file), Err(Error::Damaged(_))));
}

#[test]
fn cut_files_are_refused() {
    let file = written(&content());
    for bytes in [0, 15, 80, PAGE_BYTES, PAGE_BYTES * 3, file.len() - 1] {
        assert!(read(file[..bytes].to_vec()).is_err(), "{bytes} bytes");
    }
}

/// Whatever bits are wrong, reading ends, without a panic.
#[test]
fn damaged_files_never_hang_or_panic_the_reader() {
    let mut small = Content::new();
    for bucket in [&b"one"[..], b"two"] {
        let items = (0..400u64).map(|n| (n.to_be_bytes().to_vec(), vec![0; 20]));
        small.insert(bucket.to_vec(), items.collect());
    }
    let file = written(&small);
    for round in 0..3_000 {
        let mut file = file.clone();
        for flip in 0..4 {
            let at = (mix(round * 4 + flip) % file.len() as u64) as usize;
            // Headers are where the structure is.
            let at = if flip % 2 == 0 {
                at / PAGE_BYTES * PAGE_BYTES + at % 64
            } else {
                at
            };
            let at = at.min(file.len() - 1);
            file[at] ^= 1 << (mix(at as u64) % 8);
        }
        let _ = read(file);
    }
}
