//! Encodings of commands, and which transactions are refused before the log.

use bytes::Bytes;
use kontiki_mvcc::conformance::Random;
use kontiki_mvcc::{Command, DecodeError, Limits, check, decode_batch, encode_batch};
use kontiki_store::{DeleteRangeRequest, KeyRange, Op, PutRequest, StoreError, TxnRequest};

fn put(key: &str) -> Op {
    Op::Put(PutRequest {
        key: key.to_owned().into(),
        value: Bytes::from_static(b"v"),
        ..Default::default()
    })
}

fn delete(key: &str, end: &str) -> Op {
    let range = KeyRange {
        key: key.to_owned().into(),
        end: end.to_owned().into(),
    };
    Op::DeleteRange(DeleteRangeRequest {
        range,
        prev_kv: false,
    })
}

fn either(success: Vec<Op>, failure: Vec<Op>) -> Op {
    Op::Txn(TxnRequest {
        compare: Vec::new(),
        success,
        failure,
    })
}

#[test]
fn values_are_slices_of_the_buffer_they_were_decoded_from() {
    let txn = TxnRequest {
        success: vec![put("key")],
        ..Default::default()
    };
    let buffer = encode_batch(&[Command::Noop, Command::Txn(txn)]);
    let commands = decode_batch(buffer.clone()).expect("it decodes");
    let Command::Txn(txn) = &commands[1] else {
        panic!("{commands:?}")
    };
    let Op::Put(put) = &txn.success[0] else {
        panic!("{txn:?}")
    };
    assert!(buffer.as_ptr_range().contains(&put.value.as_ptr()));
}

#[test]
fn whatever_bytes_come_decoding_answers_and_never_panics() {
    let mut random = Random::new(3);
    for _ in 0..400 {
        let commands: Vec<_> = (0..1 + random.below(3))
            .map(|_| Command::Txn(random.txn(20, 2)))
            .collect();
        let good = encode_batch(&commands);
        assert_eq!(decode_batch(good.clone()), Ok(commands));
        assert!(
            decode_batch(good.slice(..random.below(good.len()))).is_err(),
            "a cut one must not decode"
        );
        let mut bad = good.to_vec();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bad.len());
            bad[at] = random.number() as u8;
        }
        let _ = decode_batch(bad.into());
    }
}

#[test]
fn an_encoding_of_a_newer_version_is_refused_by_name() {
    let mut newer = encode_batch(&[Command::Noop]).to_vec();
    newer[0] = 2;
    assert_eq!(
        decode_batch(newer.into()),
        Err(DecodeError::UnknownVersion(2))
    );
    assert_eq!(
        decode_batch(Bytes::from_static(&[1, 1, 99, 0])),
        Err(DecodeError::UnknownCommand(99))
    );
    assert_eq!(
        decode_batch(Bytes::from_static(&[1, 0, 7])),
        Err(DecodeError::TrailingBytes(1))
    );
}

#[test]
fn nesting_without_end_is_refused_and_does_not_overflow() {
    let mut txn = TxnRequest::default();
    for _ in 0..100_000 {
        txn = TxnRequest {
            success: vec![Op::Txn(txn)],
            ..Default::default()
        };
        if txn_depth(&txn) > 200 {
            break;
        }
    }
    assert_eq!(check(&txn, &Limits::default()), Err(StoreError::TooManyOps));
    assert_eq!(
        decode_batch(encode_batch(&[Command::Txn(txn)])),
        Err(DecodeError::TooDeep)
    );
}

fn txn_depth(txn: &TxnRequest) -> usize {
    let nested = txn.success.iter().filter_map(|op| {
        if let Op::Txn(txn) = op {
            Some(txn_depth(txn))
        } else {
            None
        }
    });
    1 + nested.max().unwrap_or(0)
}

#[test]
fn a_key_is_written_at_most_once_on_every_path() {
    let duplicate = Err(StoreError::DuplicateKey);
    for (ops, expected) in [
        (vec![put("a"), put("b")], Ok(())),
        (vec![put("a"), put("a")], duplicate.clone()),
        (vec![put("a"), delete("a", "")], duplicate.clone()),
        (vec![delete("a", "c"), put("b")], duplicate.clone()),
        (vec![delete("a", "c"), put("c")], Ok(())),
        (vec![delete("a", "\0"), put("z")], duplicate.clone()),
        (vec![delete("a", "c"), delete("b", "d")], Ok(())),
        (vec![delete("c", "a"), put("b")], Ok(())),
        (vec![either(vec![put("a")], vec![put("a")])], Ok(())),
        (vec![either(vec![put("a")], vec![delete("a", "")])], Ok(())),
        (
            vec![either(vec![put("a")], Vec::new()), put("a")],
            duplicate.clone(),
        ),
        (
            vec![put("a"), either(Vec::new(), vec![put("a")])],
            duplicate.clone(),
        ),
        (
            vec![either(vec![delete("a", "")], Vec::new()), put("a")],
            duplicate.clone(),
        ),
        (
            vec![delete("a", "b"), either(Vec::new(), vec![put("a")])],
            duplicate.clone(),
        ),
        (
            vec![
                either(vec![put("a")], Vec::new()),
                either(vec![put("a")], Vec::new()),
            ],
            duplicate.clone(),
        ),
        (
            vec![
                either(vec![put("a")], Vec::new()),
                either(vec![delete("a", "")], Vec::new()),
            ],
            duplicate,
        ),
    ] {
        let txn = TxnRequest {
            success: ops,
            ..Default::default()
        };
        assert_eq!(check(&txn, &Limits::default()), expected, "{txn:?}");
    }
}

#[test]
fn nesting_takes_from_the_budget_of_operations() {
    let limits = Limits {
        txn_ops_max: 4,
        ..Limits::default()
    };
    let nested = |outer: usize, inner: usize| {
        let inner = either(
            (0..inner).map(|n| put(&format!("inner{n}"))).collect(),
            Vec::new(),
        );
        let outer = (1..outer)
            .map(|n| put(&format!("outer{n}")))
            .chain([inner])
            .collect();
        TxnRequest {
            success: outer,
            ..Default::default()
        }
    };
    assert_eq!(check(&nested(2, 2), &limits), Ok(()));
    assert_eq!(check(&nested(2, 3), &limits), Err(StoreError::TooManyOps));
    assert_eq!(check(&nested(5, 0), &limits), Err(StoreError::TooManyOps));
}
