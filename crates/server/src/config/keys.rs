//! Every setting: its name, what it may be, its default, what it does. The document `sabir.toml`,
//! the environment's names and the checks all come from these two tables.

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Switch,
    /// A whole number within limits.
    Count {
        min: i64,
        max: i64,
    },
    /// Bytes: a whole number, or text with a unit such as "32 MiB".
    Bytes {
        min: i64,
        max: i64,
    },
    /// As `Bytes`, or "auto".
    BytesOrAuto {
        min: i64,
    },
    /// As `Count`, or "auto".
    CountOrAuto {
        min: i64,
        max: i64,
    },
    Text,
    OneOf(&'static [&'static str]),
    /// A list of texts.
    List,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path; within a listener only the last part.
    pub path: &'static str,
    pub kind: Kind,
    /// As it stands in the document.
    pub default: &'static str,
    /// For people, one line per entry.
    pub about: &'static [&'static str],
    /// True if SIGHUP takes a new value over.
    pub reload: bool,
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static [&'static str],
) -> Key {
    Key { path, kind, default, about, reload: false }
}

const fn reloaded(key: Key) -> Key {
    Key { reload: true, ..key }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const GIB: i64 = 1 << 30;
const YEARS_100_MS: i64 = 100 * 365 * DAY_MS;

/// The level names of the log, from rare to frequent.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

pub const KEYS: &[Key] = &[
    key("data_dir", Kind::Text, "\"sabir-data\"", &["Where everything is kept. Made if missing."]),
    key(
        "log.format",
        Kind::OneOf(&["auto", "human", "json"]),
        "\"auto\"",
        &["How log lines look. auto = for people on a terminal, JSON elsewhere."],
    ),
    reloaded(key(
        "log.level",
        Kind::OneOf(LEVELS),
        "\"info\"",
        &["The most frequent level logged."],
    )),
    key(
        "memory.budget",
        Kind::BytesOrAuto { min: 64 << 20 },
        "\"256 MiB\"",
        &[
            "Memory for tails, caches and connections together. Three eighths of it keep recent",
            "records, a quarter keeps what was read from the disk for slow readers.",
            "auto = a quarter of the machine's memory, or of the control group's limit.",
        ],
    ),
    key(
        "limits.connections",
        Kind::CountOrAuto { min: 1, max: 1 << 24 },
        "\"auto\"",
        &[
            "Connections of all listeners together.",
            "auto = the limit on file descriptors, less what the server itself needs.",
        ],
    ),
    key(
        "limits.connections_per_address",
        Kind::Count { min: 1, max: 1 << 24 },
        "1000",
        &["Connections of one IPv4 address, or of one IPv6 /64 network."],
    ),
    key(
        "topic.retention_ms",
        Kind::Count { min: -1, max: YEARS_100_MS },
        "604800000",
        &["Age at which records of a topic may be deleted, unless it says otherwise. -1 = never."],
    ),
    key(
        "topic.retention_bytes",
        Kind::Bytes { min: -1, max: i64::MAX },
        "-1",
        &["Size of a partition from which its oldest records may be deleted. -1 = any size."],
    ),
    key(
        "topic.segment_bytes",
        Kind::Bytes { min: 1 << 20, max: GIB },
        "1073741824",
        &["Size at which a partition begins a new file."],
    ),
    key(
        "wal.linger_ms",
        Kind::Count { min: 0, max: 1000 },
        "0",
        &[
            "How long a group commit waits for more to join it. With 0 a group is what arrived",
            "while the disk was busy with the one before.",
        ],
    ),
    key(
        "storage.checkpoint_ms",
        Kind::Count { min: 10, max: DAY_MS },
        "30000",
        &["How often what has changed is stored, so that a start need not read it from the log."],
    ),
    key(
        "storage.checkpoint_bytes",
        Kind::Bytes { min: 64 << 10, max: 512 << 20 },
        "268435456",
        &["... and at the latest when a start would have to read this much of the log."],
    ),
    key(
        "storage.bundle_bytes",
        Kind::Bytes { min: 4 << 10, max: 64 << 20 },
        "33554432",
        &["How much is kept in the write-ahead log alone before it is written into files."],
    ),
    key(
        "storage.export_ms",
        Kind::Count { min: 0, max: 365 * DAY_MS },
        "86400000",
        &[
            "How often all state rows are exported into a file, from which `sabir repair` restores",
            "lost ones. 0 = only on demand (`sabir export`).",
        ],
    ),
    key(
        "storage.scrub_rate",
        Kind::Bytes { min: 0, max: 1 << 40 },
        "\"20 MiB\"",
        &[
            "Bytes per second that are read again, once a day, to find what a disk has damaged.",
            "0 = never.",
        ],
    ),
    key(
        "kafka.auto_create_topics",
        Kind::Switch,
        "true",
        &["Whether asking for an unknown topic makes it."],
    ),
    key(
        "kafka.default_partitions",
        Kind::Count { min: 1, max: 10_000 },
        "1",
        &["Partitions of a topic made without a number."],
    ),
    key(
        "kafka.group_initial_rebalance_delay_ms",
        Kind::Count { min: 0, max: 60_000 },
        "3000",
        &["How long a new group waits for more members before it assigns partitions."],
    ),
    key(
        "kafka.message_max_bytes",
        Kind::Bytes { min: 1024, max: 64 << 20 },
        "1048588",
        &["Largest record batch that a topic takes, unless it says otherwise."],
    ),
    key(
        "kafka.request_max_bytes",
        Kind::Bytes { min: 64 << 10, max: 100 << 20 },
        "33554432",
        &["Largest request."],
    ),
    key(
        "kafka.idle_ms",
        Kind::Count { min: 1000, max: DAY_MS },
        "600000",
        &["A connection without a request for this long is closed."],
    ),
];

pub const LISTENER_KEYS: &[Key] = &[
    key("enabled", Kind::Switch, "true", &["Whether this listener is started."]),
    key(
        "protocol",
        Kind::Text,
        "",
        &["What is spoken on it. Needed where the listener's name is no protocol's."],
    ),
    key(
        "addresses",
        Kind::List,
        "",
        &[
            "IP:PORT, or localhost:PORT for 127.0.0.1 and, where it exists, [::1].",
            "Port 0 = any that is free.",
        ],
    ),
    key(
        "advertise",
        Kind::Text,
        "\"\"",
        &[
            "HOST:PORT that clients are told to connect to; needed behind a port map.",
            "Empty = the address that the client has reached.",
        ],
    ),
    key(
        "namespace",
        Kind::Text,
        "\"\"",
        &[
            "Whose topics and groups are served on it. Made at the start if it is not there.",
            "Empty = the namespace \"default\".",
        ],
    ),
    key(
        "insecure",
        Kind::Switch,
        "false",
        &[
            "Allows an address that is not loopback although anybody who reaches it may do",
            "everything: there is no TLS and no login on it.",
        ],
    ),
];

/// The setting of that name.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The setting of that name within a listener.
pub fn find_in_listener(name: &str) -> Option<&'static Key> {
    LISTENER_KEYS.iter().find(|key| key.path == name)
}

/// The environment's name of a setting.
pub fn environment_name(path: &str) -> String {
    format!("SABIR_{}", path.replace('.', "_").to_uppercase())
}
