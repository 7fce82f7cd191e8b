//! ListGroups (key 16): the groups that there are, by state and type.

use bytes::Bytes;
use sabir_net::connection::Close;

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::generated::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::groups::{CLASSIC, state_name};

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: ListGroupsRequest<'_> = decode(&head, body)?;
    let listed = context.caller.list_groups(context.now);
    // An empty filter lets everything pass; case does not count.
    let passes = |filter: &[&str], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let of_type = passes(&request.types_filter, CLASSIC);
    let wanted = listed
        .value
        .iter()
        .filter(|group| of_type && passes(&request.states_filter, state_name(group.state)));
    let groups = wanted.map(|group| ListedGroup {
        group_id: &group.name,
        protocol_type: group.protocol_type.as_deref().unwrap_or(""),
        group_state: state_name(group.state),
        group_type: CLASSIC,
    });
    let response = ListGroupsResponse { groups: groups.collect(), ..Default::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, listed.ticket)?))
}
