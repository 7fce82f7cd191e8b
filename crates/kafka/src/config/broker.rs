//! The broker's configs as clients see them: read-only, because they are set in `sabir.toml`.

use sabir_broker::group::GroupSettings;
use sabir_broker::topic::Effective;

use super::entry::{Entry, Source, Synonym};
use super::topic::KEYS;
use super::value::Kind;
use crate::names::short;
use crate::settings::Settings;

/// What the values are taken from.
pub struct View<'a> {
    pub settings: &'a Settings,
    pub defaults: &'a Effective,
    pub groups: &'a GroupSettings,
    /// Host and port that clients of this listener are told.
    pub advertised: (&'a str, i32),
}

/// A config that is no topic's default.
struct Row {
    name: &'static str,
    kind: Kind,
    /// Its name in `sabir.toml`, if it can be set.
    setting: Option<&'static str>,
    value: fn(&View<'_>) -> Option<String>,
    about: &'static str,
}

const fn row(
    name: &'static str,
    kind: Kind,
    setting: &'static str,
    value: fn(&View<'_>) -> Option<String>,
    about: &'static str,
) -> Row {
    let setting = if setting.is_empty() { None } else { Some(setting) };
    Row { name, kind, setting, value, about }
}

const HOUR_MS: i64 = 60 * MINUTE_MS;
const MINUTE_MS: i64 = 60 * 1000;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("advertised.listeners", Kind::List, "listeners.kafka.advertise",
        |view| {
            let (host, port) = view.advertised;
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            Some(format!("PLAINTEXT://{host}:{port}"))
        },
        "Where clients of this listener are told to connect to."),
    row("auto.create.topics.enable", Kind::Boolean, "kafka.auto_create_topics",
        |view| Some(view.settings.auto_create_topics.to_string()),
        "Whether asking for an unknown topic makes it."),
    row("broker.id", Kind::Int, "", |view| Some(view.settings.node_id.to_string()),
        "The number of this broker."),
    row("connections.max.idle.ms", Kind::Long, "kafka.idle_ms",
        |view| Some(view.settings.idle.as_millis().to_string()),
        "A connection without a request for this long is closed."),
    row("default.replication.factor", Kind::Int, "", |_| Some("1".to_owned()),
        "Copies of each partition: there is one broker."),
    row("delete.topic.enable", Kind::Boolean, "", |_| Some("true".to_owned()),
        "Topics can be deleted."),
    row("fetch.max.bytes", Kind::Int, "",
        |view| Some(view.settings.fetch_bytes_max.to_string()),
        "Bytes of records in one fetch response at most; one batch always fits."),
    row("group.initial.rebalance.delay.ms", Kind::Int, "kafka.group_initial_rebalance_delay_ms",
        |view| Some(view.groups.initial_delay_ms.to_string()),
        "How long a new group waits for more members before it assigns partitions."),
    row("group.max.session.timeout.ms", Kind::Int, "",
        |view| Some(view.groups.session_timeout_ms_max.to_string()),
        "Longest session timeout that a member may ask for."),
    row("group.max.size", Kind::Int, "", |view| Some(view.groups.members_max.to_string()),
        "Members of a group at most."),
    row("group.min.session.timeout.ms", Kind::Int, "",
        |view| Some(view.groups.session_timeout_ms_min.to_string()),
        "Shortest session timeout that a member may ask for."),
    row("log.retention.hours", Kind::Int, "topic.retention_ms",
        |view| whole(view.defaults.retention_ms, HOUR_MS),
        "log.retention.ms in hours, where that is a whole number."),
    row("log.retention.minutes", Kind::Int, "topic.retention_ms",
        |view| whole(view.defaults.retention_ms, MINUTE_MS),
        "log.retention.ms in minutes, where that is a whole number."),
    row("log.roll.hours", Kind::Int, "", |view| whole(view.defaults.segment_ms, HOUR_MS),
        "log.roll.ms in hours, where that is a whole number."),
    row("node.id", Kind::Int, "", |view| Some(view.settings.node_id.to_string()),
        "The number of this broker."),
    row("num.partitions", Kind::Int, "kafka.default_partitions",
        |view| Some(view.settings.default_partitions.to_string()),
        "Partitions of a topic made without a number."),
    row("offset.metadata.max.bytes", Kind::Int, "",
        |view| Some(view.groups.offset_metadata_bytes_max.to_string()),
        "Bytes of the text kept with a committed offset at most."),
    row("offsets.retention.minutes", Kind::Int, "",
        |view| whole(i64::try_from(view.groups.offset_retention_ms).ok()?, MINUTE_MS),
        "How long offsets are kept once their group is empty."),
    row("socket.request.max.bytes", Kind::Int, "kafka.request_max_bytes",
        |view| Some(view.settings.request_bytes_max.to_string()),
        "Bytes of a request at most."),
];

/// Settings behind the defaults of topics.
const SETTINGS: &[(&str, &str)] = &[
    ("log.retention.bytes", "topic.retention_bytes"),
    ("log.retention.ms", "topic.retention_ms"),
    ("log.segment.bytes", "topic.segment_bytes"),
    ("message.max.bytes", "kafka.message_max_bytes"),
];

/// The number of units, if it is a whole one.
fn whole(ms: i64, unit_ms: i64) -> Option<String> {
    (ms >= 0 && ms % unit_ms == 0).then(|| (ms / unit_ms).to_string())
}

/// Every config of the broker, by name.
pub fn describe(view: &View<'_>) -> Vec<Entry> {
    let (settings, defaults) = (Settings::default(), Effective::default());
    let groups = GroupSettings::default();
    let untouched = View { settings: &settings, defaults: &defaults, groups: &groups, ..*view };
    let own = ROWS.iter().map(|row| {
        let value = (row.value)(view);
        let set = value != (row.value)(&untouched);
        let source = if set { Source::Broker } else { Source::Default };
        entry(row.name, row.kind, value, source, row.about)
    });
    let of_topics = KEYS.iter().filter_map(|key| {
        let (value, source) = key.inherited(view.defaults);
        Some(entry(key.broker?, key.kind, Some(value), source, key.about))
    });
    let mut entries: Vec<Entry> = own.chain(of_topics).collect();
    entries.sort_by_key(|entry| entry.name);
    entries
}

fn entry(
    name: &'static str,
    kind: Kind,
    value: Option<String>,
    source: Source,
    about: &'static str,
) -> Entry {
    let synonyms = vec![Synonym { name, value: value.clone(), source }];
    Entry { name, value, source, read_only: true, kind, synonyms, about }
}

/// What has to be set in `sabir.toml` to change this config, if it can be changed.
pub fn setting(name: &str) -> Option<&'static str> {
    let row = ROWS.iter().find(|row| row.name == name).and_then(|row| row.setting);
    let behind = SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, setting)| *setting);
    row.or(behind)
}

/// Why this config of the broker cannot be altered here, for the client.
pub fn refusal(name: &str) -> String {
    let known =
        ROWS.iter().any(|row| row.name == name) || KEYS.iter().any(|key| key.broker == Some(name));
    match setting(name) {
        Some(setting) => format!("{name} is read-only: set {setting} in sabir.toml"),
        None if known => format!("{name} cannot be changed"),
        None => format!("Unknown broker config name: {}", short(name)),
    }
}
