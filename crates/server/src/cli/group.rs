//! `sabir group`: shows consumer groups and how far they are behind.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::client::{InNamespace, ServerArgs, escape};
use super::table::{cell, table};
use crate::admin::shapes::{Group, GroupOffsets, Groups};

#[derive(Debug, Args)]
pub struct GroupArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    namespace: InNamespace,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all groups.
    List,
    /// Show a group and its members.
    Describe { id: String },
    /// Delete an empty group with its committed offsets.
    Delete { id: String },
    /// Show the committed offsets of a group and how far it is behind.
    Offsets { id: String },
}

const NOTHING: Option<&()> = None;

pub fn run(args: GroupArgs) -> Result<()> {
    let server = &args.server;
    let part =
        |id: &str, rest: &str| args.namespace.path(&format!("/v1/groups/{}{rest}", escape(id)));
    let path = |id: &str| part(id, "");
    match args.command {
        Command::List => server.show("GET", &args.namespace.path("/v1/groups"), NOTHING, list),
        Command::Describe { id } => server.show("GET", &path(&id), NOTHING, describe),
        Command::Delete { id } => {
            let deleted = |(): ()| format!("deleted {id}\n");
            server.show("DELETE", &path(&id), NOTHING, deleted)
        }
        Command::Offsets { id } => server.show("GET", &part(&id, "/offsets"), NOTHING, offsets),
    }
}

fn list(answer: Groups) -> String {
    let rows: Vec<[String; 3]> = answer
        .groups
        .into_iter()
        .map(|group| [group.id, group.state, group.members.to_string()])
        .collect();
    table(["group", "state", "members"], &rows)
}

fn describe(group: Group) -> String {
    let members: Vec<[String; 4]> = group
        .members
        .into_iter()
        .map(|member| {
            let parts = member.partitions.iter();
            let parts: Vec<String> =
                parts.map(|part| format!("{}:{}", part.topic, part.partition)).collect();
            [member.id, member.client, member.host, parts.join(" ")]
        })
        .collect();
    format!(
        "group {}\nstate {}\ngeneration {}\nstrategy {}\n\n{}",
        group.id,
        group.state,
        group.generation,
        group.strategy,
        table(["member", "client", "host", "partitions"], &members),
    )
}

fn offsets(answer: GroupOffsets) -> String {
    let rows: Vec<[String; 5]> = answer
        .offsets
        .into_iter()
        .map(|at| {
            let (partition, committed) = (at.partition.to_string(), at.committed.to_string());
            [at.topic, partition, committed, cell(at.end), cell(at.lag)]
        })
        .collect();
    table(["topic", "partition", "committed", "end", "lag"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn shows_members_and_lag() {
        let group = json!({
            "id": "billing", "state": "stable", "generation": 4, "strategy": "range",
            "members": [{
                "id": "m-1", "client": "java", "host": "127.0.0.1",
                "partitions": [{"topic": "a", "partition": 0}, {"topic": "a", "partition": 1}],
            }],
        });
        let want = "\
group billing
state stable
generation 4
strategy range

MEMBER  CLIENT  HOST       PARTITIONS
m-1     java    127.0.0.1  a:0 a:1
";
        assert_eq!(describe(from_value(group).unwrap()), want);
        let answer = json!({"offsets": [
            {"topic": "a", "partition": 0, "committed": 5, "end": 12, "lag": 7},
            {"topic": "gone", "partition": 1, "committed": 9},
        ]});
        let want = "\
TOPIC  PARTITION  COMMITTED  END  LAG
a              0          5   12    7
gone           1          9    -    -
";
        assert_eq!(offsets(from_value(answer).unwrap()), want);
    }
}
