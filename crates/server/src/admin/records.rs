//! `/v1/topics/{name}/records`: takes single records, and answers once they are durable.

pub mod shapes;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use sabir_broker::batch::encode::{Encoder, Span, Value};
use sabir_broker::caller::Caller;
use sabir_broker::clock::Now;
use sabir_broker::error::{Error, Kind};
use sabir_broker::policy::{Action, Resource};
use sabir_broker::publish::PublishOp;
use sabir_broker::spread;
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::Topic;
use sabir_broker::wake::Waker;

use super::Admin;
use super::answer::{Body, Refused, kept};
use super::namespaces::Asker;
use super::topics::find;
use crate::base64;
use shapes::{Place, Publish, Published, Record};

/// Largest body of a request: one record of several mebibytes in base64.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// An answer is held back no longer than this for a quota; the request itself has a limit too.
const HOLD_MAX: Duration = Duration::from_secs(10);

pub async fn publish(
    State(admin): State<Arc<Admin>>,
    Asker(caller): Asker,
    Path(name): Path<String>,
    Body(wanted): Body<Publish>,
) -> Result<Json<Published>, Refused> {
    let topic = find(&caller, &name)?;
    caller.allowed(Action::Publish, Resource::Topic(&topic.name))?;
    if wanted.records.is_empty() {
        return Err(Error::invalid("there are no records").into());
    }
    let now = admin.clock.now();
    caller.request(now);
    let turn = admin.turn.fetch_add(1, Ordering::Relaxed);
    let mut letter = Letter::default();
    for (at, record) in wanted.records.iter().enumerate() {
        let added = letter.add(now, &topic, record, turn);
        added.map_err(|error| in_record(at, error))?;
    }
    let (places, ticket) = letter.send(&admin, &caller, &topic).await?;
    kept(&caller, ticket).await;
    // Who is over the quota of its namespace gets its answer later.
    tokio::time::sleep(caller.hold(now).min(HOLD_MAX)).await;
    Ok(Json(Published { records: places }))
}

/// Records that are checked and encoded.
#[derive(Default)]
struct Letter<'a> {
    encoder: Encoder,
    records: Vec<Ready<'a>>,
}

/// One of them.
struct Ready<'a> {
    span: Span,
    value: Option<Cow<'a, [u8]>>,
    partition: usize,
    timestamp: Option<i64>,
}

impl Ready<'_> {
    fn value(&self) -> Value<'_> {
        Value::Copied(self.value.as_deref().unwrap_or_default())
    }
}

impl<'a> Letter<'a> {
    /// Takes a record in, if the topic takes it.
    fn add(
        &mut self,
        now: Now,
        topic: &Topic,
        record: &'a Record,
        turn: usize,
    ) -> Result<(), Error> {
        let key = bytes("key", record.key.as_deref(), record.key_base64.as_deref())?;
        let value = bytes("value", record.value.as_deref(), record.value_base64.as_deref())?;
        let headers = record.headers.iter().map(|header| {
            let value = (header.value.as_deref(), header.value_base64.as_deref());
            Ok((header.name.as_bytes(), bytes("header", value.0, value.1)?))
        });
        let headers = headers.collect::<Result<Vec<_>, Error>>()?;
        let count = topic.partitions.len();
        let partition = match (record.partition, &key) {
            (Some(number), _) => usize::try_from(number).unwrap_or(usize::MAX),
            (None, Some(key)) => spread::by_key(key, count),
            (None, None) => turn % count,
        };
        if partition >= count {
            let message = format!("no partition {partition}: the topic has {count}");
            return Err(Error::new(Kind::NotFound, message));
        }
        let headers = headers.iter().map(|(name, value)| (*name, value.as_deref()));
        let len = value.as_deref().map(<[u8]>::len);
        let span = self.encoder.encode(key.as_deref(), len, headers);
        let ready = Ready { span, value, partition, timestamp: record.timestamp_ms };
        topic.takes(now, &self.encoder.record(span, ready.value()), ready.timestamp)?;
        self.records.push(ready);
        Ok(())
    }

    /// Publishes all records, and waits where there is no room. What the answer rests on is the
    /// ticket.
    async fn send(
        &self,
        admin: &Admin,
        caller: &Caller,
        topic: &Topic,
    ) -> Result<(Vec<Place>, Ticket), Refused> {
        let mut places = vec![Place::default(); self.records.len()];
        let mut left: Vec<usize> = (0..places.len()).collect();
        let (mut outcomes, mut ticket) = (Vec::new(), Ticket::DONE);
        let me = Waker::none();
        while !left.is_empty() {
            let ops: Vec<_> = left.iter().map(|at| self.op(topic, &self.records[*at])).collect();
            caller.publish(admin.clock.now(), &ops, &me, &mut outcomes);
            let mut wait = Ticket::DONE;
            let mut again = Vec::new();
            for (at, outcome) in left.drain(..).zip(outcomes.drain(..)) {
                match outcome {
                    Ok(placed) => {
                        let partition = self.records[at].partition as u32;
                        places[at] = Place { partition, offset: placed.base };
                        ticket = ticket.join(placed.ticket);
                    }
                    Err(Error { kind: Kind::Throttled, wait: Some(until), .. }) => {
                        wait = wait.join(until);
                        again.push(at);
                    }
                    Err(error) => return Err(in_record(at, error).into()),
                }
            }
            kept(caller, wait).await;
            left = again;
        }
        Ok((places, ticket))
    }

    fn op<'r>(&'r self, topic: &Topic, ready: &'r Ready<'a>) -> PublishOp<'r> {
        PublishOp {
            target: topic.target(ready.partition).expect("checked when it was added"),
            record: self.encoder.record(ready.span, ready.value()),
            timestamp: ready.timestamp,
        }
    }
}

/// Says which record is refused. Others of the request may be in the topic all the same.
fn in_record(at: usize, error: Error) -> Error {
    Error { message: format!("record {at}: {}", error.message).into(), ..error }
}

/// Bytes given in one of two forms, or in none.
fn bytes<'a>(
    name: &str,
    text: Option<&'a str>,
    base64: Option<&str>,
) -> Result<Option<Cow<'a, [u8]>>, Error> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(Error::invalid(format!("{name}: both as text and in base64"))),
        (None, Some(text)) => match base64::decode(text) {
            Some(bytes) => Ok(Some(bytes.into())),
            None => Err(Error::invalid(format!("{name}: not base64"))),
        },
        (text, None) => Ok(text.map(|text| text.as_bytes().into())),
    }
}
