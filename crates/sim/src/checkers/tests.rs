//! The checker is tested too: a good history passes, and each way to spoil it is found.

use super::check;
use crate::model::{Event, Place, Promise, Value};

const PLACE: Place = Place { topic: [7; 16], partition: 0 };
const FINAL: u32 = 9;

fn value(number: u64) -> Value {
    Value { client: 1, number }
}

fn sent(place: Place, value: Value, promise: Promise) -> Event {
    Event::Attempt { place, value, promise, time_ms: 1000, bytes: 100 }
}

/// Ten records sent one after the other, read by one reader meanwhile and by one at the end.
fn good() -> Vec<Event> {
    let (name, topic) = ("t".to_owned(), Some(PLACE.topic));
    let mut events = vec![
        Event::TopicTried { name: name.clone(), change: crate::model::Change::Made },
        Event::TopicSeen { name, topic, asked: 1 },
        Event::Seek { reader: 2, place: PLACE, offset: 0 },
    ];
    for number in 0..10 {
        let (place, value, offset) = (PLACE, value(number), number as i64);
        events.push(sent(place, value, Promise::Idempotent));
        if number % 2 == 0 {
            events.push(sent(place, value, Promise::Idempotent));
        }
        events.push(Event::Ack { place, value, offset, life: 1 });
        events.push(Event::Deliver { reader: 2, place, offset, value: Some(value), life: 1 });
        events.push(Event::Bounds { place, start: 0, end: offset + 1 });
    }
    events.push(Event::Seek { reader: FINAL, place: PLACE, offset: 0 });
    for number in 0..10 {
        let (place, offset) = (PLACE, number as i64);
        let value = Some(value(number));
        events.push(Event::Deliver { reader: FINAL, place, offset, value, life: 1 });
    }
    events.push(Event::Drained { reader: FINAL, place: PLACE, end: 10 });
    events.push(Event::Read { reader: FINAL });
    events
}

/// Where the deliveries of a reader stand.
fn deliveries(events: &[Event], of: u32) -> Vec<usize> {
    let is = |event: &Event| matches!(event, Event::Deliver { reader, .. } if *reader == of);
    (0..events.len()).filter(|at| is(&events[*at])).collect()
}

fn finds(what: &str, events: &[Event], rule: &str) {
    let broken = check(events);
    assert!(broken.iter().any(|line| line.contains(rule)), "{what}: {broken:?}");
}

#[test]
fn a_good_history_breaks_nothing() {
    assert_eq!(check(&good()), Vec::<String>::new());
}

#[test]
fn every_dropped_repeated_swapped_or_changed_delivery_is_found() {
    for reader in [2, FINAL] {
        let places = deliveries(&good(), reader);
        for (nth, at) in places.iter().copied().enumerate() {
            let mut events = good();
            events.remove(at);
            let last = nth + 1 == places.len();
            match (last, reader) {
                (false, _) => finds("dropped", &events, "C6"),
                (true, FINAL) => finds("the last one dropped", &events, "C1"),
                // A reader that stops earlier breaks nothing.
                (true, _) => {}
            }
            let mut events = good();
            events.insert(at, events[at].clone());
            finds("repeated", &events, "C6");
            let mut events = good();
            if let Event::Deliver { value, .. } = &mut events[at] {
                *value = None;
            }
            finds("a byte changed", &events, "C2 damage");
            let mut events = good();
            if let Event::Deliver { offset, .. } = &mut events[at] {
                *offset += 1;
            }
            finds("an offset changed", &events, if last { "C6" } else { "C4" });
            if !last {
                let mut events = good();
                events.swap(at, places[nth + 1]);
                finds("swapped", &events, "C6");
            }
        }
    }
}

#[test]
fn values_in_each_others_place_are_found() {
    let at = deliveries(&good(), FINAL);
    let mut events = good();
    for (at, number) in [(at[3], 4), (at[4], 3)] {
        if let Event::Deliver { value: got, .. } = &mut events[at] {
            *got = Some(value(number));
        }
    }
    for rule in ["C1", "C4", "C5"] {
        finds("two values exchanged", &events, rule);
    }
}

#[test]
fn each_other_rule_has_a_history_that_breaks_it() {
    let check_with = |what: &str, rule: &str, add: &[Event]| {
        let mut events = good();
        let end = events.len() - 2;
        events.splice(end..end, add.iter().cloned());
        finds(what, &events, rule);
    };
    let (place, promise) = (PLACE, Promise::AtLeastOnce);
    let got = |offset, value| {
        let (reader, value) = (FINAL, Some(value));
        Event::Deliver { reader, place, offset, value, life: 1 }
    };
    let attempt = |number| sent(place, value(number), promise);
    check_with("never sent", "C2 phantom", &[got(10, value(99))]);
    check_with("a copy", "C7", &[got(10, value(3))]);
    check_with("a copy out of order", "C5", &[got(10, value(3))]);
    let refused = Event::Refused { place, value: value(50) };
    check_with("refused", "C3", &[attempt(50), refused, got(10, value(50))]);
    let before = Event::Ack { place, value: value(51), offset: 2, life: 1 };
    check_with("before its time", "C5", &[attempt(51), before]);
    check_with("an end that falls", "C8", &[Event::Bounds { place, start: 0, end: 12 }]);
    let early = Some(value(60));
    let early = Event::Deliver { reader: 3, place, offset: 10, value: early, life: 1 };
    let seek = Event::Seek { reader: 3, place, offset: 10 };
    check_with("read and gone", "C8", &[attempt(60), seek, early]);
    let id = Event::ProducerId { id: 5 };
    check_with("an id twice", "twice", &[id.clone(), id]);
    let range = Event::OutOfRange { reader: 2, place, offset: 3 };
    check_with("out of range", "said to have no 3", &[range]);
}

#[test]
fn topics_do_not_vanish_or_come_back() {
    use crate::model::Change::{Gone, Made};
    let name = || "t".to_owned();
    let tried = |change| Event::TopicTried { name: name(), change };
    let done = |topic, change| Event::TopicDone { name: name(), topic: [topic; 16], change };
    let seen = |topic: Option<u8>, asked| Event::TopicSeen {
        name: name(),
        topic: topic.map(|topic| [topic; 16]),
        asked,
    };
    let check = |events: &[Event], broken: usize| {
        assert_eq!(super::rules::topics(events).len(), broken, "{events:?}");
    };
    check(&[tried(Made), done(1, Made), seen(Some(1), 2)], 0);
    check(&[tried(Made), done(1, Made), seen(None, 2)], 1);
    check(&[tried(Made), done(1, Made), seen(None, 1)], 0);
    check(&[tried(Made), done(1, Made), seen(Some(2), 2)], 1);
    check(&[tried(Made), done(1, Made), tried(Gone), seen(None, 3)], 0);
    check(&[tried(Made), done(1, Made), tried(Gone), done(1, Gone), seen(Some(1), 4)], 1);
    check(&[seen(Some(1), 0)], 1);
}

#[test]
fn a_relaxed_log_loses_its_end_to_a_power_cut_and_nothing_else() {
    use crate::model::{Down, Keeping};
    let place = PLACE;
    let kept = |relaxed| {
        let how = Keeping { relaxed, ..Keeping::default() };
        Event::Kept { topic: place.topic, how }
    };
    let ack = |number, offset| Event::Ack { place, value: value(number), offset, life: 1 };
    let sent = |number| sent(place, value(number), Promise::AtLeastOnce);
    let got = |offset, number| {
        let value = Some(value(number));
        Event::Deliver { reader: FINAL, place, offset, value, life: 2 }
    };
    let looked = |end, synced| Event::Looked { place, start: 0, end, synced };
    // 0 and 1 are written, then the process ends in some way, then 2 is sent.
    let check = |relaxed, how, synced, then: &[Event], rule: Option<&str>| {
        let mut events = vec![kept(relaxed), Event::Up, sent(0), ack(0, 0), sent(1), ack(1, 1)];
        events.extend([looked(2, synced), Event::Down { how }, Event::Up, sent(2)]);
        events.push(Event::Seek { reader: FINAL, place, offset: 0 });
        events.extend(then.iter().cloned());
        let end = then.len() as i64;
        events.push(Event::Drained { reader: FINAL, place, end });
        events.push(Event::Read { reader: FINAL });
        match rule {
            None => assert_eq!(super::check(&events), Vec::<String>::new(), "{events:?}"),
            Some(rule) => finds("shortened", &events, rule),
        }
    };
    check(true, Down::PowerLost, false, &[got(0, 0), got(1, 2)], None);
    check(true, Down::PowerLost, false, &[], None);
    check(true, Down::Killed, false, &[got(0, 0), got(1, 2)], Some("C1"));
    check(true, Down::PowerLost, true, &[got(0, 0), got(1, 2)], Some("C4"));
    check(false, Down::PowerLost, false, &[got(0, 0), got(1, 2)], Some("C4"));
    check(true, Down::PowerLost, false, &[got(0, 2), got(1, 1)], Some("a hole"));
    check(true, Down::PowerLost, true, &[got(0, 0)], Some("C8"));
}

#[test]
fn logs_begin_later_only_as_their_policy_says() {
    use crate::model::Keeping;
    let looked = |start| Event::Looked { place: PLACE, start, end: 10, synced: true };
    let check = |how: Keeping, starts: &[i64], rule: Option<&str>| {
        let mut events = vec![Event::Kept { topic: PLACE.topic, how }];
        events.push(Event::Clock { wall_ms: 1500 });
        events.extend(good());
        let last = starts.last().copied().unwrap_or(0);
        let at = events.len() - 12;
        events.splice(at..at, starts.iter().map(|start| looked(*start)));
        // The last reading begins there.
        events.retain(|event| {
            !matches!(event, Event::Deliver { reader: FINAL, offset, .. } if *offset < last)
        });
        for event in &mut events {
            if let Event::Seek { reader: FINAL, offset, .. } = event {
                *offset = last;
            }
        }
        match rule {
            None => assert_eq!(super::check(&events), Vec::<String>::new(), "{how:?} {starts:?}"),
            Some(rule) => finds("begins", &events, rule),
        }
    };
    let by_time = |ms| Keeping { retention_ms: Some(ms), ..Keeping::default() };
    let by_size = |bytes| Keeping { retention_bytes: Some(bytes), ..Keeping::default() };
    check(by_time(100), &[2, 5], None);
    check(by_time(100), &[5, 2], Some("C17"));
    check(by_time(900), &[2], Some("too early"));
    check(by_size(500), &[2, 5], None);
    check(by_size(501), &[2, 5], Some("bytes left"));
    check(Keeping::default(), &[2], Some("nothing says it may"));
}

#[test]
fn each_rule_about_groups_has_a_history_that_breaks_it() {
    let joined = |generation, leader: &str, life| {
        let leader = leader.to_owned();
        Event::Joined { generation, leader, life }
    };
    let assigned = |generation, name: &str, partitions: &[i32]| {
        let (name, partitions) = (name.to_owned(), partitions.to_vec());
        Event::Assigned { generation, name, partitions, life: 1 }
    };
    let tried = |number, generation| Event::CommitTried { partition: 0, number, generation };
    let kept = |number| Event::CommitKept { partition: 0, number };
    let seen = |number, asked| Event::CommitSeen { partition: 0, number, asked };
    let check = |events: &[Event], broken: usize| {
        let mut all = vec![Event::Up];
        all.extend(events.iter().cloned());
        assert_eq!(super::groups::groups(&all).len(), broken, "{events:?}");
    };
    check(&[joined(1, "a", 1), joined(1, "a", 1), assigned(1, "a", &[0])], 0);
    check(&[joined(1, "a", 1), joined(1, "b", 1)], 1);
    check(&[assigned(1, "a", &[0]), assigned(1, "b", &[0])], 1);
    check(&[assigned(1, "a", &[0]), assigned(1, "a", &[])], 1);
    check(&[joined(3, "a", 1), joined(2, "a", 2)], 1);
    check(&[joined(2, "a", 1), joined(3, "a", 1), joined(2, "a", 2)], 0);
    check(&[joined(2, "a", 1), assigned(3, "a", &[]), joined(2, "a", 2)], 1);
    check(&[tried(5, 1), kept(5), seen(Some(5), 3)], 0);
    check(&[tried(5, 1), kept(5), seen(None, 3)], 1);
    check(&[tried(5, 1), kept(5), seen(None, 2)], 0);
    check(&[tried(5, 1), kept(5), tried(6, 1), kept(6), seen(Some(5), 5)], 1);
    check(&[tried(5, 1), tried(6, 1), kept(6), seen(Some(5), 4)], 0);
    check(&[tried(5, 1), tried(6, 2), kept(6), seen(Some(5), 4)], 1);
    check(&[seen(Some(5), 1)], 1);
    check(&[assigned(2, "a", &[0]), tried(5, 1), kept(5)], 1);
}
