//! A reader of partitions by offset: with sessions or without, with long polls, from where it was
//! over any number of connections and lives of the broker.

use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use sabir_kafka::generated::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use crate::life::Life;
use crate::model::{ClientId, Event, Place};
use crate::net::Net;
use crate::workload::link::{Answer, Link};
use crate::workload::records::records;
use crate::workload::topics;
use crate::workload::{Client, Ctx};

const IDS_FROM: i16 = 13;
const SESSIONS_FROM: i16 = 7;
/// From this version a reader says under which epoch it read last.
const EPOCHS_FROM: i16 = 12;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// How a reader works.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    pub topics: Vec<String>,
    /// Topics may vanish and come back: then it goes on with the new one.
    pub churn: bool,
    /// A power cut may take back what was read.
    pub relaxed: bool,
    /// Of the fetch request.
    pub version: i16,
    pub session: bool,
    pub max_wait_ms: i32,
    pub max_bytes: i32,
    /// Reads what there is once, then is done.
    pub drain: bool,
}

enum Ask {
    Topics(usize),
    /// Earliest or latest.
    Offsets(i64),
    Fetch,
}

struct Part {
    name: String,
    place: Place,
    /// None = not known yet.
    next: Option<i64>,
    /// Where a draining reader stops.
    end: Option<i64>,
    epoch: i32,
    /// The session knows this offset.
    told: Option<i64>,
}

/// A reader's state.
pub struct Consumer {
    id: ClientId,
    plan: ConsumerPlan,
    link: Link<Ask>,
    parts: Vec<Part>,
    /// Id and next epoch.
    session: Option<(i32, i32)>,
    drained: bool,
}

impl Consumer {
    pub fn new(id: ClientId, plan: ConsumerPlan) -> Consumer {
        Consumer {
            id,
            plan,
            link: Link::default(),
            parts: Vec::new(),
            session: None,
            drained: false,
        }
    }

    /// What is asked next, if anything.
    fn ask(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.link.waiting() > 0 {
            return false;
        }
        if self.parts.is_empty() {
            topics::ask(&mut self.link, ctx, &self.plan.topics, false, Ask::Topics);
        } else if self.parts.iter().any(|part| part.next.is_none()) {
            self.ask_offsets(ctx, EARLIEST);
        } else if self.plan.drain && self.parts.iter().any(|part| part.end.is_none()) {
            self.ask_offsets(ctx, LATEST);
        } else {
            self.fetch(ctx);
        }
        true
    }

    fn ask_offsets(&mut self, ctx: &mut Ctx<'_>, timestamp: i64) {
        let mut topics: Vec<ListOffsetsTopic<'_>> = Vec::new();
        for part in &self.parts {
            let asked = ListOffsetsPartition {
                partition_index: part.place.partition,
                current_leader_epoch: -1,
                timestamp,
                ..ListOffsetsPartition::default()
            };
            match topics.iter_mut().find(|topic| topic.name == part.name) {
                Some(topic) => topic.partitions.push(asked),
                None => {
                    topics.push(ListOffsetsTopic { name: &part.name, partitions: vec![asked] });
                }
            }
        }
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let version = i16::try_from(ctx.chance.range(1, 8)).expect("small");
        self.link.send(ctx.net, version, &request, Some(Ask::Offsets(timestamp)));
    }

    fn on_offsets(
        &mut self,
        answer: &Answer<Ask>,
        timestamp: i64,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let response: ListOffsetsResponse<'_> = answer.decode()?;
        for topic in &response.topics {
            for told in &topic.partitions {
                let found = self.parts.iter_mut().find(|part| {
                    part.name == topic.name && part.place.partition == told.partition_index
                });
                let part = found.ok_or("offsets of a partition that was not asked for")?;
                if told.error_code != 0 {
                    if self.plan.churn {
                        self.parts.clear();
                        return Ok(());
                    }
                    return Err(format!(
                        "no offsets of {:?}: error {}",
                        part.place, told.error_code
                    ));
                }
                if timestamp == EARLIEST {
                    (part.next, part.epoch) = (Some(told.offset), -1);
                    let (reader, place, offset) = (self.id, part.place, told.offset);
                    ctx.history.add(Event::Seek { reader, place, offset });
                } else {
                    part.end = Some(told.offset);
                }
            }
        }
        Ok(())
    }

    fn fetch(&mut self, ctx: &mut Ctx<'_>) {
        let version = self.plan.version;
        let (session_id, session_epoch) = match self.session {
            _ if version < SESSIONS_FROM || !self.plan.session => (0, -1),
            Some(session) => session,
            None => (0, 0),
        };
        let part_bytes = self.plan.max_bytes;
        let mut topics: Vec<FetchTopic<'_>> = Vec::new();
        for part in &mut self.parts {
            if session_epoch > 0 && part.told == part.next {
                continue;
            }
            part.told = part.next;
            let asked = FetchPartition {
                partition: part.place.partition,
                fetch_offset: part.next.expect("known before a fetch"),
                last_fetched_epoch: if version >= EPOCHS_FROM { part.epoch } else { -1 },
                partition_max_bytes: part_bytes,
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|topic| topic.topic_id == part.place.topic) {
                Some(topic) => topic.partitions.push(asked),
                None => topics.push(FetchTopic {
                    topic: &part.name,
                    topic_id: part.place.topic,
                    partitions: [asked].into(),
                }),
            }
        }
        let request = FetchRequest {
            max_wait_ms: if self.plan.drain { 0 } else { self.plan.max_wait_ms },
            min_bytes: 1,
            max_bytes: self.plan.max_bytes,
            session_id,
            session_epoch,
            topics: topics.into(),
            ..FetchRequest::default()
        };
        self.link.send(ctx.net, version, &request, Some(Ask::Fetch));
    }

    fn on_fetched(&mut self, answer: &Answer<Ask>, ctx: &mut Ctx<'_>) -> Result<(), String> {
        let response: FetchResponse<'_> = answer.decode()?;
        match ErrorCode::from_number(response.error_code) {
            Some(ErrorCode::None) => {}
            code => return Err(format!("fetch refused: {code:?}")),
        }
        if self.plan.session && self.plan.version >= SESSIONS_FROM {
            let epoch = self.session.map_or(0, |session| session.1);
            self.session = (response.session_id != 0).then_some((response.session_id, epoch + 1));
        }
        for topic in &response.responses {
            for data in &topic.partitions {
                let by_id = self.plan.version >= IDS_FROM;
                let found = self.parts.iter().position(|part| {
                    part.place.partition == data.partition_index
                        && if by_id {
                            part.place.topic == topic.topic_id
                        } else {
                            part.name == topic.topic
                        }
                });
                let at = found.ok_or("records of a partition that was not asked for")?;
                self.on_part(at, data, answer.life, ctx)?;
                if self.parts.is_empty() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn on_part(
        &mut self,
        at: usize,
        data: &PartitionData<'_>,
        life: u64,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let part = &mut self.parts[at];
        let (reader, place) = (self.id, part.place);
        let next = part.next.expect("known before a fetch");
        match ErrorCode::from_number(data.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::OffsetOutOfRange) => {
                ctx.history.add(Event::OutOfRange { reader, place, offset: next });
                part.next = None;
                return Ok(());
            }
            Some(ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition)
                if self.plan.churn =>
            {
                self.parts.clear();
                self.session = None;
                return Ok(());
            }
            code => return Err(format!("fetch of {place:?} at {next}: {code:?}")),
        }
        if data.diverging_epoch.epoch >= 0 && self.plan.relaxed {
            // What it read last is not there any more.
            let offset = data.diverging_epoch.end_offset.min(next);
            (part.next, part.epoch) = (Some(offset), data.diverging_epoch.epoch);
            ctx.history.add(Event::Seek { reader, place, offset });
            return Ok(());
        }
        if data.diverging_epoch.epoch >= 0 {
            return Err(format!(
                "{place:?} diverges at {:?}, read to {next}",
                data.diverging_epoch
            ));
        }
        let (start, end) = (data.log_start_offset, data.high_watermark);
        ctx.history.add(Event::Bounds { place, start, end });
        let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        for found in records(&bytes)? {
            if found.offset >= end {
                return Err(format!("{place:?}: offset {} behind the end {end}", found.offset));
            }
            let wanted = part.next.expect("known before a fetch");
            if found.offset < wanted {
                continue;
            }
            if found.offset < start {
                return Err(format!("{place:?}: offset {} below the start {start}", found.offset));
            }
            let (offset, value) = (found.offset, found.value);
            ctx.history.add(Event::Deliver { reader, place, offset, value, life });
            part.next = Some(offset + 1);
            if found.epoch < part.epoch {
                return Err(format!("{place:?}: the leader epoch falls at offset {offset}"));
            }
            part.epoch = found.epoch;
        }
        Ok(())
    }

    fn note_drained(&mut self, ctx: &mut Ctx<'_>) {
        let reached = |part: &Part| part.end.is_some_and(|end| part.next >= Some(end));
        if !self.plan.drain || self.drained {
            return;
        }
        if !self.parts.is_empty() && self.parts.iter().all(reached) {
            self.drained = true;
            for part in &self.parts {
                let (place, end) = (part.place, part.end.expect("reached"));
                ctx.history.add(Event::Drained { reader: self.id, place, end });
            }
        }
    }

    fn restart(&mut self) {
        self.session = None;
    }
}

impl Client for Consumer {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        match self.link.receive(ctx.net) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                let done = match answer.tag {
                    Ask::Topics(asked) => {
                        topics::found(&answer, asked, self.id, ctx).map(|known| {
                            self.parts = known.iter().flat_map(parts).collect();
                            // Nothing was ever made: that is all there is to read.
                            self.drained = self.plan.drain && self.parts.is_empty();
                        })
                    }
                    Ask::Offsets(which) => self.on_offsets(&answer, which, ctx),
                    Ask::Fetch => self.on_fetched(&answer, ctx),
                };
                if let Err(what) = done {
                    ctx.wrong(self.id, what);
                }
                self.note_drained(ctx);
                return true;
            }
            Err(what) => {
                ctx.wrong(self.id, what);
                return false;
            }
        }
        if self.link.lost(ctx.net).is_some() {
            self.restart();
            return true;
        }
        if self.drained {
            return false;
        }
        if !self.link.is_open() {
            return self.link.connect(ctx);
        }
        self.ask(ctx)
    }

    fn hang_up(&mut self, net: &mut Net) {
        self.link.hang_up(net);
        self.restart();
    }

    fn is_done(&self, life: &Life) -> bool {
        if self.plan.drain {
            return self.drained;
        }
        let at_end = |part: &Part| {
            let Some(topic) = life.caller.topic_by_uuid(&part.place.topic) else { return true };
            let partition = usize::try_from(part.place.partition).expect("not negative");
            part.next == Some(topic.partitions[partition].view.visible())
        };
        self.parts.iter().all(at_end)
    }

    fn describe(&self) -> String {
        let at: Vec<_> = self.parts.iter().map(|part| (part.place, part.next, part.end)).collect();
        format!("reader {}: at {at:?}, {} requests not answered", self.id, self.link.waiting())
    }
}

fn parts(topic: &topics::Known) -> Vec<Part> {
    let name = &topic.name;
    let part =
        |place| Part { name: name.clone(), place, next: None, end: None, epoch: -1, told: None };
    topic.places().map(part).collect()
}
