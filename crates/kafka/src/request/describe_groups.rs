//! DescribeGroups (key 15): groups with their members.

use bytes::Bytes;
use sabir_broker::group::{MemberRecord, State};
use sabir_broker::groups::Description;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_group_request;
use crate::generated::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::groups::{NOT_ASKED, state_name};

/// From this version on a group that is not there is an error.
const NOT_FOUND_FROM: i16 = 6;

/// Kafka's numbers of the operations on a group that exist here, with what they need.
const OPERATIONS: &[(u32, Action)] = &[(3, Action::Consume), (8, Action::Describe)];

/// Metadata of members is copied out of their records for one protocol.
type Members = Vec<(MemberRecord, Bytes)>;

/// One group of the answer; the response borrows from it.
struct Found {
    error: Option<ErrorCode>,
    group: Option<Description>,
    members: Members,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: DescribeGroupsRequest<'_> = decode(&head, body)?;
    let mut ticket = Ticket::DONE;
    let found: Vec<Found> =
        request.groups.iter().map(|group| look(context, group, &mut ticket)).collect();
    let groups = request.groups.iter().zip(&found).map(|(group, found)| {
        let mut described = describe(group, found, head.version);
        if request.include_authorized_operations && found.error.is_none() {
            described.authorized_operations = operations(context, group);
        }
        described
    });
    let response = DescribeGroupsResponse { groups: groups.collect(), ..Default::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

fn look(context: &Context<'_>, group: &str, ticket: &mut Ticket) -> Found {
    let nothing = |error| Found { error, group: None, members: Vec::new() };
    match context.caller.describe_group(context.now, group) {
        Err(error) => nothing(Some(of_group_request(&error))),
        Ok(None) => nothing(None),
        Ok(Some(answer)) => {
            *ticket = ticket.join(answer.ticket);
            let mut group = answer.value;
            // Before a group is stable its members have said nothing that counts.
            let stable = group.state == State::Stable;
            let protocol = group.protocol.take().filter(|_| stable);
            let metadata = |member: &MemberRecord| match &protocol {
                Some(protocol) => member.metadata(protocol),
                None => Bytes::new(),
            };
            let mut members: Members = Vec::with_capacity(group.members.len());
            for mut member in std::mem::take(&mut group.members) {
                if !stable {
                    member.assignment.clear();
                }
                let metadata = metadata(&member);
                members.push((member, metadata));
            }
            group.protocol = protocol;
            Found { error: None, group: Some(group), members }
        }
    }
}

fn describe<'a>(group_id: &'a str, found: &'a Found, version: i16) -> DescribedGroup<'a> {
    let Some(group) = &found.group else {
        let none = (version >= NOT_FOUND_FROM).then_some(ErrorCode::GroupIdNotFound);
        let code = found.error.or(none);
        return DescribedGroup {
            error_code: code.map_or(0, |code| code.number()),
            error_message: code.map(|code| code.name()),
            group_id,
            group_state: if found.error.is_none() { state_name(State::Dead) } else { "" },
            authorized_operations: NOT_ASKED,
            ..DescribedGroup::default()
        };
    };
    let members = found.members.iter().map(|(member, metadata)| DescribedGroupMember {
        member_id: &member.id,
        group_instance_id: member.instance_id.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: metadata,
        member_assignment: &member.assignment,
    });
    DescribedGroup {
        group_id,
        group_state: state_name(group.state),
        protocol_type: group.protocol_type.as_deref().unwrap_or(""),
        protocol_data: group.protocol.as_deref().unwrap_or(""),
        members: members.collect(),
        authorized_operations: NOT_ASKED,
        ..DescribedGroup::default()
    }
}

fn operations(context: &Context<'_>, group: &str) -> i32 {
    let may = |action| context.caller.allowed(action, Resource::Group(group)).is_ok();
    OPERATIONS.iter().filter(|(_, action)| may(*action)).map(|(number, _)| 1 << number).sum()
}
