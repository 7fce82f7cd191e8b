//! The rules of topics that are kept otherwise than usual: those that a power cut may shorten, and
//! those that retention shortens.

use std::collections::BTreeMap;

use super::rules::Rule;
use super::{At, Gathered};
use crate::model::{Place, Value};

/// Rules about records that may go.
pub const RULES: &[Rule] = &[shortened, begins, not_before_time, not_below_size];

/// What is known of a log at one offset: when, and which record.
type Known = BTreeMap<(Place, i64), Vec<(At, Value)>>;

/// Of a log that a power cut may shorten: it loses an end of it, all of that end, and nothing that
/// was synced. What is behind it later was sent later.
fn shortened(all: &Gathered) -> Vec<String> {
    let known = known(all);
    let mut broken = Vec::new();
    for ((place, offset), values) in known.iter() {
        for (first, then) in values.iter().zip(&values[1..]) {
            if first.1 == then.1 || all.may_be_lost(*place, *offset, first.0, then.0) {
                continue;
            }
            let (first, then) = (first.1, then.1);
            broken
                .push(format!("C4 {place:?} {offset}: {first:?} became {then:?}, no cut between"));
        }
    }
    for cut in &all.cuts {
        let mut differs: Option<(Place, i64)> = None;
        for ((place, offset), values) in known.iter() {
            // An earlier cut may have taken it back already.
            let before = values
                .iter()
                .rev()
                .find(|known| known.0 < *cut && !all.may_be_lost(*place, *offset, known.0, *cut));
            let after = values.iter().find(|known| known.0 > *cut);
            let (Some(before), Some(after)) = (before, after) else { continue };
            if before.1 != after.1 && differs.is_none_or(|differs| differs.0 != *place) {
                differs = Some((*place, *offset));
            }
            // The log ended here or before, so this one came behind the cut, unless another cut
            // stood between.
            let sent = all.sent.get(&(*place, after.1)).map_or(0, |sent| sent.tried);
            if differs.is_some_and(|differs| differs.0 == *place) && sent < *cut {
                let (value, differs) = (after.1, differs.map(|differs| differs.1));
                broken.push(format!(
                    "C4 a hole: {place:?} was cut at {differs:?}, and {value:?}, sent before, is \
                     at {offset}"
                ));
            }
        }
    }
    broken
}

/// What anybody knew of relaxed logs, in the order of time.
fn known(all: &Gathered) -> Known {
    let mut known = Known::new();
    for ((place, value), sent) in all.sent.iter().filter(|sent| all.keeping(sent.0.0).relaxed) {
        if let Some(offset) = sent.acked {
            known.entry((*place, offset)).or_default().push((sent.acked_at, *value));
        }
    }
    for got in all.got.iter().filter(|got| all.keeping(got.place).relaxed) {
        if let Some(value) = got.value {
            known.entry((got.place, got.offset)).or_default().push((got.at, value));
        }
    }
    known.values_mut().for_each(|values| values.sort_unstable());
    known
}

/// C17: the beginning of a log never goes back, and does not move without a policy.
fn begins(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    for (place, looks) in &all.looks {
        for (before, after) in looks.iter().zip(&looks[1..]) {
            if after.start < before.start {
                let (before, after) = (before.start, after.start);
                broken.push(format!("C17 {place:?} began at {before}, now at {after}"));
            }
        }
        let how = all.keeping(*place);
        let last = looks.last().map_or(0, |look| look.start);
        if how.retention_ms.is_none() && how.retention_bytes.is_none() && last > 0 {
            broken.push(format!("C17 {place:?} begins at {last}, and nothing says it may"));
        }
        for reading in &all.readings {
            let Some((now, at)) = reading.starts.get(place) else { continue };
            let before = looks.iter().take_while(|look| look.at < *at).map(|look| look.start);
            let before = before.max().unwrap_or(0);
            if *now < before {
                broken.push(format!("C17 {place:?} began at {before}, is read from {now}"));
            }
        }
    }
    broken
}

/// C17: a record goes at its time at the earliest.
fn not_before_time(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    let acked = all
        .sent
        .iter()
        .filter_map(|((place, value), sent)| sent.acked.map(|offset| (*place, offset, *value)));
    let got = all.got.iter().filter_map(|got| got.value.map(|v| (got.place, got.offset, v)));
    for (place, offset, value) in acked.chain(got) {
        let Some(retention_ms) = all.keeping(place).retention_ms else { continue };
        let Some(sent) = all.sent.get(&(place, value)) else { continue };
        for reading in all.readings.iter().filter(|reading| offset < reading.start(place)) {
            let clocks = all.clocks.iter().take_while(|clock| clock.0 < reading.at);
            let now = clocks.last().map_or(i64::MIN, |clock| clock.1);
            if now <= sent.time_ms.saturating_add(retention_ms) {
                let early = sent.time_ms + retention_ms - now;
                broken.push(format!("C17 {value:?} of {place:?} went {early} ms too early"));
            }
        }
    }
    broken
}

/// C17: retention by size leaves at least that much.
fn not_below_size(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    for reading in &all.readings {
        for (place, (start, _)) in reading.starts.iter().filter(|(_, start)| start.0 > 0) {
            let how = all.keeping(*place);
            let (Some(least), false) = (how.retention_bytes, how.relaxed) else { continue };
            let found = reading.found.get(place).into_iter().flatten();
            let found = found.filter(|(offset, _)| *offset >= start);
            let sent = found.filter_map(|(_, value)| all.sent.get(&(*place, (*value)?)));
            let left: i64 = sent.map(|sent| i64::from(sent.bytes)).sum();
            if left < least {
                broken.push(format!("C17 {place:?} has {left} bytes left of {least} from {start}"));
            }
        }
    }
    broken
}
