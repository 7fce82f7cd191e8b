//! Two listeners of two namespaces: the same names on both mean different things, and nothing of
//! the one is seen, found or changed through the other.

use sabir_broker::quota::Quota;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use sabir_kafka::generated::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use sabir_kafka::generated::fetch::{FetchRequest, FetchResponse};
use sabir_kafka::generated::list_groups::{ListGroupsRequest, ListGroupsResponse};
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use sabir_kafka::generated::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use sabir_kafka::generated::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse,
};
use sabir_kafka::generated::produce::{ProduceRequest, ProduceResponse};

use crate::batches::{batch, fetch, part, produce};
use crate::house::{House, Talk, expect};

const HERE: &str = "default";
const THERE: &str = "there";

/// A house with a topic `t` in each of two namespaces; their ids.
fn house() -> (House, [[u8; 16]; 2]) {
    let house = House::new();
    house.namespace(THERE, Quota::default());
    let ids = [house.topic_in(HERE, "t", 1, &[]), house.topic_in(THERE, "t", 3, &[])];
    (house, ids)
}

/// Names of all topics.
fn topics(talk: &mut Talk) -> Vec<String> {
    let heard = talk.ask(12, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let response: MetadataResponse<'_> = heard.read();
    response.topics.iter().map(|topic| topic.name.expect("named").to_owned()).collect()
}

/// Code of what is known of a topic id, and how many partitions it has.
fn look(talk: &mut Talk, topic_id: [u8; 16]) -> (i16, usize) {
    let asked = MetadataRequestTopic { topic_id, name: None };
    let heard =
        talk.ask(12, &MetadataRequest { topics: Some(vec![asked]), ..MetadataRequest::default() });
    let response: MetadataResponse<'_> = heard.read();
    (response.topics[0].error_code, response.topics[0].partitions.len())
}

fn send(talk: &mut Talk, version: i16, request: &ProduceRequest<'_>) -> i16 {
    let heard = talk.ask(version, request);
    let response: ProduceResponse<'_> = heard.read();
    response.responses[0].partition_responses[0].error_code
}

/// Code of a read, and the bytes it gave.
fn receive(talk: &mut Talk, version: i16, request: &FetchRequest<'_>) -> (i16, Vec<u8>) {
    let heard = talk.ask(version, request);
    let response: FetchResponse<'_> = heard.read();
    let partition = &response.responses[0].partitions[0];
    let records = partition.records.as_ref().map(|records| records.to_bytes().to_vec());
    (partition.error_code, records.unwrap_or_default())
}

#[test]
fn equal_topic_names_are_two_topics() {
    let (house, [here, there]) = house();
    assert_ne!(here, there);
    house.topic_in(HERE, "mine", 1, &[]);
    let (mut one, mut other) = (house.talk_in("/"), house.talk_in(THERE));
    assert_eq!(topics(&mut one), ["mine", "t"]);
    assert_eq!(topics(&mut other), ["t"]);
    for version in [9, 13] {
        let sent = batch(&["one"]);
        assert_eq!(send(&mut one, version, &produce("t", here, 0, -1, &sent)), 0);
    }
    let (code, records) = receive(&mut other, 11, &fetch("t", there, vec![part(0, 0)]));
    assert_eq!((code, records.len()), (0, 0), "nothing was sent there");
    let (code, records) = receive(&mut one, 11, &fetch("t", here, vec![part(0, 0)]));
    assert!(code == 0 && !records.is_empty());
}

#[test]
fn an_id_of_another_namespace_is_unknown_in_every_request() {
    let (house, [here, there]) = house();
    let unknown = ErrorCode::UnknownTopicId.number();
    let check = |namespace: &str, foreign: [u8; 16], own: [u8; 16], partitions: usize| {
        let mut talk = house.talk_in(namespace);
        assert_eq!(look(&mut talk, foreign), (unknown, 0));
        assert_eq!(look(&mut talk, own), (0, partitions));
        let sent = batch(&["x"]);
        assert_eq!(send(&mut talk, 13, &produce("", foreign, 0, -1, &sent)), unknown);
        let (code, records) = receive(&mut talk, 13, &fetch("", foreign, vec![part(0, 0)]));
        assert_eq!((code, records.len()), (unknown, 0));
        let topics = vec![DeleteTopicState { name: None, topic_id: foreign }];
        let heard = talk.ask(6, &DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() });
        let response: DeleteTopicsResponse<'_> = heard.read();
        assert_eq!(response.responses[0].error_code, unknown);
        assert_eq!(commit(&mut talk, 10, foreign), unknown);
    };
    check(THERE, here, there, 3);
    check(HERE, there, here, 1);
}

/// Commits an offset for group `g`; its code.
fn commit(talk: &mut Talk, version: i16, topic_id: [u8; 16]) -> i16 {
    let partition = OffsetCommitRequestPartition {
        committed_offset: 7,
        ..OffsetCommitRequestPartition::default()
    };
    let topic = OffsetCommitRequestTopic { name: "t", topic_id, partitions: vec![partition] };
    let request = OffsetCommitRequest {
        group_id: "g",
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    };
    let heard = talk.ask(version, &request);
    let response: OffsetCommitResponse<'_> = heard.read();
    response.topics[0].partitions[0].error_code
}

/// Names of all groups, the state of group `g`, and its offsets.
fn groups(talk: &mut Talk) -> (Vec<String>, String, Vec<i64>) {
    let heard = talk.ask(4, &ListGroupsRequest::default());
    let listed: ListGroupsResponse<'_> = heard.read();
    let names = listed.groups.iter().map(|group| group.group_id.to_owned()).collect();
    let ask = DescribeGroupsRequest { groups: vec!["g"], ..DescribeGroupsRequest::default() };
    let heard = talk.ask(5, &ask);
    let described: DescribeGroupsResponse<'_> = heard.read();
    let state = described.groups[0].group_state.to_owned();
    let group = OffsetFetchRequestGroup {
        group_id: "g",
        topics: None,
        ..OffsetFetchRequestGroup::default()
    };
    let ask = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
    let heard = talk.ask(9, &ask);
    let fetched: OffsetFetchResponse<'_> = heard.read();
    let topics = fetched.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    (names, state, topics.map(|partition| partition.committed_offset).collect())
}

#[test]
fn equal_group_names_are_two_groups_also_after_a_restart() {
    let (house, [here, _]) = house();
    expect(commit(&mut house.talk_in(HERE), 10, here), ErrorCode::None);
    let mine = (vec!["g".to_owned()], "Empty".to_owned(), vec![7]);
    let theirs = (vec![], "Dead".to_owned(), vec![]);
    assert_eq!(groups(&mut house.talk_in(HERE)), mine);
    assert_eq!(groups(&mut house.talk_in(THERE)), theirs);
    let house = house.again();
    assert_eq!(groups(&mut house.talk_in(THERE)), theirs);
    assert_eq!(groups(&mut house.talk_in(HERE)), mine);
}

#[test]
fn a_listener_of_a_namespace_that_is_gone_lets_nobody_in_until_it_is_made_again() {
    let house = House::new();
    let knock = || {
        let mut talk = house.talk_in(THERE);
        talk.tell(12, &MetadataRequest::default());
        talk
    };
    assert_eq!(knock().end(), "the namespace is gone");
    house.namespace(THERE, Quota::default());
    assert!(knock().is_open());
}
