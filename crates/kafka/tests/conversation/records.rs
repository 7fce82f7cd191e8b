//! Single records that were published elsewhere, as consumers read them.

use bytes::Bytes;
use sabir_broker::batch::encode::{Encoder, Value};
use sabir_broker::batch::records::records;
use sabir_broker::batch::{split, validate};
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::policy::Identity;
use sabir_broker::publish::PublishOp;
use sabir_broker::wake::Waker;
use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::fetch::FetchResponse;

use crate::batches::{batch, fetch, part, produce};
use crate::house::{House, NOON_MS, expect, versions};

/// Publishes values in one call.
fn publish(house: &House, values: &[&str]) {
    let caller = Caller::new(house.broker.clone(), Identity::anonymous(), 0);
    let now = Now { mono: Instant(1), wall: NOON_MS };
    let target = caller.topic("t").expect("made").target(0).expect("there");
    let mut encoder = Encoder::default();
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"from", Some(b"elsewhere"))];
    let spans: Vec<_> = (values.iter())
        .map(|value| encoder.encode(Some(b"k"), Some(value.len()), headers.into_iter()))
        .collect();
    let mut ops = Vec::new();
    for (value, span) in values.iter().zip(spans) {
        let record = encoder.record(span, Value::Copied(value.as_bytes()));
        ops.push(PublishOp { target, record, timestamp: Some(NOON_MS) });
    }
    let mut outcomes = Vec::new();
    caller.publish(now, &ops, &Waker::none(), &mut outcomes);
    for outcome in outcomes {
        let ticket = outcome.expect("taken").ticket;
        while !caller.is_kept(ticket) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn consumers_read_them_between_batches_of_producers() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    publish(&house, &["a", "b", "c"]);
    house.talk().ask(9, &produce("t", id, 0, -1, &batch(&["d", "e"])));
    publish(&house, &["f"]);
    for version in versions(ApiKey::Fetch) {
        let heard = house.talk().ask(version, &fetch("t", id, vec![part(0, 0)]));
        let response: FetchResponse<'_> = heard.read();
        let partition = &response.responses[0].partitions[0];
        expect(partition.error_code, ErrorCode::None);
        assert_eq!(partition.high_watermark, 6);
        let bytes: Bytes = partition.records.as_ref().expect("records").to_bytes();
        let (mut values, mut counts) = (Vec::new(), Vec::new());
        for batch in split(&bytes) {
            let (header, batch) = batch.expect("whole");
            assert_eq!(validate(&batch), Ok(header));
            counts.push(header.count);
            for record in &records(&batch).expect("records") {
                let record = record.expect("a record");
                let value = String::from_utf8_lossy(record.value.expect("a value")).into_owned();
                let keyed = record.key == Some(b"k") && record.headers.len() == 1;
                assert_eq!((keyed, record.timestamp), (header.count != 2, NOON_MS));
                values.push((record.offset, value));
            }
        }
        assert_eq!(counts, [3, 2, 1], "version {version}");
        let want = (0..).zip(["a", "b", "c", "d", "e", "f"].map(str::to_owned));
        assert!(values.iter().cloned().eq(want), "{values:?}");
    }
}
