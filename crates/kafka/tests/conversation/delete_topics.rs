//! DeleteTopics: by name and by id.

use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use sabir_kafka::generated::fetch::FetchResponse;

use crate::batches::{batch, fetch, part, produce};
use crate::house::{House, expect, versions};

type Name<'a> = (Option<&'a str>, [u8; 16]);

fn named(name: &str) -> Name<'_> {
    (Some(name), [0; 16])
}

/// Code, name and id of each topic in the answer.
fn delete(house: &House, version: i16, all: &[Name<'_>]) -> Vec<(i16, Option<String>, [u8; 16])> {
    let request = DeleteTopicsRequest {
        topics: all
            .iter()
            .filter(|_| version >= 6)
            .map(|(name, topic_id)| DeleteTopicState { name: *name, topic_id: *topic_id })
            .collect(),
        topic_names: all.iter().filter(|_| version < 6).filter_map(|name| name.0).collect(),
        ..DeleteTopicsRequest::default()
    };
    let heard = house.talk().ask(version, &request);
    let response: DeleteTopicsResponse<'_> = heard.read();
    let told = response.responses.iter();
    told.map(|told| {
        if version >= 5 {
            assert_eq!(told.error_message.is_some(), told.error_code != 0);
        }
        (told.error_code, told.name.map(str::to_owned), told.topic_id)
    })
    .collect()
}

#[test]
fn every_version_deletes_for_good_and_the_name_is_free_again() {
    let mut house = House::new();
    for version in versions(ApiKey::DeleteTopics) {
        let before = house.topic("t", 2, &[]);
        house.talk().ask(9, &produce("t", before, 0, -1, &batch(&["v"])));
        let found = delete(&house, version, &[named("t")]);
        let id = if version >= 6 { before } else { [0; 16] };
        assert_eq!(found, [(0, Some("t".to_owned()), id)]);
        assert_eq!(house.partitions("t"), None);
        house = house.again();
        assert_eq!(house.partitions("t"), None, "after a restart");
        let again = delete(&house, version, &[named("t")]);
        expect(again[0].0, ErrorCode::UnknownTopicOrPartition);
        let after = house.topic("t", 1, &[]);
        assert_ne!(before, after, "another life has another id");
        assert_eq!(house.end("t"), 0, "nothing of the old records");
        let heard = house.talk().ask(13, &fetch("", before, vec![part(0, 0)]));
        let response: FetchResponse<'_> = heard.read();
        expect(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicId);
        delete(&house, version, &[named("t")]);
    }
}

#[test]
fn topics_are_deleted_by_id() {
    let house = House::new();
    let (a, b) = (house.topic("a", 1, &[]), house.topic("b", 1, &[]));
    let found = delete(&house, 6, &[(None, a), (None, [9; 16])]);
    assert_eq!(found[0], (0, Some("a".to_owned()), a));
    assert_eq!(found[1], (ErrorCode::UnknownTopicId.number(), None, [9; 16]));
    assert_eq!((house.partitions("a"), house.partitions("b")), (None, Some(1)));
    let invalid = ErrorCode::InvalidRequest.number();
    let check = |all: &[Name<'_>]| {
        let found = delete(&house, 6, all);
        assert!(found.iter().all(|(code, ..)| *code == invalid), "{found:?}");
        assert_eq!(house.partitions("b"), Some(1), "{all:?}");
    };
    check(&[(Some("b"), b)]);
    check(&[(None, [0; 16])]);
    check(&[named("b"), named("b")]);
    check(&[named("b"), (None, b)]);
}

#[test]
fn a_long_poll_ends_when_its_topic_is_deleted() {
    let house = House::new();
    for (version, code) in
        [(4, ErrorCode::UnknownTopicOrPartition), (13, ErrorCode::UnknownTopicId)]
    {
        let id = house.topic("t", 1, &[]);
        let mut poll = fetch("t", id, vec![part(0, 0)]);
        poll.max_wait_ms = 1_000_000;
        let mut talk = house.talk();
        talk.say(version, &poll);
        assert!(!talk.has_answer());
        delete(&house, 6, &[(None, id)]);
        let heard = talk.hear();
        let response: FetchResponse<'_> = heard.read();
        expect(response.responses[0].partitions[0].error_code, code);
    }
}
