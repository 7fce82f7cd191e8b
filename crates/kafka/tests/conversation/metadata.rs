//! Metadata: which topics there are, and making those that are asked for.

use sabir_kafka::Settings;
use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::house::{Heard, House, expect, versions};

fn named<'a>(names: &[&'a str]) -> MetadataRequest<'a> {
    let topic = |name: &&'a str| MetadataRequestTopic { name: Some(*name), topic_id: [0; 16] };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    }
}

fn names(heard: &Heard) -> Vec<String> {
    let response: MetadataResponse<'_> = heard.read();
    response.topics.iter().map(|topic| topic.name.unwrap_or("-").to_owned()).collect()
}

#[test]
fn none_and_all_are_different_things() {
    let house = House::new();
    house.topic("b", 2, &[]);
    house.topic("a", 1, &[]);
    let none = named(&[]);
    let all = MetadataRequest { topics: None, ..named(&[]) };
    assert_eq!(names(&house.talk().ask(0, &none)), ["a", "b"], "version 0 has no null");
    for version in [1, 13] {
        assert_eq!(names(&house.talk().ask(version, &none)), [""; 0], "version {version}");
        assert_eq!(names(&house.talk().ask(version, &all)), ["a", "b"], "version {version}");
    }
}

#[test]
fn every_version_tells_where_the_partitions_are() {
    let house = House::new();
    let id = house.topic("t", 3, &[]);
    for version in versions(ApiKey::Metadata) {
        let heard = house.talk().ask(version, &named(&["t"]));
        let response: MetadataResponse<'_> = heard.read();
        let broker = &response.brokers[0];
        assert_eq!((broker.node_id, broker.host, broker.port), (1, "127.0.0.1", 9092));
        let topic = &response.topics[0];
        expect(topic.error_code, ErrorCode::None);
        assert_eq!(topic.partitions.len(), 3);
        let partition = &topic.partitions[2];
        assert_eq!((partition.partition_index, partition.leader_id), (2, 1));
        assert_eq!((&*partition.replica_nodes, &*partition.isr_nodes), (&[1][..], &[1][..]));
        if version >= 1 {
            assert_eq!(response.controller_id, 1);
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.map(str::len), Some(22));
        }
        if version >= 10 {
            assert_eq!(topic.topic_id, id);
        }
    }
}

#[test]
fn unknown_topics_are_made_where_all_agree() {
    let house = House::with(Settings { default_partitions: 4, ..Settings::default() });
    let refused = MetadataRequest { allow_auto_topic_creation: false, ..named(&["t"]) };
    let heard = house.talk().ask(4, &refused);
    let response: MetadataResponse<'_> = heard.read();
    expect(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    let heard = house.talk().ask(4, &named(&["t"]));
    let response: MetadataResponse<'_> = heard.read();
    expect(response.topics[0].error_code, ErrorCode::None);
    assert_eq!(response.topics[0].partitions.len(), 4);
    // Before version 4 a client cannot say no.
    let heard = house.talk().ask(0, &named(&["old"]));
    expect(heard.read::<MetadataResponse<'_>>().topics[0].error_code, ErrorCode::None);

    let house = House::with(Settings { auto_create_topics: false, ..Settings::default() });
    let heard = house.talk().ask(4, &named(&["t"]));
    let response: MetadataResponse<'_> = heard.read();
    expect(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn names_that_may_not_be_made_are_not_made() {
    let house = House::new();
    house.topic("a.b", 1, &[]);
    let long = "x".repeat(250);
    let check = |name: &str, code| {
        for version in versions(ApiKey::Metadata) {
            let heard = house.talk().ask(version, &named(&[name]));
            let response: MetadataResponse<'_> = heard.read();
            expect(response.topics[0].error_code, code);
            assert_eq!(response.topics[0].name, Some(name));
        }
    };
    check("a b", ErrorCode::InvalidTopicException);
    check("", ErrorCode::InvalidTopicException);
    check("..", ErrorCode::InvalidTopicException);
    check(&long, ErrorCode::InvalidTopicException);
    check("a_b", ErrorCode::InvalidTopicException);
    check("sabir.x", ErrorCode::InvalidTopicException);
    assert_eq!(house.partitions("a_b"), None);
}

#[test]
fn topics_are_found_by_id() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let check = |topic_id: [u8; 16], code, name: Option<&str>| {
        for version in [12, 13] {
            let topics = Some(vec![MetadataRequestTopic { name: None, topic_id }]);
            let heard = house.talk().ask(version, &MetadataRequest { topics, ..named(&[]) });
            let response: MetadataResponse<'_> = heard.read();
            expect(response.topics[0].error_code, code);
            assert_eq!((response.topics[0].name, response.topics[0].topic_id), (name, topic_id));
        }
    };
    check(id, ErrorCode::None, Some("t"));
    check([9; 16], ErrorCode::UnknownTopicId, None);
}

#[test]
fn a_listener_tells_the_address_it_is_told_to_tell() {
    let house = House::new();
    let check = |advertise: Option<&str>, host: &str, port: i32| {
        let heard = house.talk_to(advertise).ask(13, &named(&[]));
        let response: MetadataResponse<'_> = heard.read();
        assert_eq!((response.brokers[0].host, response.brokers[0].port), (host, port));
    };
    check(None, "127.0.0.1", 9092);
    check(Some("broker.example:19092"), "broker.example", 19092);
    check(Some("[2001:db8::1]:9092"), "2001:db8::1", 9092);
}

#[test]
fn operations_are_told_to_who_asks() {
    let house = House::new();
    house.topic("t", 1, &[]);
    let check = |cluster: bool, topic: bool, want: (i32, i32)| {
        let request = MetadataRequest {
            include_cluster_authorized_operations: cluster,
            include_topic_authorized_operations: topic,
            ..named(&["t"])
        };
        let heard = house.talk().ask(8, &request);
        let response: MetadataResponse<'_> = heard.read();
        let told = (
            response.cluster_authorized_operations,
            response.topics[0].topic_authorized_operations,
        );
        assert_eq!(told, want);
    };
    // What Kafka answers where there is no authorizer.
    check(false, false, (i32::MIN, i32::MIN));
    check(true, true, (8096, 3576));
}
