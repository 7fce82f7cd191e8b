//! Fetch without sessions: long polls, bounds of bytes, and offsets out of range.

use std::time::Duration;

use bytes::Bytes;
use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::fetch::{FetchRequest, FetchResponse};

use crate::batches::{batch, fetch, part, produce};
use crate::house::{Heard, House, expect, versions};

/// Code of each partition with the base offsets of its batches.
fn read(heard: &Heard) -> Vec<(ErrorCode, Vec<i64>)> {
    let response: FetchResponse<'_> = heard.read();
    expect(response.error_code, ErrorCode::None);
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let describe = |partition: &sabir_kafka::generated::fetch::PartitionData<'_>| {
        let code = ErrorCode::from_number(partition.error_code).expect("known");
        let records: Bytes =
            partition.records.as_ref().map_or(Bytes::new(), |records| records.to_bytes());
        let batches = sabir_broker::batch::split(&records);
        (code, batches.map(|batch| batch.expect("valid").0.base_offset).collect())
    };
    partitions.map(describe).collect()
}

/// A topic with batches of two records at 0, 2, 4, … in partition 0; the length of one.
fn filled(house: &House, batches: usize) -> ([u8; 16], i32) {
    let id = house.topic("t", 2, &[]);
    let records = batch(&["a", "b"]);
    let mut talk = house.talk();
    for _ in 0..batches {
        talk.ask(9, &produce("t", id, 0, -1, &records));
    }
    (id, records.len() as i32)
}

fn none() -> (ErrorCode, Vec<i64>) {
    (ErrorCode::None, Vec::new())
}

#[test]
fn every_version_gives_whole_batches_from_the_one_asked_for() {
    let house = House::new();
    let (id, _) = filled(&house, 3);
    let check = |offset: i64, want: (ErrorCode, Vec<i64>)| {
        for version in versions(ApiKey::Fetch) {
            let heard = house.talk().ask(version, &fetch("t", id, vec![part(0, offset)]));
            assert_eq!(read(&heard), std::slice::from_ref(&want), "version {version} {offset}");
        }
    };
    check(0, (ErrorCode::None, vec![0, 2, 4]));
    check(2, (ErrorCode::None, vec![2, 4]));
    check(3, (ErrorCode::None, vec![2, 4]));
    check(6, none());
    check(7, (ErrorCode::OffsetOutOfRange, vec![]));
    check(-1, (ErrorCode::OffsetOutOfRange, vec![]));
}

#[test]
fn marks_are_told_with_the_records() {
    let house = House::new();
    let (id, _) = filled(&house, 3);
    for version in versions(ApiKey::Fetch) {
        let mut request = fetch("t", id, vec![part(0, 2)]);
        request.isolation_level = 1;
        let heard = house.talk().ask(version, &request);
        let response: FetchResponse<'_> = heard.read();
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (6, 6));
        assert_eq!(partition.aborted_transactions, Some(vec![]));
        if version >= 5 {
            assert_eq!(partition.log_start_offset, 0);
        }
    }
}

#[test]
fn bytes_are_bounded_but_one_batch_always_comes() {
    let house = House::new();
    let (id, len) = filled(&house, 4);
    let check = |max: i32, part_max: i32, want: Vec<i64>| {
        let mut one = part(0, 0);
        one.partition_max_bytes = part_max;
        let request = FetchRequest { max_bytes: max, ..fetch("t", id, vec![one]) };
        let heard = house.talk().ask(12, &request);
        assert_eq!(read(&heard), [(ErrorCode::None, want)], "{max} {part_max}");
    };
    check(1 << 20, 1 << 20, vec![0, 2, 4, 6]);
    check(2 * len, 1 << 20, vec![0, 2]);
    check(1 << 20, 3 * len, vec![0, 2, 4]);
    check(2 * len + 1, 1 << 20, vec![0, 2]);
    check(2 * len - 1, 1 << 20, vec![0]);
    check(1, 1 << 20, vec![0]);
    check(1 << 20, 1, vec![0]);
    check(0, 0, vec![0]);
}

#[test]
fn only_the_first_partition_with_records_may_exceed_the_bound() {
    let house = House::new();
    let (id, len) = filled(&house, 2);
    house.talk().ask(9, &produce("t", id, 1, -1, &batch(&["x", "y"])));
    let request = fetch("t", id, vec![part(1, 2), part(0, 0), part(1, 0)]);
    let request = FetchRequest { max_bytes: 1, ..request };
    let heard = house.talk().ask(4, &request);
    let all: Vec<_> = read(&heard).into_iter().flat_map(|(_, batches)| batches).collect();
    assert_eq!(all, [0], "one batch of {len} bytes, and no more");
}

#[test]
fn unknown_topics_and_partitions_are_told_at_once() {
    let house = House::new();
    let (id, _) = filled(&house, 1);
    let check = |version: i16, topic: &str, id: [u8; 16], partition: i32, code| {
        let mut request = fetch(topic, id, vec![part(partition, 0)]);
        request.max_wait_ms = 1_000_000;
        let heard = house.talk().ask(version, &request);
        assert_eq!(read(&heard), [(code, vec![])], "version {version}");
    };
    for version in [4, 12] {
        check(version, "u", [0; 16], 0, ErrorCode::UnknownTopicOrPartition);
        check(version, "t", [0; 16], 9, ErrorCode::UnknownTopicOrPartition);
        check(version, "t", [0; 16], -1, ErrorCode::UnknownTopicOrPartition);
    }
    for version in [13, 18] {
        check(version, "", [9; 16], 0, ErrorCode::UnknownTopicId);
        check(version, "", id, 9, ErrorCode::UnknownTopicOrPartition);
    }
}

#[test]
fn a_long_poll_ends_with_a_produce_or_with_its_time() {
    let house = House::new();
    let (id, len) = filled(&house, 1);
    for version in versions(ApiKey::Fetch) {
        let end = house.end("t");
        let mut poll = fetch("t", id, vec![part(0, end)]);
        poll.max_wait_ms = 500;
        let mut talk = house.talk();
        talk.say(version, &poll);
        assert!(!talk.has_answer());
        talk.pass(Duration::from_millis(499));
        assert!(!talk.has_answer());
        talk.pass(Duration::from_millis(2));
        assert_eq!(read(&talk.hear()), [none()], "version {version}: its time is over");

        // Woken by the second of two batches: one is not enough.
        poll.min_bytes = 2 * len;
        poll.max_wait_ms = 1_000_000;
        talk.say(version, &poll);
        house.talk().ask(9, &produce("t", id, 0, -1, &batch(&["a", "b"])));
        assert!(!talk.has_answer());
        house.talk().ask(9, &produce("t", id, 0, -1, &batch(&["a", "b"])));
        let want = (ErrorCode::None, vec![end, end + 2]);
        assert_eq!(read(&talk.hear()), [want], "version {version}: woken");
    }
}

#[test]
fn leader_epochs_are_fenced_both_ways() {
    let house = House::new();
    let (id, _) = filled(&house, 1);
    let now = house.epoch();
    let house = house.again();
    assert_eq!(house.epoch(), now + 1);
    let check = |epoch: i32, code| {
        for version in [9, 12, 18] {
            let mut one = part(0, 2);
            one.current_leader_epoch = epoch;
            let heard = house.talk().ask(version, &fetch("t", id, vec![one]));
            assert_eq!(read(&heard), [(code, vec![])], "version {version} epoch {epoch}");
        }
    };
    check(-1, ErrorCode::None);
    check(now + 1, ErrorCode::None);
    check(now, ErrorCode::FencedLeaderEpoch);
    check(now + 2, ErrorCode::UnknownLeaderEpoch);
}

#[test]
fn a_client_that_read_what_is_gone_is_told_where_it_diverges() {
    let house = House::new();
    let (id, _) = filled(&house, 1);
    let before = house.epoch();
    let house = house.again();
    house.talk().ask(9, &produce("t", id, 0, -1, &batch(&["a", "b"])));
    let check = |offset: i64, last: i32, want: Option<(i32, i64)>| {
        let mut one = part(0, offset);
        one.last_fetched_epoch = last;
        let heard = house.talk().ask(12, &fetch("t", id, vec![one]));
        let response: FetchResponse<'_> = heard.read();
        let partition = &response.responses[0].partitions[0];
        let told = &partition.diverging_epoch;
        let told = (told.epoch >= 0).then_some((told.epoch, told.end_offset));
        assert_eq!(told, want, "offset {offset} after epoch {last}");
        let records = partition.records.as_ref().map_or(0, |records| records.len());
        assert_eq!(records == 0, want.is_some(), "no records where the logs differ");
    };
    check(2, before, None);
    check(3, before, Some((before, 2)));
    check(2, before + 1, None);
}
