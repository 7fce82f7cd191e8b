//! Record batches and the requests that carry them.

use sabir_broker::batch::build::{Builder, Record};
use sabir_kafka::generated::fetch::{FetchPartition, FetchRequest, FetchTopic};
use sabir_kafka::generated::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::house::NOON_MS;

/// A batch with one record per value.
pub fn batch(values: &[&str]) -> Vec<u8> {
    at(NOON_MS, values).seal()
}

pub fn batch_at(timestamp: i64, values: &[&str]) -> Vec<u8> {
    at(timestamp, values).seal()
}

/// One record of an idempotent producer.
pub fn batch_of(producer_id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    at(NOON_MS, &["v"]).seal_for(producer_id, epoch, sequence)
}

fn at(timestamp: i64, values: &[&str]) -> Builder {
    let mut builder = Builder::default();
    for value in values {
        builder.push(&Record { timestamp, value: Some(value.as_bytes()), ..Record::default() });
    }
    builder
}

/// Sets bits in the attributes of a batch, and its checksum anew.
pub fn flag(mut batch: Vec<u8>, bits: u8) -> Vec<u8> {
    batch[22] |= bits;
    let crc = sabir_broker::batch::checksum(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

pub fn produce<'a>(
    topic: &'a str,
    id: [u8; 16],
    partition: i32,
    acks: i16,
    records: &'a [u8],
) -> ProduceRequest<'a> {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 1000,
        topic_data: [TopicProduceData {
            name: topic,
            topic_id: id,
            partition_data: [PartitionProduceData { index: partition, records: Some(records) }]
                .into(),
        }]
        .into(),
    }
}

/// One partition to read.
pub fn part(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        ..FetchPartition::default()
    }
}

/// A fetch without a session that does not wait.
pub fn fetch(topic: &str, id: [u8; 16], partitions: Vec<FetchPartition>) -> FetchRequest<'_> {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_id: 0,
        session_epoch: -1,
        topics: [FetchTopic { topic, topic_id: id, partitions: partitions.into() }].into(),
        ..FetchRequest::default()
    }
}
