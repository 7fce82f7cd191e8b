//! Finding topics: what every client asks first.

use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::model::{Change, ClientId, Event, Place};
use crate::workload::Ctx;
use crate::workload::link::{Answer, Link};

/// The first version whose answer holds ids.
const IDS_FROM: u64 = 10;
const NEWEST: u64 = 13;

/// A topic that a client knows.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub id: [u8; 16],
    pub partitions: i32,
    /// Of its partitions' leader.
    pub epoch: i32,
}

impl Known {
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let topic = self.id;
        (0..self.partitions).map(move |partition| Place { topic, partition })
    }
}

/// Asks for topics by name, which makes those that are missing if `create` says so. Returns when
/// it was asked, for [`found`].
pub fn ask<T>(
    link: &mut Link<T>,
    ctx: &mut Ctx<'_>,
    names: &[String],
    create: bool,
    tag: impl FnOnce(usize) -> T,
) {
    for name in names.iter().filter(|_| create) {
        ctx.history.add(Event::TopicTried { name: name.clone(), change: Change::Made });
    }
    let topics =
        names.iter().map(|name| MetadataRequestTopic { topic_id: [0; 16], name: Some(name) });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: create,
        ..MetadataRequest::default()
    };
    let version = i16::try_from(ctx.chance.range(IDS_FROM, NEWEST)).expect("small");
    let asked = ctx.history.events.len();
    link.send(ctx.net, version, &request, Some(tag(asked)));
}

/// The topics of an answer; those that are not there are left out.
pub fn found<T>(
    answer: &Answer<T>,
    asked: usize,
    client: ClientId,
    ctx: &mut Ctx<'_>,
) -> Result<Vec<Known>, String> {
    let response: MetadataResponse<'_> = answer.decode()?;
    let mut known = Vec::new();
    for topic in &response.topics {
        let name = topic.name.unwrap_or_default().to_owned();
        let code = ErrorCode::from_number(topic.error_code);
        let id = match code {
            Some(ErrorCode::None) => Some(topic.topic_id),
            Some(ErrorCode::UnknownTopicOrPartition) => None,
            _ => {
                ctx.wrong(client, format!("metadata of {name}: error {}", topic.error_code));
                continue;
            }
        };
        ctx.history.add(Event::TopicSeen { name: name.clone(), topic: id, asked });
        let Some(id) = id else { continue };
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(0);
        let epoch = topic.partitions.first().map_or(-1, |first| first.leader_epoch);
        known.push(Known { name, id, partitions, epoch });
    }
    Ok(known)
}
