//! DescribeConfigs (key 32): the configs of topics and of the broker, with where each value comes
//! from.

use bytes::Bytes;
use sabir_broker::policy::{Action, Resource};
use sabir_net::connection::Close;

use super::metadata::advertised;
use super::{Outcome, check_resources, decode};
use crate::config::{Entry, Kept, broker};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_topic;
use crate::generated::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::names::short;

/// Types of resources that have configs here.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;

pub type Refusal = (ErrorCode, String);

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: DescribeConfigsRequest<'_> = decode(&head, body)?;
    check_resources(request.resources.len())?;
    let found: Vec<_> = request.resources.iter().map(|resource| find(context, resource)).collect();
    let ticket = context.caller.catalog_ticket();
    let results = request.resources.iter().zip(&found).map(|(resource, found)| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..DescribeConfigsResult::default()
        };
        match found {
            Ok(entries) => {
                let asked = entries.iter().filter(|entry| wants(resource, entry.name));
                result.configs = asked.map(|entry| describe(&request, entry)).collect();
            }
            Err((code, message)) => {
                (result.error_code, result.error_message) = (code.number(), Some(message.as_str()));
            }
        }
        result
    });
    let response = DescribeConfigsResponse { results: results.collect(), ..Default::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

/// No list, or an empty one, means all.
fn wants(resource: &DescribeConfigsResource<'_>, name: &str) -> bool {
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.contains(&name)
}

fn describe<'a>(
    request: &DescribeConfigsRequest<'_>,
    entry: &'a Entry,
) -> DescribeConfigsResourceResult<'a> {
    let synonyms = entry.synonyms.iter().filter(|_| request.include_synonyms);
    DescribeConfigsResourceResult {
        name: entry.name,
        value: entry.value.as_deref(),
        read_only: entry.read_only,
        is_default: entry.source == crate::config::Source::Default,
        config_source: entry.source as i8,
        is_sensitive: false,
        synonyms: synonyms
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name,
                value: synonym.value.as_deref(),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: entry.kind as i8,
        documentation: Some(entry.about).filter(|_| request.include_documentation),
    }
}

fn find(
    context: &Context<'_>,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<Entry>, Refusal> {
    let caller = context.caller;
    let defaults = caller.broker().defaults();
    let name = resource.resource_name;
    match resource.resource_type {
        TOPIC => {
            let allowed = caller.allowed(Action::Describe, Resource::Topic(name));
            allowed.map_err(|error| (of_topic(&error), error.message.into_owned()))?;
            let topic = caller.topic(name).ok_or_else(|| no_topic(name))?;
            Ok(Kept::of(&topic).describe(defaults))
        }
        BROKER => {
            let allowed = caller.allowed(Action::Describe, Resource::Cluster);
            let denied = ErrorCode::ClusterAuthorizationFailed;
            allowed.map_err(|error| (denied, error.message.into_owned()))?;
            if name.is_empty() {
                // What is set for all brokers at run time: nothing can be.
                return Ok(Vec::new());
            }
            check_broker(context, name)?;
            let (host, port) = advertised(context.peer);
            let (settings, groups) = (context.settings, caller.broker().group_settings());
            let view = broker::View { settings, defaults, groups, advertised: (&host, port) };
            Ok(broker::describe(&view))
        }
        other => Err(unsupported(other)),
    }
}

pub fn no_topic(name: &str) -> Refusal {
    let code = ErrorCode::UnknownTopicOrPartition;
    (code, format!("The topic '{}' does not exist.", short(name)))
}

pub fn unsupported(resource_type: i8) -> Refusal {
    (ErrorCode::InvalidRequest, format!("Unsupported resource type: {resource_type}"))
}

/// Checks that this broker is meant.
pub fn check_broker(context: &Context<'_>, name: &str) -> Result<(), Refusal> {
    let this = context.settings.node_id;
    match name.parse::<i32>() {
        Ok(id) if id == this => Ok(()),
        Ok(id) => {
            let message = format!("Unexpected broker id, expected {this}, but received {id}");
            Err((ErrorCode::InvalidRequest, message))
        }
        Err(_) => {
            let message = format!("Broker id must be an integer, but it is: {}", short(name));
            Err((ErrorCode::InvalidRequest, message))
        }
    }
}
