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
