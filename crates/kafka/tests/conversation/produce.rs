//! Produce: what is appended, what is refused, and how a resend is known.

use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use sabir_kafka::generated::produce::{ProduceRequest, ProduceResponse};

use crate::batches::{batch, batch_at, batch_of, flag, produce};
use crate::house::{Heard, House, NOON_MS, Talk, expect};

/// Code, base offset and append time of the only partition in a response.
fn result(heard: &Heard) -> (ErrorCode, i64, i64) {
    let response: ProduceResponse<'_> = heard.read();
    let partition = &response.responses[0].partition_responses[0];
    let code = ErrorCode::from_number(partition.error_code).expect("known");
    (code, partition.base_offset, partition.log_append_time_ms)
}

/// The lowest version with record batches, one without topic ids, and the highest.
fn served() -> [i16; 3] {
    [3, 9, ApiKey::Produce.info().version_max]
}

#[test]
fn batches_get_the_next_offsets() {
    let house = House::new();
    let id = house.topic("t", 2, &[]);
    let mut talk = house.talk();
    let mut next = 0;
    for version in served() {
        for acks in [1, -1] {
            let records = batch(&["a", "b", "c"]);
            let heard = talk.ask(version, &produce("t", id, 1, acks, &records));
            assert_eq!(result(&heard), (ErrorCode::None, next, -1), "version {version}");
            next += 3;
        }
        let records = batch(&["d"]);
        talk.tell(version, &produce("t", id, 1, 0, &records));
        next += 1;
    }
    assert!(talk.is_open());
}

#[test]
fn what_cannot_be_appended_is_refused_partition_by_partition() {
    let house = House::new();
    let id = house.topic("t", 1, &[("max.message.bytes", "200")]);
    let mut corrupt = batch(&["v"]);
    *corrupt.last_mut().expect("bytes") ^= 1;
    let mut old = batch(&["v"]);
    old[16] = 1;
    let two = [batch(&["a"]), batch(&["b"])].concat();
    let large = "x".repeat(200);
    let check = |partition: i32, records: &[u8], code| {
        for version in served() {
            let heard = house.talk().ask(version, &produce("t", id, partition, -1, records));
            assert_eq!(result(&heard), (code, -1, -1), "version {version}");
            // A client that wants no answer is told by the end of the connection.
            let mut talk = house.talk();
            talk.tell(version, &produce("t", id, partition, 0, records));
            assert!(talk.end().contains(code.name()), "{}", talk.end());
        }
    };
    check(0, &corrupt, ErrorCode::CorruptMessage);
    check(0, &batch(&["v"])[..40], ErrorCode::CorruptMessage);
    check(0, &[], ErrorCode::InvalidRecord);
    check(0, &two, ErrorCode::InvalidRecord);
    check(0, &old, ErrorCode::UnsupportedForMessageFormat);
    check(0, &batch(&[&large]), ErrorCode::MessageTooLarge);
    check(1, &batch(&["v"]), ErrorCode::UnknownTopicOrPartition);
    check(-1, &batch(&["v"]), ErrorCode::UnknownTopicOrPartition);
    check(0, &flag(batch(&["v"]), 0x20), ErrorCode::InvalidRecord);
    check(0, &flag(batch(&["v"]), 0x10), ErrorCode::TransactionalIdAuthorizationFailed);
    check(0, &flag(batch(&["v"]), 0x07), ErrorCode::UnsupportedCompressionType);
    let heard = house.talk().ask(9, &produce("t", id, 0, -1, &batch(&["v"])));
    assert_eq!(result(&heard), (ErrorCode::None, 0, -1), "nothing was appended before");
}

#[test]
fn requests_that_cannot_be_served_at_all_are_refused_whole() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let records = batch(&["v"]);
    let check = |version: i16, change: fn(&mut ProduceRequest<'_>), code| {
        let mut request = produce("t", id, 0, -1, &records);
        change(&mut request);
        let heard = house.talk().ask(version, &request);
        assert_eq!(result(&heard).0, code, "version {version}");
    };
    for version in 0..3 {
        check(version, |_| {}, ErrorCode::UnsupportedVersion);
    }
    for version in served() {
        let transactional = ErrorCode::TransactionalIdAuthorizationFailed;
        check(version, |request| request.transactional_id = Some("x"), transactional);
        check(version, |request| request.acks = 2, ErrorCode::InvalidRequiredAcks);
        check(version, |request| request.acks = -2, ErrorCode::InvalidRequiredAcks);
    }
    let unknown = |request: &mut ProduceRequest<'_>| {
        (request.topic_data[0].name, request.topic_data[0].topic_id) = ("u", [9; 16]);
    };
    check(12, unknown, ErrorCode::UnknownTopicOrPartition);
    check(13, unknown, ErrorCode::UnknownTopicId);
}

#[test]
fn timestamps_are_bounded_or_replaced() {
    let house = House::new();
    let bounded =
        [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "2000")];
    let id = house.topic("t", 1, &bounded);
    let check = |topic: &str, id, shift: i64, want: (ErrorCode, i64)| {
        let records = batch_at(NOON_MS + shift, &["v"]);
        let found = result(&house.talk().ask(12, &produce(topic, id, 0, -1, &records)));
        assert_eq!((found.0, found.2), want, "{topic} {shift}");
    };
    check("t", id, -1000, (ErrorCode::None, -1));
    check("t", id, -1001, (ErrorCode::InvalidTimestamp, -1));
    check("t", id, 2000, (ErrorCode::None, -1));
    check("t", id, 2001, (ErrorCode::InvalidTimestamp, -1));
    let id = house.topic("default", 1, &[]);
    check("default", id, -NOON_MS, (ErrorCode::None, -1));
    check("default", id, 3_600_001, (ErrorCode::InvalidTimestamp, -1));
    let id = house.topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    check("stamped", id, i64::MAX - NOON_MS, (ErrorCode::None, NOON_MS));
}

fn producer(talk: &mut Talk) -> i64 {
    let request = InitProducerIdRequest { producer_id: -1, ..Default::default() };
    let heard = talk.ask(5, &request);
    heard.read::<InitProducerIdResponse>().producer_id
}

#[test]
fn a_resend_is_known_and_a_gap_is_refused() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let mut talk = house.talk();
    let me = producer(&mut talk);
    let mut check = |epoch: i16, sequence: i32, want: (ErrorCode, i64)| {
        let records = batch_of(me, epoch, sequence);
        let heard = talk.ask(9, &produce("t", id, 0, -1, &records));
        let found = result(&heard);
        assert_eq!((found.0, found.1), want, "epoch {epoch} sequence {sequence}");
    };
    for sequence in 0..7 {
        check(0, sequence, (ErrorCode::None, i64::from(sequence)));
    }
    check(0, 6, (ErrorCode::None, 6));
    check(0, 2, (ErrorCode::None, 2));
    check(0, 8, (ErrorCode::OutOfOrderSequenceNumber, -1));
    check(0, 7, (ErrorCode::None, 7));
    check(1, 1, (ErrorCode::OutOfOrderSequenceNumber, -1));
    check(1, 0, (ErrorCode::None, 8));
    check(0, 8, (ErrorCode::InvalidProducerEpoch, -1));
}

#[test]
fn a_resend_is_known_after_a_restart() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let me = producer(&mut house.talk());
    let send = |house: &House, sequence| {
        let records = batch_of(me, 0, sequence);
        let found = result(&house.talk().ask(9, &produce("t", id, 0, -1, &records)));
        (found.0, found.1)
    };
    assert_eq!(send(&house, 0), (ErrorCode::None, 0));
    assert_eq!(send(&house, 1), (ErrorCode::None, 1));
    let house = house.again();
    assert_eq!(send(&house, 1), (ErrorCode::None, 1));
    assert_eq!(send(&house, 3), (ErrorCode::OutOfOrderSequenceNumber, -1));
    assert_eq!(send(&house, 2), (ErrorCode::None, 2));
    assert!(producer(&mut house.talk()) > me);
}

#[test]
fn partitions_of_one_request_stand_for_themselves() {
    let house = House::new();
    let id = house.topic("t", 2, &[]);
    let (good, mut bad) = (batch(&["v"]), batch(&["v"]));
    *bad.last_mut().expect("bytes") ^= 1;
    let mut request = produce("t", id, 0, -1, &bad);
    let other = produce("t", id, 1, -1, &good).topic_data.remove(0).partition_data;
    request.topic_data[0].partition_data.extend(other);
    let heard = house.talk().ask(9, &request);
    let response: ProduceResponse<'_> = heard.read();
    let partitions = &response.responses[0].partition_responses;
    expect(partitions[0].error_code, ErrorCode::CorruptMessage);
    assert!(partitions[0].error_message.is_some());
    expect(partitions[1].error_code, ErrorCode::None);
    assert_eq!(partitions[1].error_message, None);
}
