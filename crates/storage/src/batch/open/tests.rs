//! Records that join several batches at once: each batch is whole and valid, however they came.

use proptest::prelude::*;

use super::*;
use crate::batch::build::{Builder, Record};
use crate::batch::encode::Encoder;
use crate::batch::{records, validate};

fn view(id: u64) -> Arc<LogView> {
    Arc::new(LogView::new(id, 0, 0, 0))
}

fn begin(id: u64) -> Begin {
    Begin {
        view: view(id),
        class: Class::Durable,
        base: 7 * id as i64,
        leader_epoch: 3,
        append_time: false,
        front: 13,
    }
}

/// The batch as it lies in a frame.
fn sealed(batches: &mut OpenBatches, at: BatchIx) -> Vec<u8> {
    let (batch, header) = batches.close(at);
    let len = batch.len();
    let mut bytes = vec![0; len];
    bytes[..HEADER].copy_from_slice(&header);
    batches.copy_to(at, &mut bytes[HEADER..]);
    seal(&mut bytes);
    bytes
}

/// A record of the test: batch, timestamp, key, value, whether the value is shared, headers.
type Case = (usize, i64, Option<Vec<u8>>, Option<Vec<u8>>, bool, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn record(case: &Case) -> Record<'_> {
    let (_, timestamp, key, value, _, headers) = case;
    let headers = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
    Record { timestamp: *timestamp, key: key.as_deref(), value: value.as_deref(), headers }
}

/// What joins the batches is what a builder makes of the same records.
fn check(cases: &[Case], count: usize) {
    let mut batches = OpenBatches::default();
    let mut encoder = Encoder::default();
    for round in 0..2 {
        let mut builders: Vec<_> = (0..count).map(|_| Builder::default()).collect();
        for id in 0..count {
            assert_eq!(batches.begin(begin(id as u64)), id);
        }
        for case in cases {
            encoder.clear();
            let record = record(case);
            let len = record.value.map(<[u8]>::len);
            let span = encoder.encode(record.key, len, record.headers.iter().copied());
            let shared = Bytes::copy_from_slice(record.value.unwrap_or_default());
            let value = if case.4 { Value::Shared(&shared) } else { Value::Copied(&shared) };
            let encoded = encoder.record(span, value);
            let before = batches.get(case.0).map_or(0, OpenBatch::len);
            let added = batches.join(case.0, case.1, &encoded);
            builders[case.0].push(&record);
            assert!(added - encoded.size() <= FRONT_MAX);
            assert_eq!(batches.get(case.0).map_or(0, OpenBatch::len), before + added);
            if before == HEADER {
                assert_eq!(before + added, encoded.size_alone());
            }
        }
        for (id, builder) in builders.into_iter().enumerate().filter(|(_, b)| b.count() > 0) {
            let got = sealed(&mut batches, id);
            let mut want = builder.seal();
            crate::batch::place(&mut want, 7 * id as i64, 3);
            assert_eq!(got, want, "batch {id}, round {round}");
            validate(&got).expect("valid");
        }
        batches.clear();
    }
}

proptest! {
    #[test]
    fn batches_are_as_if_each_was_built_alone(
        cases in prop::collection::vec(
            (
                0..2usize,
                prop_oneof![0..5i64, 0..i64::MAX],
                any::<Option<Vec<u8>>>(),
                any::<Option<Vec<u8>>>(),
                any::<bool>(),
                prop::collection::vec(any::<(Vec<u8>, Option<Vec<u8>>)>(), 0..3),
            ),
            0..200,
        ),
    ) {
        check(&cases, 2);
    }
}

#[test]
fn the_brokers_time_is_told_as_such() {
    let mut batches = OpenBatches::default();
    let mut encoder = Encoder::default();
    let at = batches.begin(Begin { append_time: true, ..begin(1) });
    let span = encoder.encode(None, Some(1), [].into_iter());
    for timestamp in [50, 60] {
        batches.join(at, timestamp, &encoder.record(span, Value::Copied(b"v")));
    }
    let bytes = Bytes::from(sealed(&mut batches, at));
    let header = validate(&bytes).expect("valid");
    assert!(header.is_append_time() && !header.has_producer());
    assert_eq!((header.base_timestamp, header.max_timestamp), (50, 60));
    let read = records::records(&bytes).expect("records");
    let got: Vec<_> = read.iter().map(|one| one.expect("one").timestamp).collect();
    assert_eq!(got, [60, 60]);
}

#[test]
#[should_panic(expected = "joins a closed batch")]
fn nothing_joins_a_closed_batch() {
    let mut batches = OpenBatches::default();
    let mut encoder = Encoder::default();
    let at = batches.begin(begin(1));
    let span = encoder.encode(None, None, [].into_iter());
    batches.join(at, 0, &encoder.record(span, Value::Copied(b"")));
    batches.close(at);
    batches.join(at, 0, &encoder.record(span, Value::Copied(b"")));
}
