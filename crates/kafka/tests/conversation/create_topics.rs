//! CreateTopics: what is made, what is only checked, and what is refused.

use sabir_kafka::Settings;
use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};

use crate::house::{House, expect, versions};

pub fn plain(name: &str) -> CreatableTopic<'_> {
    CreatableTopic {
        name,
        num_partitions: 1,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn assigned<'a>(name: &'a str, partitions: &[(i32, &[i32])]) -> CreatableTopic<'a> {
    let assign = |(partition_index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
    };
    CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: partitions.iter().map(assign).collect(),
        ..plain(name)
    }
}

/// Code and message of each topic in the answer.
fn create(house: &House, version: i16, topics: Vec<CreatableTopic<'_>>) -> Vec<(i16, String)> {
    ask(house, version, topics, false)
}

fn ask(
    house: &House,
    version: i16,
    topics: Vec<CreatableTopic<'_>>,
    validate_only: bool,
) -> Vec<(i16, String)> {
    let request = CreateTopicsRequest { topics, validate_only, ..Default::default() };
    let heard = house.talk().ask(version, &request);
    let response: CreateTopicsResponse<'_> = heard.read();
    let told = response.topics.iter();
    told.map(|told| (told.error_code, told.error_message.unwrap_or("").to_owned())).collect()
}

#[test]
fn every_version_makes_a_topic_that_stays() {
    let mut house = House::new();
    for (number, version) in versions(ApiKey::CreateTopics).enumerate() {
        let name = format!("t{number}");
        let topic = CreatableTopic { num_partitions: 3, ..plain(&name) };
        assert_eq!(create(&house, version, vec![topic]), [(0, String::new())]);
        assert_eq!(house.partitions(&name), Some(3), "version {version}");
        house = house.again();
        assert_eq!(house.partitions(&name), Some(3), "version {version}, after a restart");
        expect(create(&house, version, vec![plain(&name)])[0].0, ErrorCode::TopicAlreadyExists);
    }
}

#[test]
fn what_is_left_open_is_the_broker_s_default_and_is_told() {
    let house = House::with(Settings { default_partitions: 5, ..Settings::default() });
    let configs = vec![CreatableTopicConfig { name: "retention.ms", value: Some("7") }];
    let topic =
        CreatableTopic { num_partitions: -1, replication_factor: -1, configs, ..plain("t") };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let heard = house.talk().ask(7, &request);
    let response: CreateTopicsResponse<'_> = heard.read();
    let told = &response.topics[0];
    expect(told.error_code, ErrorCode::None);
    assert_ne!(told.topic_id, [0; 16]);
    assert_eq!((told.num_partitions, told.replication_factor), (5, 1));
    let configs = told.configs.as_ref().expect("told");
    let find = |name: &str| configs.iter().find(|config| config.name == name).expect("told");
    assert_eq!((find("retention.ms").value, find("retention.ms").config_source), (Some("7"), 1));
    let other = find("cleanup.policy");
    assert_eq!((other.value, other.config_source), (Some("delete"), 5));
    assert!(configs.iter().all(|config| !config.read_only && !config.is_sensitive));
}

/// One topic that is refused alike by both versions, made or only checked, and then not there.
#[track_caller]
fn refuses(house: &House, topic: CreatableTopic<'_>, code: ErrorCode, why: &str) {
    for version in versions(ApiKey::CreateTopics) {
        for validate_only in [false, true] {
            let found = ask(house, version, vec![topic.clone()], validate_only);
            expect(found[0].0, code);
            if version > 0 {
                assert!(found[0].1.contains(why), "{}", found[0].1);
            }
        }
    }
    if code != ErrorCode::TopicAlreadyExists {
        assert_eq!(house.partitions(topic.name), None, "{}", topic.name);
    }
}

#[test]
fn names_are_checked() {
    let house = House::new();
    create(&house, 7, vec![plain("a.b_c"), plain("plain")]);
    let long = "x".repeat(250);
    let invalid = ErrorCode::InvalidTopicException;
    refuses(&house, plain(""), invalid, "invalid");
    refuses(&house, plain(".."), invalid, "invalid");
    refuses(&house, plain("a/b"), invalid, "invalid");
    refuses(&house, plain(&long), invalid, "249");
    refuses(&house, plain("sabir.audit"), invalid, "reserved");
    refuses(&house, plain("a_b_c"), invalid, "collides with existing topic: a.b_c");
    refuses(&house, plain("a.b.c"), invalid, "collides");
    refuses(&house, plain("plain"), ErrorCode::TopicAlreadyExists, "'plain' already exists");
    let fine = ["a.b", "a.b_c_", "a_b", "A_B_C", "a.b_cd", "_", "plain_"].map(plain);
    let found = create(&house, 7, fine.to_vec());
    let refused: Vec<_> = found.iter().filter(|(code, _)| *code != 0).collect();
    assert_eq!(refused.len(), 1, "a.b and a_b collide: {found:?}");
}

#[test]
fn numbers_are_checked() {
    let house = House::new();
    let numbers = |num_partitions, replication_factor| CreatableTopic {
        num_partitions,
        replication_factor,
        ..plain("t")
    };
    refuses(&house, numbers(0, 1), ErrorCode::InvalidPartitions, "non-positive");
    refuses(&house, numbers(-2, 1), ErrorCode::InvalidPartitions, "non-positive");
    refuses(&house, numbers(10_001, 1), ErrorCode::InvalidPartitions, "10000");
    refuses(&house, numbers(i32::MAX, 1), ErrorCode::InvalidPartitions, "10000");
    let factor = ErrorCode::InvalidReplicationFactor;
    refuses(&house, numbers(1, 0), factor, "larger than 0");
    refuses(&house, numbers(1, -2), factor, "larger than 0");
    refuses(&house, numbers(1, 3), factor, "only 1 broker(s)");
}

#[test]
fn manual_assignments_name_this_broker_only() {
    let house = House::new();
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let with = |change: fn(&mut CreatableTopic<'_>)| {
        let mut topic = assigned("t", &[(0, &[1])]);
        change(&mut topic);
        topic
    };
    refuses(&house, assigned("t", &[(0, &[1]), (2, &[1])]), invalid, "consecutive");
    refuses(&house, assigned("t", &[(1, &[1])]), invalid, "consecutive");
    refuses(&house, assigned("t", &[(-1, &[1]), (0, &[1])]), invalid, "consecutive");
    refuses(&house, assigned("t", &[(0, &[1]), (0, &[1])]), invalid, "partition 0");
    refuses(&house, assigned("t", &[(0, &[])]), invalid, "empty");
    refuses(&house, assigned("t", &[(0, &[2])]), invalid, "broker 2");
    refuses(&house, assigned("t", &[(0, &[1, 2])]), invalid, "broker 2");
    refuses(&house, assigned("t", &[(0, &[1, 1])]), invalid, "more than once");
    let bad = ErrorCode::InvalidRequest;
    refuses(&house, with(|topic| topic.num_partitions = 1), bad, "numPartitions");
    refuses(&house, with(|topic| topic.replication_factor = 1), bad, "replication factor");
    let found = create(&house, 7, vec![assigned("t", &[(1, &[1]), (0, &[1])])]);
    expect(found[0].0, ErrorCode::None);
    assert_eq!(house.partitions("t"), Some(2));
}

#[test]
fn configs_are_checked() {
    let house = House::new();
    let with = |name: &'static str, value: Option<&'static str>| CreatableTopic {
        configs: vec![CreatableTopicConfig { name, value }],
        ..plain("t")
    };
    let invalid = ErrorCode::InvalidConfig;
    refuses(&house, with("nothing", Some("1")), invalid, "Unknown topic config name: nothing");
    refuses(&house, with("retention.ms", Some("x")), invalid, "retention.ms");
    refuses(&house, with("retention.ms", None), invalid, "Null value");
    refuses(&house, with("cleanup.policy", Some("compact")), invalid, "compaction");
    let mut both = with("sabir.durability", Some("os"));
    both.configs.push(CreatableTopicConfig { name: "flush.messages", value: Some("1") });
    refuses(&house, both, invalid, "sabir.durability");
}

#[test]
fn topics_of_one_request_stand_for_themselves() {
    let house = House::new();
    for version in versions(ApiKey::CreateTopics) {
        let found = create(&house, version, vec![plain("a"), plain("b"), plain("a b"), plain("b")]);
        let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
        let invalid = ErrorCode::InvalidTopicException.number();
        let first = if version == 0 { 0 } else { ErrorCode::TopicAlreadyExists.number() };
        assert_eq!(codes, [first, ErrorCode::InvalidRequest.number(), invalid]);
        assert_eq!(house.partitions("b"), None, "named twice, and so not made");
    }
}

#[test]
fn what_is_only_checked_is_not_made() {
    let house = House::new();
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic { num_partitions: 2, ..plain("t") }],
        validate_only: true,
        ..CreateTopicsRequest::default()
    };
    let heard = house.talk().ask(7, &request);
    let response: CreateTopicsResponse<'_> = heard.read();
    expect(response.topics[0].error_code, ErrorCode::None);
    assert_eq!((response.topics[0].num_partitions, response.topics[0].topic_id), (2, [0; 16]));
    assert_eq!(house.partitions("t"), None);
}

#[test]
fn too_many_topics_end_the_connection() {
    let house = House::new();
    let topics = (0..10_001).map(|_| plain("t")).collect();
    let mut talk = house.talk();
    talk.tell(7, &CreateTopicsRequest { topics, ..Default::default() });
    assert!(talk.end().contains("10001 resources"));
}
