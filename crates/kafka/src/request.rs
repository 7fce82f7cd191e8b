//! From a frame to its handler: one file per request, named after it.

mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

use bytes::Bytes;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use crate::api::ApiKey;
use crate::codec::{Message, Reader, RequestHeader};
use crate::connection::{Context, Head};
use crate::replies::Reply;

/// What became of a request.
pub enum Outcome {
    Reply(Reply),
    /// It is asked again after each wake.
    Wait(Box<dyn Waiting>),
    /// The client asked for no answer.
    Silent,
}

/// A request that cannot be answered yet.
pub trait Waiting: Send {
    /// Looks again; None = not yet.
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close>;

    /// When to look again even if nothing happens.
    fn deadline(&self) -> Option<Instant>;

    /// The client has gone: nobody is to be woken any more.
    fn cancel(&mut self, caller: &Caller, me: &Waker);

    /// True for a long poll, which a stopping server need not wait for.
    fn may_end(&self) -> bool;
}

/// The requests that are served in full, and so advertised.
pub const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::CreatePartitions,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
];

/// Checks that a request of this key and version is served. What is not ends the connection, as
/// with the original; only a newer ApiVersions gets an answer (KIP-511).
pub fn known(key: i16, version: i16) -> Result<ApiKey, Close> {
    let served = SERVED.iter().copied().find(|served| served.number() == key);
    let Some(served) = served else {
        return Err(Close::because(format!("request key {key} is not served")));
    };
    if served.serves(version) || served == ApiKey::ApiVersions {
        return Ok(served);
    }
    Err(Close::because(format!("{} version {version} is not served", served.name())))
}

/// Handles one request; `frame` lacks its length.
pub fn handle(context: &mut Context<'_>, frame: Bytes) -> Result<Outcome, Close> {
    let malformed = |what: &dyn std::fmt::Display| Close::because(format!("bad request: {what}"));
    let (key, version, correlation) =
        RequestHeader::peek(&frame).map_err(|error| malformed(&error))?;
    let key = known(key, version)?;
    let mut head = Head { key, version, correlation, client_id: None };
    if key == ApiKey::ApiVersions && !key.serves(version) {
        return api_versions::too_new(context, head);
    }
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::read(&mut reader, key.request_header_version(version))
        .map_err(|error| malformed(&error))?;
    head.client_id = context.client_id(header.client_id);
    let body = frame.slice_ref(reader.rest());
    let handler = match key {
        ApiKey::Produce => produce::handle,
        ApiKey::Fetch => fetch::handle,
        ApiKey::ListOffsets => list_offsets::handle,
        ApiKey::Metadata => metadata::handle,
        ApiKey::OffsetCommit => offset_commit::handle,
        ApiKey::OffsetFetch => offset_fetch::handle,
        ApiKey::FindCoordinator => find_coordinator::handle,
        ApiKey::JoinGroup => join_group::handle,
        ApiKey::Heartbeat => heartbeat::handle,
        ApiKey::LeaveGroup => leave_group::handle,
        ApiKey::SyncGroup => sync_group::handle,
        ApiKey::DescribeGroups => describe_groups::handle,
        ApiKey::ListGroups => list_groups::handle,
        ApiKey::ApiVersions => api_versions::handle,
        ApiKey::CreateTopics => create_topics::handle,
        ApiKey::DeleteTopics => delete_topics::handle,
        ApiKey::InitProducerId => init_producer_id::handle,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::handle,
        ApiKey::DescribeConfigs => describe_configs::handle,
        ApiKey::CreatePartitions => create_partitions::handle,
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs::handle,
        ApiKey::DescribeCluster => describe_cluster::handle,
    };
    handler(context, head, &body)
}

/// Topics or other resources that one request of an administrator may name, as in Kafka: each is
/// answered with more bytes than it takes to name it.
const RESOURCES_MAX: usize = 10_000;

/// Ends the connection of a client that names too many.
fn check_resources(count: usize) -> Result<(), Close> {
    if count <= RESOURCES_MAX {
        return Ok(());
    }
    let reason = format!("a request names {count} resources, more than {RESOURCES_MAX}");
    Err(Close::because(reason))
}

/// Decodes a body, or ends the connection as the original does.
fn decode<'a, M: Message<'a>>(head: &Head, body: &'a [u8]) -> Result<M, Close> {
    // What follows the message is dropped, as the original does: librdkafka's Metadata request for
    // all topics is longer than its fields.
    M::decode(&mut Reader::new(body), head.version)
        .map_err(|error| Close::because(format!("bad {} request: {error}", head.key.name())))
}
