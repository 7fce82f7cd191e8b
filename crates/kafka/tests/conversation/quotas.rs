//! Quotas as clients see them: the work is done, the response says how long to wait, and nothing
//! more is read for that time (KIP-219).

use std::time::Duration;

use sabir_broker::quota::Quota;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use sabir_kafka::generated::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use sabir_kafka::generated::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use sabir_kafka::generated::fetch::{FetchRequest, FetchResponse};
use sabir_kafka::generated::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use sabir_kafka::generated::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use sabir_kafka::generated::list_groups::{ListGroupsRequest, ListGroupsResponse};
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataResponse};
use sabir_kafka::generated::produce::ProduceResponse;

use crate::batches::{batch, fetch, part, produce};
use crate::house::{Heard, House, Talk, expect};

/// A house whose namespace `n` has this quota, and a topic `t` in it.
fn house(quota: Quota) -> (House, [u8; 16]) {
    let house = House::new();
    house.namespace("n", Quota::default());
    let id = house.topic_in("n", "t", 1, &[]);
    house.namespace("n", quota);
    (house, id)
}

fn ms(time: i32) -> Duration {
    Duration::from_millis(u64::try_from(time).expect("no less than 0"))
}

/// Checks that a request said now is read only after that time.
fn is_muted_for(talk: &mut Talk, time: i32) {
    talk.say(9, &MetadataRequest::default());
    assert!(!talk.has_answer());
    talk.pass(ms(time - 1));
    assert!(!talk.has_answer(), "it was read too early");
    talk.pass(ms(1));
    talk.hear();
}

/// Code and time to wait of a produce response.
fn produced(heard: &Heard) -> (i16, i32) {
    let response: ProduceResponse<'_> = heard.read();
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, response.throttle_time_ms)
}

#[test]
fn a_producer_over_its_rate_is_told_and_muted() {
    let quota = Quota { bytes_in: Some(1000), ..Quota::default() };
    let (house, id) = house(quota);
    // A changed rate forgets what is owed.
    let fresh = || {
        house.namespace("n", Quota::default());
        house.namespace("n", quota);
        house.talk_in("n")
    };
    let records = batch(&[&"x".repeat(1500)]);
    let over = records.len() as i32 - 1000;
    for version in [9, 13] {
        let mut talk = fresh();
        assert_eq!(produced(&talk.ask(version, &produce("t", id, 0, -1, &records))), (0, over));
        is_muted_for(&mut talk, over);
        // All of the rate was used: from here on every byte has its time.
        let again = records.len() as i32;
        assert_eq!(produced(&talk.ask(version, &produce("t", id, 0, -1, &records))), (0, again));
    }
    // Without an answer the connection is muted all the same.
    let mut talk = fresh();
    talk.tell(9, &produce("t", id, 0, 0, &records));
    is_muted_for(&mut talk, over);
    assert_eq!(produced(&house.talk().ask(9, &produce("t", id, 0, -1, &records))).1, 0);
}

#[test]
fn requests_that_came_in_one_piece_are_held_back_one_by_one() {
    let (house, _) = house(Quota { requests: Some(1), ..Quota::default() });
    let mut talk = house.talk_in("n");
    (0..4).for_each(|_| _ = talk.say(9, &MetadataRequest::default()));
    let mut hear = |want: i32| {
        let heard = talk.hear();
        let response: MetadataResponse<'_> = heard.read();
        assert_eq!(response.throttle_time_ms, want);
        if want > 0 {
            assert!(!talk.has_answer());
            talk.pass(ms(want));
        }
    };
    [0, 1000, 1000, 1000].into_iter().for_each(&mut hear);
}

#[test]
fn every_response_with_the_field_says_how_long_to_wait() {
    let (house, id) = house(Quota { requests: Some(1), ..Quota::default() });
    let mut talk = house.talk_in("n");
    talk.ask(9, &MetadataRequest::default());
    macro_rules! check {
        ($response:ident, $version:expr, $request:expr) => {
            let heard = talk.ask($version, &$request);
            let response: $response<'_> = heard.read();
            assert_eq!(response.throttle_time_ms, 1000, stringify!($response));
            talk.pass(Duration::from_secs(1));
        };
    }
    check!(
        ApiVersionsResponse,
        3,
        ApiVersionsRequest { client_software_name: "a", client_software_version: "1" }
    );
    check!(MetadataResponse, 12, MetadataRequest::default());
    check!(FindCoordinatorResponse, 3, FindCoordinatorRequest { key: "g", ..Default::default() });
    check!(ListGroupsResponse, 4, ListGroupsRequest::default());
    check!(DescribeClusterResponse, 1, DescribeClusterRequest::default());
    check!(FetchResponse, 12, fetch("t", id, vec![part(0, 0)]));
    check!(ProduceResponse, 9, produce("t", id, 0, -1, &batch(&["v"])));
    // One without borrowed parts.
    let heard = talk.ask(4, &InitProducerIdRequest::default());
    let response: InitProducerIdResponse = heard.read();
    assert_eq!(response.throttle_time_ms, 1000);
}

/// Time to wait and bytes of a fetch response.
fn fetched(heard: &Heard) -> (i32, usize) {
    let response: FetchResponse<'_> = heard.read();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let bytes = partitions.filter_map(|partition| partition.records.as_ref());
    (response.throttle_time_ms, bytes.map(|records| records.to_bytes().len()).sum())
}

#[test]
fn a_consumer_pays_for_what_it_gets_and_once() {
    let (house, id) = house(Quota { bytes_out: Some(1000), ..Quota::default() });
    let records = batch(&[&"x".repeat(700)]);
    let len = records.len();
    let mut producer = house.talk_in("n");
    producer.ask(9, &produce("t", id, 0, -1, &records));
    let mut talk = house.talk_in("n");
    // It waits for more than there is, and looks again whenever something has come.
    let most = FetchRequest { max_wait_ms: 500, min_bytes: 1 << 20, ..fetch("t", id, vec![]) };
    let ask = |offset| {
        let mut request = most.clone();
        request.topics[0].partitions = [part(0, offset)].into();
        request
    };
    talk.say(12, &ask(0));
    for _ in 0..3 {
        producer.ask(9, &produce("t", id, 0, -1, &records));
        assert!(!talk.has_answer());
    }
    talk.pass(ms(500));
    let over = 4 * len as i32 - 1000;
    assert_eq!(fetched(&talk.hear()), (over, 4 * len));
    is_muted_for(&mut talk, over);
    talk.say(12, &ask(4));
    talk.pass(ms(500));
    assert_eq!(fetched(&talk.hear()), (0, 0), "nothing costs nothing");
}

#[test]
fn a_muted_connection_is_not_taken_for_a_silent_one() {
    let (house, id) = house(Quota { bytes_in: Some(2), ..Quota::default() });
    let mut talk = house.talk_in("n");
    let heard = talk.ask(9, &produce("t", id, 0, -1, &batch(&[&"x".repeat(2000)])));
    let (_, time) = produced(&heard);
    assert_eq!(time, 600_000, "nobody waits for longer");
    // Half a request is there and cannot be read.
    talk.say_bytes(&[0, 0, 0]);
    (0..6000).for_each(|_| _ = talk.pass(ms(100)));
    assert!(talk.is_open());
    talk.pass(Duration::from_secs(3600));
    assert!(!talk.is_open(), "now it was silent");
}

#[test]
fn caps_are_told_in_the_clients_terms() {
    let quota = Quota { topics: Some(2), connections: Some(3), ..Quota::default() };
    let (house, _) = house(quota);
    let make = |name: &str| {
        let topic =
            CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let heard = house.talk_in("n").ask(7, &request);
        let response: CreateTopicsResponse<'_> = heard.read();
        response.topics[0].error_code
    };
    expect(make("u"), ErrorCode::None);
    expect(make("v"), ErrorCode::PolicyViolation);
    let mut talks: Vec<Talk> = (0..4).map(|_| house.talk_in("n")).collect();
    talks.iter_mut().for_each(|talk| _ = talk.say(9, &MetadataRequest::default()));
    let open: Vec<bool> = talks.iter().map(Talk::is_open).collect();
    assert_eq!(open, [true, true, true, false]);
    let reason = talks[3].end();
    assert_eq!(reason, "the namespace has all the connections that its quota allows");
    talks.remove(0);
    assert!(house.talk_in("n").say(9, &MetadataRequest::default()).is_open());
    assert!(house.talk().say(9, &MetadataRequest::default()).is_open(), "no quota there");
}
