//! Fetch sessions (KIP-227): what is remembered, and what is named again.

use sabir_kafka::Settings;
use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::Few;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::fetch::{FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};

use crate::batches::{batch, fetch, part, produce};
use crate::house::{Heard, House, expect};

/// The session of a response, and which partitions it names with how many bytes of records.
fn told(heard: &Heard) -> (i32, Vec<(i32, bool)>) {
    let response: FetchResponse<'_> = heard.read();
    expect(response.error_code, ErrorCode::None);
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let named = partitions.map(|partition| {
        let records = partition.records.as_ref().map_or(0, |records| records.len());
        (partition.partition_index, records > 0)
    });
    (response.session_id, named.collect())
}

/// A request of a session that changes nothing of it.
fn next<'a>(session_id: i32, session_epoch: i32) -> FetchRequest<'a> {
    let topics = Few::new();
    FetchRequest { session_id, session_epoch, topics, ..fetch("", [0; 16], Vec::new()) }
}

fn served() -> [i16; 3] {
    [7, 12, ApiKey::Fetch.info().version_max]
}

#[test]
fn a_session_names_only_what_changed() {
    for version in served() {
        let house = House::new();
        let id = house.topic("t", 3, &[]);
        let mut talk = house.talk();
        let all = (0..3).map(|at| part(at, 0)).collect();
        let full = FetchRequest { session_epoch: 0, ..fetch("t", id, all) };
        let (session, named) = told(&talk.ask(version, &full));
        assert!(session > 0);
        assert_eq!(named, [(0, false), (1, false), (2, false)], "a full answer names all");
        assert_eq!(told(&talk.ask(version, &next(session, 1))), (session, vec![]));
        house.talk().ask(9, &produce("t", id, 1, -1, &batch(&["v"])));
        let heard = talk.ask(version, &next(session, 2));
        assert_eq!(told(&heard), (session, vec![(1, true)]));
        // The client goes on behind what it got, adds nothing, and forgets a partition.
        let partitions = [part(1, 1)].into();
        let topics = [FetchTopic { topic: "t", topic_id: id, partitions }].into();
        let forgotten = ForgottenTopic { topic: "t", topic_id: id, partitions: vec![2] };
        let request =
            FetchRequest { topics, forgotten_topics_data: vec![forgotten], ..next(session, 3) };
        assert_eq!(told(&talk.ask(version, &request)), (session, vec![]));
        for partition in [0, 2] {
            house.talk().ask(9, &produce("t", id, partition, -1, &batch(&["v"])));
        }
        let heard = talk.ask(version, &next(session, 4));
        assert_eq!(told(&heard), (session, vec![(0, true)]), "partition 2 is forgotten");
    }
}

#[test]
fn sessions_that_are_not_known_or_out_of_step_are_told() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    for version in served() {
        let mut talk = house.talk();
        let full = FetchRequest { session_epoch: 0, ..fetch("t", id, vec![part(0, 0)]) };
        let (session, _) = told(&talk.ask(version, &full));
        let mut check = |id: i32, epoch: i32, code| {
            let heard = talk.ask(version, &next(id, epoch));
            let response: FetchResponse<'_> = heard.read();
            expect(response.error_code, code);
            if code != ErrorCode::None {
                assert!(response.responses.is_empty());
            }
        };
        check(session, 2, ErrorCode::InvalidFetchSessionEpoch);
        check(session, 1, ErrorCode::None);
        check(session, 1, ErrorCode::InvalidFetchSessionEpoch);
        check(session ^ 1, 1, ErrorCode::FetchSessionIdNotFound);
        check(session, -1, ErrorCode::None);
        check(session, 2, ErrorCode::FetchSessionIdNotFound);
        // It lives with its connection.
        let (session, _) = told(&house.talk().ask(version, &full));
        let heard = house.talk().ask(version, &next(session, 1));
        let response: FetchResponse<'_> = heard.read();
        expect(response.error_code, ErrorCode::FetchSessionIdNotFound);
    }
}

#[test]
fn who_asks_for_too_much_gets_no_session() {
    let house = House::with(Settings { session_partitions_max: 2, ..Settings::default() });
    let id = house.topic("t", 3, &[]);
    let check = |count: i32, kept: bool| {
        let parts = (0..count).map(|at| part(at, 0)).collect();
        let full = FetchRequest { session_epoch: 0, ..fetch("t", id, parts) };
        let (session, named) = told(&house.talk().ask(12, &full));
        assert_eq!((session > 0, named.len()), (kept, count as usize));
    };
    check(2, true);
    check(3, false);
}
