//! IncrementalAlterConfigs (key 44): single configs of topics set, unset, or edited as lists
//! (KIP-339). The broker's own are read-only.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sabir_broker::error::Kind;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::describe_configs::{BROKER, Refusal, TOPIC, check_broker, no_topic, unsupported};
use super::{Outcome, check_resources, decode};
use crate::config::{Kept, broker};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_declare;
use crate::generated::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::names::short;

// What is done to a config.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: IncrementalAlterConfigsRequest<'_> = decode(&head, body)?;
    check_resources(request.resources.len())?;
    let mut times = BTreeMap::new();
    for resource in &request.resources {
        *times.entry((resource.resource_type, resource.resource_name)).or_insert(0) += 1;
    }
    let mut ticket = Ticket::DONE;
    let mut outcomes = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let twice = times[&(resource.resource_type, resource.resource_name)] > 1;
        let outcome = if twice {
            let message = "Each resource must appear at most once.".to_owned();
            Err((ErrorCode::InvalidRequest, message))
        } else {
            alter(context, resource, request.validate_only)
        };
        outcomes.push(outcome.map(|made| ticket = ticket.join(made)));
    }
    ticket = ticket.join(context.caller.catalog_ticket());
    let responses = request.resources.iter().zip(&outcomes).map(|(resource, outcome)| {
        let refused = outcome.as_ref().err();
        AlterConfigsResourceResponse {
            error_code: refused.map_or(0, |(code, _)| code.number()),
            error_message: refused.map(|(_, message)| message.as_str()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    });
    let response =
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

fn alter(
    context: &Context<'_>,
    resource: &AlterConfigsResource<'_>,
    validate_only: bool,
) -> Result<Ticket, Refusal> {
    check_form(&resource.configs)?;
    let name = resource.resource_name;
    match resource.resource_type {
        TOPIC if name.is_empty() => {
            let message = "Default topic resources are not allowed.".to_owned();
            Err((ErrorCode::InvalidRequest, message))
        }
        TOPIC => alter_topic(context, resource, validate_only),
        BROKER => {
            let allowed = context.caller.allowed(Action::Alter, Resource::Cluster);
            let denied = ErrorCode::ClusterAuthorizationFailed;
            allowed.map_err(|error| (denied, error.message.into_owned()))?;
            if !name.is_empty() {
                check_broker(context, name)?;
            }
            let refused = resource.configs.first();
            refused.map_or(Ok(Ticket::DONE), |config| {
                Err((ErrorCode::InvalidConfig, broker::refusal(config.name)))
            })
        }
        other => Err(unsupported(other)),
    }
}

/// Checks what no resource takes.
fn check_form(configs: &[AlterableConfig<'_>]) -> Result<(), Refusal> {
    let refuse = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut names = BTreeSet::new();
    if !configs.iter().all(|config| names.insert(config.name)) {
        return refuse("Error due to duplicate config keys".to_owned());
    }
    for config in configs {
        match config.config_operation {
            DELETE => {}
            SET | APPEND | SUBTRACT if config.value.is_some() => {}
            SET | APPEND | SUBTRACT => {
                return refuse(format!("Null value not supported for : {}", short(config.name)));
            }
            other => return refuse(format!("Unknown operation type {other}")),
        }
    }
    Ok(())
}

fn alter_topic(
    context: &Context<'_>,
    resource: &AlterConfigsResource<'_>,
    validate_only: bool,
) -> Result<Ticket, Refusal> {
    let caller = context.caller;
    let name = resource.resource_name;
    let refused = |error: sabir_broker::error::Error| match error.kind {
        Kind::NotFound => no_topic(name),
        _ => (of_declare(&error), error.message.into_owned()),
    };
    let invalid = |message: String| (ErrorCode::InvalidConfig, message);
    loop {
        let topic = caller.topic(name).ok_or_else(|| no_topic(name))?;
        let mut kept = Kept::of(&topic);
        for config in &resource.configs {
            let value = config.value.unwrap_or_default();
            match config.config_operation {
                SET => kept.set(config.name, value),
                DELETE => {
                    kept.unset(config.name);
                    Ok(())
                }
                edit => kept.edit(config.name, value, edit == APPEND),
            }
            .map_err(invalid)?;
        }
        kept.check(caller.broker().defaults()).map_err(invalid)?;
        if validate_only {
            let allowed = caller.allowed(Action::Alter, Resource::Topic(name));
            return allowed.map(|()| Ticket::DONE).map_err(refused);
        }
        match caller.alter(&topic, kept.policy, kept.labels) {
            Err(error) if error.kind == Kind::Conflict => {}
            outcome => return outcome.map_err(refused),
        }
    }
}
