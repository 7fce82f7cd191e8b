//! Who publishes more than the stage takes waits for its turn, in the order of arrival.

use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::produce::ProduceResponse;

use crate::batches::{batch, produce};
use crate::house::{House, Talk, expect};

/// Bytes of one request; the stage takes 4 MiB.
const BYTES: usize = 64 << 10;
const CLIENTS: usize = 200;

fn publish(talk: &mut Talk, id: [u8; 16], records: &[u8]) {
    talk.say(12, &produce("t", id, 0, -1, records));
}

/// The offset that the broker answers with.
fn offset(talk: &mut Talk) -> i64 {
    let heard = talk.hear();
    let response: ProduceResponse<'_> = heard.read();
    let partition = &response.responses[0].partition_responses[0];
    expect(partition.error_code, ErrorCode::None);
    partition.base_offset
}

#[test]
fn many_that_wait_for_room_are_served_in_the_order_of_arrival() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let records = batch(&[&"x".repeat(BYTES)]);
    house.hold(true);
    let mut talks: Vec<Talk> = (0..CLIENTS).map(|_| house.talk()).collect();
    // Each wants more than its turn: a second request must not come before the others' first.
    for talk in &mut talks {
        publish(talk, id, &records);
        publish(talk, id, &records);
    }
    house.hold(false);
    let firsts: Vec<i64> = talks.iter_mut().map(offset).collect();
    assert!(firsts.is_sorted(), "{firsts:?}");
    let seconds: Vec<i64> = talks.iter_mut().map(offset).collect();
    assert_eq!(house.end("t"), 2 * CLIENTS as i64);
    // Those that never waited publish twice at once, all others in turn.
    let waited = firsts.len() - firsts.windows(2).take_while(|two| two[1] == two[0] + 2).count();
    let (free, line) = seconds.split_at(CLIENTS - waited + 1);
    assert!(line.len() > CLIENTS / 2, "{free:?} {line:?}");
    assert!(line.is_sorted() && line[0] > firsts[CLIENTS - 1], "{firsts:?} {line:?}");
}

#[test]
fn who_goes_away_holds_nobody_up() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let records = batch(&[&"x".repeat(BYTES)]);
    house.hold(true);
    let mut talks: Vec<Talk> = (0..CLIENTS).map(|_| house.talk()).collect();
    talks.iter_mut().for_each(|talk| publish(talk, id, &records));
    // Two of three leave the line; some of them have been called already when they go.
    let mut staying = Vec::new();
    for (number, talk) in talks.into_iter().enumerate() {
        if number % 3 == 0 {
            staying.push(talk);
        } else if number == CLIENTS / 2 {
            house.hold(false);
        }
    }
    let offsets: Vec<i64> = staying.iter_mut().map(offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
}
