//! `sabir namespace`: lists, makes, shows and deletes namespaces, and sets their quotas.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::client::{ServerArgs, escape};
use super::table::{cell, table};
use crate::admin::shapes::{AlterNamespace, CreateNamespace, Namespace, Namespaces, QuotaValues};

#[derive(Debug, Args)]
pub struct NamespaceArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all namespaces.
    List,
    /// Make a namespace.
    Create {
        name: String,
        /// A part of its quota such as bytes_in=1000000; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        quota: Vec<String>,
    },
    /// Show a namespace and its quota.
    Describe { name: String },
    /// Set how much a namespace may use: bytes_in, bytes_out and requests per second, topics,
    /// partitions and connections in all.
    Quota {
        name: String,
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Take a bound away.
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Delete a namespace in which nothing is left.
    Delete { name: String },
}

const NOTHING: Option<&()> = None;
const ALL: &str = "/v1/namespaces";

pub fn run(args: NamespaceArgs) -> Result<()> {
    let server = &args.server;
    let path = |name: &str| format!("{ALL}/{}", escape(name));
    match args.command {
        Command::List => server.show("GET", ALL, NOTHING, list),
        Command::Create { name, quota } => {
            let body = CreateNamespace { name, quota: values("--quota", &quota, &[])? };
            server.show("POST", ALL, Some(&body), describe)
        }
        Command::Describe { name } => server.show("GET", &path(&name), NOTHING, describe),
        Command::Quota { set, unset, .. } if set.is_empty() && unset.is_empty() => {
            bail!("nothing to change: give --set KEY=VALUE or --unset KEY")
        }
        Command::Quota { name, set, unset } => {
            let body = AlterNamespace { quota: values("--set", &set, &unset)? };
            server.show("PATCH", &path(&name), Some(&body), describe)
        }
        Command::Delete { name } => {
            let deleted = |(): ()| format!("deleted {name}\n");
            server.show("DELETE", &path(&name), NOTHING, deleted)
        }
    }
}

fn values(flag: &str, set: &[String], unset: &[String]) -> Result<QuotaValues> {
    let mut values = QuotaValues::new();
    for pair in set {
        let split = pair.split_once('=').and_then(|(key, value)| Some((key, value.parse().ok()?)));
        let Some((key, value)) = split else {
            bail!("{flag}: expected KEY=NUMBER, found {pair:?}");
        };
        values.insert(key.to_owned(), Some(value));
    }
    values.extend(unset.iter().map(|key| (key.clone(), None)));
    Ok(values)
}

fn list(answer: Namespaces) -> String {
    let rows: Vec<[String; 5]> = answer
        .namespaces
        .into_iter()
        .map(|one| {
            let [topics, partitions, groups, connections] =
                [one.topics, one.partitions, one.groups, one.connections].map(|n| n.to_string());
            [one.name, topics, partitions, groups, connections]
        })
        .collect();
    table(["namespace", "topics", "partitions", "groups", "connections"], &rows)
}

fn describe(namespace: Namespace) -> String {
    let used = |key: &str| match key {
        "topics" => Some(namespace.topics),
        "partitions" => Some(namespace.partitions),
        "connections" => Some(namespace.connections),
        _ => None,
    };
    let quota = namespace.quota.iter();
    let rows: Vec<[String; 3]> =
        quota.map(|(key, most)| [key.clone(), cell(*most), cell(used(key))]).collect();
    format!(
        "namespace {}\ngroups {}\nheld back {} times\n\n{}",
        namespace.name,
        namespace.groups,
        namespace.holds,
        table(["quota", "at most", "now"], &rows),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn values_are_numbers_and_null_takes_one_away() {
        let set = ["bytes_in=100".to_owned(), "topics=0".to_owned()];
        let got = values("--set", &set, &["requests".to_owned()]).unwrap();
        assert_eq!(json!(got), json!({"bytes_in": 100, "topics": 0, "requests": null}));
        for wrong in ["bytes_in", "bytes_in=x", "bytes_in=-1"] {
            let error = values("--set", &[wrong.to_owned()], &[]).unwrap_err().to_string();
            assert_eq!(error, format!("--set: expected KEY=NUMBER, found {wrong:?}"));
        }
    }

    #[test]
    fn shows_what_is_used_beside_what_may_be() {
        let one = json!({
            "name": "orders", "created_ms": 5, "topics": 2, "partitions": 7, "groups": 1,
            "connections": 3, "holds": 9,
            "quota": {"bytes_in": 1000, "topics": 4, "requests": null},
        });
        let want = "\
namespace orders
groups 1
held back 9 times

QUOTA     AT MOST  NOW
bytes_in     1000    -
requests        -    -
topics          4    2
";
        assert_eq!(describe(from_value(one.clone()).unwrap()), want);
        let want = "\
NAMESPACE  TOPICS  PARTITIONS  GROUPS  CONNECTIONS
orders          2           7       1            3
";
        assert_eq!(list(from_value(json!({"namespaces": [one]})).unwrap()), want);
    }
}
