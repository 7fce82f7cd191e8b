//! OffsetForLeaderEpoch: where the log ended under each opening of the broker.

use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};

use crate::batches::{batch, produce};
use crate::house::{House, versions};

/// Code, epoch and end offset of one partition.
fn ask(house: &House, version: i16, at: (&str, i32), current: i32, epoch: i32) -> (i16, i32, i64) {
    let (topic, partition) = at;
    let asked =
        OffsetForLeaderPartition { partition, current_leader_epoch: current, leader_epoch: epoch };
    let topics = vec![OffsetForLeaderTopic { topic, partitions: vec![asked] }];
    let request = OffsetForLeaderEpochRequest { topics, ..Default::default() };
    let heard = house.talk().ask(version, &request);
    let response: OffsetForLeaderEpochResponse<'_> = heard.read();
    let told = &response.topics[0].partitions[0];
    assert_eq!((response.topics[0].topic, told.partition), (topic, partition));
    (told.error_code, told.leader_epoch, told.end_offset)
}

#[test]
fn the_end_of_each_epoch_is_told() {
    let house = House::new();
    let id = house.topic("t", 2, &[]);
    let first = house.epoch();
    let append = |house: &House, values: &[&str]| {
        house.talk().ask(9, &produce("t", id, 0, -1, &batch(values)));
    };
    append(&house, &["a", "b"]);
    // Nothing is appended under the second epoch.
    let house = house.again().again();
    append(&house, &["c"]);
    let house = house.again();
    let now = house.epoch();
    assert_eq!(now, first + 3);
    let check = |epoch: i32, want: (i32, i64)| {
        for version in versions(ApiKey::OffsetForLeaderEpoch) {
            let (code, told, end) = ask(&house, version, ("t", 0), -1, epoch);
            // Version 0 has no epoch in its answer.
            let told = if version == 0 { want.0 } else { told };
            assert_eq!((code, told, end), (0, want.0, want.1), "version {version} of {epoch}");
        }
    };
    check(-1, (-1, -1));
    check(first - 1, (first - 1, 0));
    check(first, (first, 2));
    check(first + 1, (first, 2));
    check(first + 2, (first + 2, 3));
    check(now, (now, 3));
    check(now + 1, (-1, -1));
}

#[test]
fn who_is_behind_or_ahead_is_fenced() {
    let house = House::new();
    house.topic("t", 1, &[]);
    let house = house.again();
    let now = house.epoch();
    let check = |at: (&str, i32), current: i32, code: ErrorCode| {
        for version in [2, 4] {
            let found = ask(&house, version, at, current, now).0;
            assert_eq!(found, code.number(), "version {version} {at:?} {current}");
        }
    };
    check(("t", 0), now, ErrorCode::None);
    check(("t", 0), -1, ErrorCode::None);
    check(("t", 0), now - 1, ErrorCode::FencedLeaderEpoch);
    check(("t", 0), now + 1, ErrorCode::UnknownLeaderEpoch);
    check(("t", 1), now, ErrorCode::UnknownTopicOrPartition);
    check(("t", -1), now, ErrorCode::UnknownTopicOrPartition);
    check(("u", 0), now, ErrorCode::UnknownTopicOrPartition);
}
