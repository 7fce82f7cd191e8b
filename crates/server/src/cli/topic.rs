//! `sabir topic`: lists, makes, shows, changes and deletes topics.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::client::{InNamespace, ServerArgs, escape};
use super::table::table;
use crate::admin::shapes::{AlterTopic, CreateTopic, SetPartitions, Topic, TopicSettings, Topics};

#[derive(Debug, Args)]
pub struct TopicArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    namespace: InNamespace,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all topics.
    List,
    /// Make a topic.
    Create {
        name: String,
        /// How many partitions; the server's default if absent.
        #[arg(long)]
        partitions: Option<u32>,
        /// A setting such as retention_ms=60000; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Show a topic, its partitions and settings.
    Describe { name: String },
    /// Change settings of a topic.
    Alter {
        name: String,
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Take the server's default again.
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Delete a topic with all its records.
    Delete { name: String },
    /// Give a topic more partitions.
    Partitions { name: String, count: u32 },
}

const NOTHING: Option<&()> = None;

pub fn run(args: TopicArgs) -> Result<()> {
    let server = &args.server;
    let all = args.namespace.path("/v1/topics");
    let part =
        |name: &str, rest: &str| args.namespace.path(&format!("/v1/topics/{}{rest}", escape(name)));
    let path = |name: &str| part(name, "");
    match args.command {
        Command::List => server.show("GET", &all, NOTHING, list),
        Command::Create { name, partitions, set } => {
            let body = CreateTopic { name, partitions, settings: settings(&set, &[])? };
            server.show("POST", &all, Some(&body), describe)
        }
        Command::Describe { name } => server.show("GET", &path(&name), NOTHING, describe),
        Command::Alter { set, unset, .. } if set.is_empty() && unset.is_empty() => {
            bail!("nothing to change: give --set KEY=VALUE or --unset KEY")
        }
        Command::Alter { name, set, unset } => {
            let body = AlterTopic { settings: settings(&set, &unset)? };
            server.show("PATCH", &path(&name), Some(&body), describe)
        }
        Command::Delete { name } => {
            let deleted = |(): ()| format!("deleted {name}\n");
            server.show("DELETE", &path(&name), NOTHING, deleted)
        }
        Command::Partitions { name, count } => {
            let path = part(&name, "/partitions");
            server.show("PUT", &path, Some(&SetPartitions { count }), describe)
        }
    }
}

fn settings(set: &[String], unset: &[String]) -> Result<TopicSettings> {
    let mut settings = TopicSettings::new();
    for pair in set {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--set: expected KEY=VALUE, found {pair:?}");
        };
        // A number or a switch as such, everything else as text.
        let value = serde_json::from_str(value)
            .ok()
            .filter(|value: &serde_json::Value| value.is_i64() || value.is_boolean())
            .unwrap_or_else(|| value.into());
        settings.insert(key.to_owned(), value);
    }
    settings.extend(unset.iter().map(|key| (key.clone(), serde_json::Value::Null)));
    Ok(settings)
}

fn list(answer: Topics) -> String {
    let rows: Vec<[String; 3]> = answer
        .topics
        .into_iter()
        .map(|topic| [topic.name, topic.partitions.to_string(), topic.records.to_string()])
        .collect();
    table(["topic", "partitions", "records"], &rows)
}

fn describe(topic: Topic) -> String {
    let partitions: Vec<[String; 4]> = topic
        .partitions
        .iter()
        .map(|part| {
            let records = part.end - part.start;
            [part.partition as i64, part.start, part.end, records].map(|n| n.to_string())
        })
        .collect();
    let settings: Vec<[String; 3]> = topic
        .settings
        .iter()
        .map(|(name, value)| {
            let from = if topic.own.contains(name) { "topic" } else { "default" };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            [name.clone(), value, from.to_owned()]
        })
        .collect();
    format!(
        "topic {}\nid {}\n\n{}\n{}",
        topic.name,
        topic.id,
        table(["partition", "start", "end", "records"], &partitions),
        table(["setting", "value", "from"], &settings),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::shapes::Partition;
    use serde_json::json;

    #[test]
    fn settings_keep_their_type() {
        let set = ["retention_ms=60000", "append_time=true", "durability=os", "x="];
        let set = set.map(str::to_owned);
        let got = settings(&set, &["segment_bytes".to_owned()]).unwrap();
        let want = json!({
            "retention_ms": 60000, "append_time": true, "durability": "os", "x": "",
            "segment_bytes": null,
        });
        assert_eq!(json!(got), want);
        assert!(settings(&["retention_ms".to_owned()], &[]).is_err());
    }

    #[test]
    fn a_description_shows_partitions_and_where_settings_come_from() {
        let settings = [("retention_ms", json!(-1)), ("durability", json!("durable"))];
        let topic = Topic {
            name: "orders".into(),
            id: "7f".into(),
            partitions: vec![Partition { partition: 0, start: 5, end: 12 }],
            settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            own: vec!["retention_ms".into()],
            created_ms: 0,
        };
        let want = "\
topic orders
id 7f

PARTITION  START  END  RECORDS
        0      5   12        7

SETTING       VALUE    FROM
durability    durable  default
retention_ms  -1       topic
";
        assert_eq!(describe(topic), want);
    }
}
