//! `/v1/topics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sabir_broker::caller::Caller;
use sabir_broker::declare::Declare;
use sabir_broker::error::{Error, Kind};
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::{Class, Ticket};
use sabir_broker::topic::{Effective, Policy, Topic};
use sabir_kafka::config::Kept;
use sabir_net::random::SystemRandom;
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Body, Refused, kept};
use super::namespaces::Asker;
use super::shapes::{
    self, AlterTopic, CreateTopic, SetPartitions, TopicLine, TopicSettings, Topics,
};

pub(super) type Answer<T> = Result<T, Refused>;

/// Changes tried before a change of others every time is an error.
const ATTEMPTS_MAX: usize = 16;

pub async fn list(Asker(caller): Asker) -> Json<Topics> {
    let mut topics = caller.topics();
    topics.retain(|topic| may_see(&caller, topic).is_ok());
    let lines = topics.iter().map(|topic| line(topic)).collect();
    kept(&caller, caller.catalog_ticket()).await;
    Json(Topics { topics: lines })
}

pub async fn create(
    State(admin): State<Arc<Admin>>,
    Asker(caller): Asker,
    Body(wanted): Body<CreateTopic>,
) -> Answer<(StatusCode, Json<shapes::Topic>)> {
    let declare = Declare {
        name: wanted.name,
        partitions: wanted.partitions.unwrap_or(admin.partitions),
        policy: policy(&wanted.settings, Policy::default())?,
        labels: Default::default(),
    };
    let mut random = SystemRandom::default();
    let (topic, ticket) = caller.declare(admin.clock.now(), &mut random, declare)?;
    kept(&caller, ticket).await;
    Ok((StatusCode::CREATED, Json(whole(&topic))))
}

pub async fn describe(
    Asker(caller): Asker,
    Path(name): Path<String>,
) -> Answer<Json<shapes::Topic>> {
    let topic = whole(&*find(&caller, &name)?);
    kept(&caller, caller.catalog_ticket()).await;
    Ok(Json(topic))
}

pub async fn alter(
    Asker(caller): Asker,
    Path(name): Path<String>,
    Body(wanted): Body<AlterTopic>,
) -> Answer<Json<shapes::Topic>> {
    let ticket = change(&caller, &name, |topic| {
        let policy = policy(&wanted.settings, topic.policy.clone())?;
        // What a protocol has promised of the topic has to hold afterwards too.
        let after = Kept { policy, ..Kept::of(topic) };
        after.check(caller.broker().defaults()).map_err(Error::invalid)?;
        caller.alter(topic, after.policy, after.labels)
    })?;
    kept(&caller, ticket).await;
    Ok(Json(whole(&*find(&caller, &name)?)))
}

pub async fn set_partitions(
    Asker(caller): Asker,
    Path(name): Path<String>,
    Body(wanted): Body<SetPartitions>,
) -> Answer<Json<shapes::Topic>> {
    let ticket = change(&caller, &name, |topic| caller.add_partitions(topic, wanted.count))?;
    kept(&caller, ticket).await;
    Ok(Json(whole(&*find(&caller, &name)?)))
}

/// Changes the topic as it stands; again when it has changed meanwhile.
fn change(
    caller: &Caller,
    name: &str,
    act: impl Fn(&Arc<Topic>) -> Result<Ticket, Error>,
) -> Answer<Ticket> {
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        match act(&find(caller, name)?) {
            Err(error) if error.kind == Kind::Conflict => last = Some(error),
            done => return Ok(done?),
        }
    }
    Err(Refused(last.expect("at least one attempt")))
}

pub async fn delete(Asker(caller): Asker, Path(name): Path<String>) -> Answer<StatusCode> {
    let ticket = caller.delete(&*find(&caller, &name)?)?;
    kept(&caller, ticket).await;
    Ok(StatusCode::NO_CONTENT)
}

fn may_see(caller: &Caller, topic: &Topic) -> Result<(), Error> {
    caller.allowed(Action::Describe, Resource::Topic(&topic.name))
}

pub(super) fn find(caller: &Caller, name: &str) -> Answer<Arc<Topic>> {
    let topic = caller.topic(name).filter(|topic| may_see(caller, topic).is_ok());
    topic.ok_or_else(|| Refused(Error::new(Kind::NotFound, format!("no topic {name:?}"))))
}

fn line(topic: &Topic) -> TopicLine {
    let views = topic.partitions.iter().map(|partition| &partition.view);
    let records = views.map(|view| view.visible() - view.start());
    TopicLine {
        name: topic.name.to_string(),
        id: uuid(&topic.uuid),
        partitions: topic.partitions.len() as u32,
        records: records.map(|count| u64::try_from(count).unwrap_or(0)).sum(),
    }
}

fn whole(topic: &Topic) -> shapes::Topic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, number)| {
        let (start, end) = (partition.view.start(), partition.view.visible());
        shapes::Partition { partition: number, start, end }
    });
    shapes::Topic {
        name: topic.name.to_string(),
        id: uuid(&topic.uuid),
        created_ms: topic.created_ms,
        partitions: partitions.collect(),
        settings: settings(&topic.effective),
        own: own(&topic.policy),
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    let number = u128::from_be_bytes(*bytes);
    let part = |from: u32, digits: usize| {
        let mask = (1_u128 << (digits * 4)) - 1;
        format!("{:0digits$x}", number >> from & mask)
    };
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

fn settings(effective: &Effective) -> TopicSettings {
    let durability = match effective.durability {
        Class::Os => "os",
        Class::Durable => "durable",
    };
    let all = [
        ("retention_ms", json!(effective.retention_ms)),
        ("retention_bytes", json!(effective.retention_bytes)),
        ("segment_bytes", json!(effective.segment_bytes)),
        ("segment_ms", json!(effective.segment_ms)),
        ("message_bytes_max", json!(effective.message_bytes_max)),
        ("append_time", json!(effective.append_time)),
        ("before_ms_max", json!(effective.before_ms_max)),
        ("after_ms_max", json!(effective.after_ms_max)),
        ("durability", json!(durability)),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

fn own(policy: &Policy) -> Vec<String> {
    let all = [
        ("retention_ms", policy.retention_ms.is_some()),
        ("retention_bytes", policy.retention_bytes.is_some()),
        ("segment_bytes", policy.segment_bytes.is_some()),
        ("segment_ms", policy.segment_ms.is_some()),
        ("message_bytes_max", policy.message_bytes_max.is_some()),
        ("append_time", policy.append_time.is_some()),
        ("before_ms_max", policy.before_ms_max.is_some()),
        ("after_ms_max", policy.after_ms_max.is_some()),
        ("durability", policy.durability.is_some()),
    ];
    all.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect()
}

/// The policy with these settings; null takes one out. Bounds as for Kafka's configs.
fn policy(settings: &TopicSettings, mut policy: Policy) -> Result<Policy, Error> {
    const ANY: i64 = i64::MAX;
    const INT_MAX: i64 = i32::MAX as i64;
    for (name, value) in settings {
        match name.as_str() {
            "retention_ms" => policy.retention_ms = number(name, value, -1, ANY)?,
            "retention_bytes" => policy.retention_bytes = number(name, value, -1, ANY)?,
            "segment_bytes" => policy.segment_bytes = number(name, value, 1 << 20, INT_MAX)?,
            "segment_ms" => policy.segment_ms = number(name, value, 1, ANY)?,
            "message_bytes_max" => policy.message_bytes_max = number(name, value, 0, INT_MAX)?,
            "append_time" => policy.append_time = switch(name, value)?,
            "before_ms_max" => policy.before_ms_max = number(name, value, 0, ANY)?,
            "after_ms_max" => policy.after_ms_max = number(name, value, 0, ANY)?,
            "durability" => policy.durability = class(name, value)?,
            _ => return Err(Error::invalid(format!("no setting {name:?}"))),
        }
    }
    Ok(policy)
}

fn number(name: &str, value: &Value, min: i64, max: i64) -> Result<Option<i64>, Error> {
    match value {
        Value::Null => Ok(None),
        value => match value.as_i64().filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(unfit(name, &format!("a number from {min} to {max}"), value)),
        },
    }
}

fn switch(name: &str, value: &Value) -> Result<Option<bool>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(on) => Ok(Some(*on)),
        value => Err(unfit(name, "true or false", value)),
    }
}

fn class(name: &str, value: &Value) -> Result<Option<Class>, Error> {
    match (value, value.as_str()) {
        (Value::Null, _) => Ok(None),
        (_, Some("os")) => Ok(Some(Class::Os)),
        (_, Some("durable")) => Ok(Some(Class::Durable)),
        _ => Err(unfit(name, "\"durable\" or \"os\"", value)),
    }
}

fn unfit(name: &str, wants: &str, found: &Value) -> Error {
    Error::invalid(format!("{name}: expected {wants}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_in_its_usual_form() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8 * 0x11);
        assert_eq!(uuid(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn every_setting_that_is_shown_can_be_set_and_unset() {
        let shown = settings(&Effective { before_ms_max: 5, ..Effective::default() });
        let set = policy(&shown, Policy::default()).unwrap();
        let names: Vec<String> = shown.keys().cloned().collect();
        let mut got = own(&set);
        got.sort();
        assert_eq!(got, names);
        assert_eq!(settings(&Effective::default().with(&set)), shown);
        let unset = names.into_iter().map(|name| (name, Value::Null)).collect();
        assert_eq!(policy(&unset, set).unwrap(), Policy::default());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            ("teapot", json!(1), "no setting \"teapot\""),
            ("append_time", json!(1), "append_time: expected true or false, found 1"),
            ("durability", json!("x"), "durability: expected \"durable\" or \"os\", found \"x\""),
            (
                "segment_bytes",
                json!(5),
                "segment_bytes: expected a number from 1048576 to 2147483647, found 5",
            ),
        ];
        for (name, value, want) in cases {
            let set = [(name.to_owned(), value)].into();
            let error = policy(&set, Policy::default()).unwrap_err();
            assert_eq!((error.kind, &*error.message), (Kind::Invalid, want));
        }
    }
}
