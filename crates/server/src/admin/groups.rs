//! `/v1/groups`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Now;
use sabir_broker::error::{Error, Kind};
use sabir_broker::group::{MemberRecord, State as GroupState};
use sabir_broker::groups::{Answer, CommittedOf, Description};
use sabir_broker::policy::{Action, Resource};
use sabir_kafka::assignment;

use super::Admin;
use super::answer::{Refused, kept};
use super::namespaces::Asker;
use super::shapes::{Group, GroupLine, GroupOffset, GroupOffsets, Groups, Member, TopicPartition};

pub async fn list(State(admin): State<Arc<Admin>>, Asker(caller): Asker) -> Json<Groups> {
    let Answer { value, ticket } = caller.list_groups(admin.clock.now());
    kept(&caller, ticket).await;
    let line = |listed: sabir_broker::groups::Listed| GroupLine {
        id: listed.name.to_string(),
        state: state(listed.state).to_owned(),
        members: listed.members as u32,
    };
    Json(Groups { groups: value.into_iter().map(line).collect() })
}

pub async fn describe(
    State(admin): State<Arc<Admin>>,
    Asker(caller): Asker,
    Path(id): Path<String>,
) -> Result<Json<Group>, Refused> {
    let Answer { value, ticket } = find(&caller, admin.clock.now(), &id)?;
    kept(&caller, ticket).await;
    Ok(Json(group(id, &value)))
}

pub async fn delete(
    State(admin): State<Arc<Admin>>,
    Asker(caller): Asker,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    let deleted = caller.delete_group(admin.clock.now(), &id);
    let Answer { value, ticket } = deleted.map_err(|error| named(error, &id))?;
    kept(&caller, ticket).await;
    value.map_err(Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn offsets(
    State(admin): State<Arc<Admin>>,
    Asker(caller): Asker,
    Path(id): Path<String>,
) -> Result<Json<GroupOffsets>, Refused> {
    let now = admin.clock.now();
    let there = find(&caller, now, &id)?;
    let Answer { value, ticket } = caller.committed_offsets(now, &id, None)?;
    let mut offsets: Vec<_> = value.iter().filter_map(|one| offset(&caller, one)).collect();
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    kept(&caller, ticket.join(there.ticket).join(caller.catalog_ticket())).await;
    Ok(Json(GroupOffsets { offsets }))
}

fn find(caller: &Caller, now: Now, id: &str) -> Result<Answer<Description>, Error> {
    let found = caller.describe_group(now, id)?;
    found.ok_or_else(|| named(Error::not_found(""), id))
}

/// What is not there is named.
fn named(error: Error, id: &str) -> Error {
    match error.kind {
        Kind::NotFound => Error::not_found(format!("no group {id:?}")),
        _ => error,
    }
}

fn group(id: String, group: &Description) -> Group {
    // Before a group is stable its members have no assignment that counts.
    let stable = group.state == GroupState::Stable;
    let readable = stable && group.protocol_type.as_deref() == Some(assignment::PROTOCOL_TYPE);
    Group {
        id,
        state: state(group.state).to_owned(),
        generation: group.generation.into(),
        strategy: group.protocol.as_deref().filter(|_| stable).unwrap_or("").to_owned(),
        members: group.members.iter().map(|record| member(record, readable)).collect(),
    }
}

fn member(record: &MemberRecord, readable: bool) -> Member {
    let assigned = match readable {
        true => assignment::partitions(&record.assignment).unwrap_or_default(),
        false => Vec::new(),
    };
    let partitions = assigned.into_iter().flat_map(|(topic, partitions)| {
        let one = move |partition| TopicPartition { topic: topic.to_owned(), partition };
        partitions.into_iter().filter_map(|number| u32::try_from(number).ok()).map(one)
    });
    Member {
        id: record.id.to_string(),
        instance: record.instance_id.as_deref().map(str::to_owned),
        client: record.client_id.to_string(),
        host: record.client_host.to_string(),
        partitions: partitions.collect(),
    }
}

/// None for a topic that is gone, or that this client may not see.
fn offset(caller: &Caller, (topic, partition, committed): &CommittedOf) -> Option<GroupOffset> {
    let topic = caller.topic_by_uuid(topic)?;
    if !caller.may(Action::Describe, Resource::Topic(&topic.name)) {
        return None;
    }
    let number = u32::try_from(*partition).ok()?;
    let end = topic.partitions.get(number as usize).map(|part| part.view.visible());
    Some(GroupOffset {
        topic: topic.name.to_string(),
        partition: number,
        committed: committed.offset,
        end,
        lag: end.map(|end| (end - committed.offset).max(0)),
    })
}

fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "empty",
        GroupState::Preparing => "preparing",
        GroupState::Completing => "completing",
        GroupState::Stable => "stable",
        GroupState::Dead => "dead",
    }
}
