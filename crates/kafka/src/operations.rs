//! What a client may do to something, as the bit field that some responses carry (KIP-430).

use sabir_broker::caller::Caller;
use sabir_broker::policy::{Action, Resource};

/// Said where nobody asked.
pub const NOT_ASKED: i32 = i32::MIN;

// Numbers of the operations (`AclOperation`); each is a bit.
const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

const OF_TOPIC: &[(Action, i32)] = &[
    (Action::Consume, READ),
    (Action::Publish, WRITE),
    (Action::Create, CREATE),
    (Action::Delete, DELETE),
    (Action::Alter, ALTER | ALTER_CONFIGS),
    (Action::Describe, DESCRIBE | DESCRIBE_CONFIGS),
];

const OF_CLUSTER: &[(Action, i32)] = &[
    (Action::Create, CREATE),
    (Action::Alter, ALTER | ALTER_CONFIGS),
    (Action::Describe, DESCRIBE | DESCRIBE_CONFIGS),
    (Action::Publish, IDEMPOTENT_WRITE),
    (Action::Admin, CLUSTER_ACTION),
];

pub fn of_topic(caller: &Caller, name: &str) -> i32 {
    allowed(caller, Resource::Topic(name), OF_TOPIC)
}

pub fn of_cluster(caller: &Caller) -> i32 {
    allowed(caller, Resource::Cluster, OF_CLUSTER)
}

fn allowed(caller: &Caller, resource: Resource<'_>, all: &[(Action, i32)]) -> i32 {
    let mine = all.iter().filter(|(action, _)| caller.may(*action, resource));
    mine.fold(0, |bits, (_, bit)| bits | bit)
}
