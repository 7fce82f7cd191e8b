//! CreatePartitions: more, never fewer.

use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopic,
};

use crate::batches::{batch, produce};
use crate::house::{House, expect, versions};

fn to(name: &str, count: i32) -> CreatePartitionsTopic<'_> {
    CreatePartitionsTopic { name, count, assignments: None }
}

fn assigned<'a>(name: &'a str, count: i32, brokers: &[&[i32]]) -> CreatePartitionsTopic<'a> {
    let assign = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.to_vec() };
    CreatePartitionsTopic {
        assignments: Some(brokers.iter().map(assign).collect()),
        ..to(name, count)
    }
}

fn ask(
    house: &House,
    version: i16,
    topics: &[CreatePartitionsTopic<'_>],
    validate_only: bool,
) -> Vec<(i16, String)> {
    let topics = topics.to_vec();
    let request = CreatePartitionsRequest { topics, validate_only, ..Default::default() };
    let heard = house.talk().ask(version, &request);
    let response: CreatePartitionsResponse<'_> = heard.read();
    let told = response.results.iter();
    told.map(|told| (told.error_code, told.error_message.unwrap_or("").to_owned())).collect()
}

#[test]
fn every_version_adds_partitions_that_can_be_used_at_once_and_stay() {
    let mut house = House::new();
    let id = house.topic("t", 2, &[]);
    house.talk().ask(9, &produce("t", id, 1, -1, &batch(&["v"])));
    let mut count = 2;
    for version in versions(ApiKey::CreatePartitions) {
        count += 2;
        assert_eq!(ask(&house, version, &[to("t", count)], false), [(0, String::new())]);
        assert_eq!(house.partitions("t"), Some(count as usize));
        let heard = house.talk().ask(9, &produce("t", id, count - 1, -1, &batch(&["v"])));
        let response: sabir_kafka::generated::produce::ProduceResponse<'_> = heard.read();
        expect(response.responses[0].partition_responses[0].error_code, ErrorCode::None);
        house = house.again();
        assert_eq!(house.partitions("t"), Some(count as usize), "after a restart");
    }
    let ask = ask(&house, 3, &[assigned("t", count + 2, &[&[1], &[1]])], false);
    expect(ask[0].0, ErrorCode::None);
}

#[test]
fn what_adds_nothing_or_elsewhere_is_refused() {
    let house = House::new();
    house.topic("t", 3, &[]);
    let refuses = |topic: CreatePartitionsTopic<'_>, code, why: &str| {
        for version in versions(ApiKey::CreatePartitions) {
            for validate_only in [false, true] {
                let found = ask(&house, version, std::slice::from_ref(&topic), validate_only);
                expect(found[0].0, code);
                assert!(found[0].1.contains(why), "{}", found[0].1);
            }
        }
        assert_eq!(house.partitions("t"), Some(3));
    };
    refuses(to("t", 3), ErrorCode::InvalidPartitions, "already has 3");
    refuses(to("t", 2), ErrorCode::InvalidPartitions, "not be an increase");
    refuses(to("t", 0), ErrorCode::InvalidPartitions, "not be an increase");
    refuses(to("t", -1), ErrorCode::InvalidPartitions, "not be an increase");
    refuses(to("t", 10_001), ErrorCode::InvalidPartitions, "10000");
    refuses(to("u", 4), ErrorCode::UnknownTopicOrPartition, "does not host");
    let invalid = ErrorCode::InvalidReplicaAssignment;
    refuses(assigned("t", 5, &[&[1]]), invalid, "2 additional partition(s), but 1");
    refuses(assigned("t", 4, &[&[7]]), invalid, "broker 7");
    refuses(assigned("t", 4, &[&[]]), invalid, "empty");
    let found = ask(&house, 3, &[to("t", 4), to("t", 5)], false);
    assert!(found.iter().all(|(code, _)| *code == ErrorCode::InvalidRequest.number()));
    let found = ask(&house, 3, &[to("t", 4)], true);
    assert_eq!(found, [(0, String::new())]);
    assert_eq!(house.partitions("t"), Some(3), "only checked");
}
