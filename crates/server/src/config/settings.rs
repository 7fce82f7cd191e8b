//! What the parts of the server are told: the values in effect, typed. Addresses are resolved
//! here, and settings that have to fit one another are compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use sabir_broker::namespace::{DEFAULT_ALIAS, DEFAULT_NAME, check_name};

use super::value::Value;
use super::{Config, Place, Problem, listener_path};
use crate::protocols::{self, PROTOCOLS, Serve};

/// A request carries more than its one batch: names, headers, other fields.
const REQUEST_OVERHEAD_BYTES: u64 = 16 * 1024;
/// Longest name of a listener.
const LISTENER_NAME_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub log_format: LogFormat,
    pub log_level: tracing::Level,
    /// Bytes for tails, caches and connections together.
    pub memory_budget_bytes: u64,
    /// None = by the limit on descriptors.
    pub connections_max: Option<usize>,
    pub connections_per_address_max: usize,
    pub topic: TopicDefaults,
    pub wal_linger_ms: u64,
    pub storage: StorageSettings,
    pub kafka: KafkaSettings,
    /// Those that are enabled.
    pub listeners: Vec<ListenerSettings>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

/// What a topic does unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// None = for ever.
    pub retention_ms: Option<u64>,
    /// None = any size.
    pub retention_bytes: Option<u64>,
    pub segment_bytes: u64,
}

/// When records and state go from the write-ahead log into files of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    pub checkpoint_ms: u64,
    pub checkpoint_bytes: u64,
    pub bundle_bytes: u64,
    /// 0 = only on demand.
    pub export_ms: u64,
    /// Bytes per second; 0 = never.
    pub scrub_rate: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    pub auto_create_topics: bool,
    pub default_partitions: u32,
    pub group_initial_rebalance_delay_ms: u64,
    pub message_max_bytes: u64,
    pub request_max_bytes: u64,
    pub idle_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    pub name: Arc<str>,
    /// Name of a protocol in `protocols`.
    pub protocol: &'static str,
    pub addresses: Vec<ListenAddress>,
    pub advertise: Option<Arc<str>>,
    /// None = `default`.
    pub namespace: Option<Arc<str>>,
    pub insecure: bool,
}

/// An address as it was written; every IP of it gets the same port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub written: String,
    pub ips: Vec<IpAddr>,
    pub port: u16,
}

impl Settings {
    /// From a configuration that `relations` has found nothing wrong with.
    pub fn new(config: &Config) -> Settings {
        let number = |path: &str| match config.get(path) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        let least = |path: &str| number(path).and_then(|number| u64::try_from(number).ok());
        let count = |path: &str| least(path).expect("the table of keys gives it a minimum of 0");
        let text = |path: &str| match config.get(path) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let on = |path: &str| config.get(path) == Some(&Value::Switch(true));
        Settings {
            data_dir: text("data_dir").into(),
            log_format: match text("log.format").as_str() {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => LogFormat::Auto,
            },
            log_level: text("log.level").parse().unwrap_or(tracing::Level::INFO),
            memory_budget_bytes: least("memory.budget").unwrap_or_else(crate::memory::budget),
            connections_max: least("limits.connections").map(|count| count as usize),
            connections_per_address_max: count("limits.connections_per_address") as usize,
            topic: TopicDefaults {
                retention_ms: least("topic.retention_ms"),
                retention_bytes: least("topic.retention_bytes"),
                segment_bytes: count("topic.segment_bytes"),
            },
            wal_linger_ms: count("wal.linger_ms"),
            storage: StorageSettings {
                checkpoint_ms: count("storage.checkpoint_ms"),
                checkpoint_bytes: count("storage.checkpoint_bytes"),
                bundle_bytes: count("storage.bundle_bytes"),
                export_ms: count("storage.export_ms"),
                scrub_rate: count("storage.scrub_rate"),
            },
            kafka: KafkaSettings {
                auto_create_topics: on("kafka.auto_create_topics"),
                default_partitions: u32::try_from(count("kafka.default_partitions"))
                    .expect("the table of keys limits it"),
                group_initial_rebalance_delay_ms: count("kafka.group_initial_rebalance_delay_ms"),
                message_max_bytes: count("kafka.message_max_bytes"),
                request_max_bytes: count("kafka.request_max_bytes"),
                idle_ms: count("kafka.idle_ms"),
            },
            listeners: config
                .listener_names()
                .iter()
                .filter(|name| enabled(config, name))
                .map(|name| listener(config, name).expect("relations has checked it"))
                .collect(),
        }
    }
}

fn enabled(config: &Config, name: &str) -> bool {
    config.get(&listener_path(name, "enabled")) != Some(&Value::Switch(false))
}

/// Checks what no single value shows.
pub fn relations(config: &Config, problems: &mut Vec<Problem>) {
    for name in config.listener_names() {
        if let Err(problem) = listener(config, &name) {
            problems.push(problem);
        }
    }
    if !problems.is_empty() {
        return;
    }
    let settings = Settings::new(config);
    let kafka = &settings.kafka;
    if kafka.message_max_bytes + REQUEST_OVERHEAD_BYTES > kafka.request_max_bytes {
        let message = format!(
            "kafka.message_max_bytes: {} does not fit into kafka.request_max_bytes = {}",
            kafka.message_max_bytes, kafka.request_max_bytes
        );
        let (message_at, request_at) =
            (config.at("kafka.message_max_bytes"), config.at("kafka.request_max_bytes"));
        let at = if message_at == Place::Default { request_at } else { message_at };
        problems.push(Problem { at, message });
    }
}

fn listener(config: &Config, name: &str) -> Result<ListenerSettings, Problem> {
    let path = |key: &str| listener_path(name, key);
    let wrong = |key: &str, message: String| Problem {
        at: match config.at(&path(key)) {
            // The key is missing: point at what there is of the listener.
            Place::Default => any_place(config, name),
            at => at,
        },
        message: format!("{}: {message}", path(key)),
    };
    if !is_listener_name(name) {
        let message = "a listener's name has 1 to 64 letters, digits, - or _".to_owned();
        return Err(Problem { at: any_place(config, name), message });
    }
    let protocol = match config.get(&path("protocol")) {
        Some(Value::Text(protocol)) => protocol.as_str(),
        _ => name,
    };
    let Some(protocol) = protocols::find(protocol) else {
        let names: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
        let message = format!("no protocol {protocol:?}; there are {}", names.join(", "));
        return Err(wrong("protocol", message));
    };
    let addresses = match config.get(&path("addresses")) {
        Some(Value::List(list)) if !list.is_empty() => list.as_slice(),
        _ => return Err(wrong("addresses", "expected at least one address".to_owned())),
    };
    let addresses = addresses.iter().map(|text| address(text));
    let addresses: Result<Vec<ListenAddress>, String> = addresses.collect();
    let advertise = match config.get(&path("advertise")) {
        Some(Value::Text(text)) if !text.is_empty() => {
            if !is_host_and_port(text) {
                return Err(wrong("advertise", format!("expected HOST:PORT, found {text:?}")));
            }
            Some(text.as_str().into())
        }
        _ => None,
    };
    let namespace = match config.get(&path("namespace")) {
        Some(Value::Text(text)) if !text.is_empty() => {
            let known = |text: &str| text == DEFAULT_NAME || text == DEFAULT_ALIAS;
            if matches!(protocol.serve, Serve::Admin) {
                return Err(wrong("namespace", "the admin API serves all of them".to_owned()));
            }
            if !known(text) {
                check_name(text).map_err(|error| wrong("namespace", error.to_string()))?;
            }
            Some(text.as_str().into())
        }
        _ => None,
    };
    Ok(ListenerSettings {
        name: name.into(),
        protocol: protocol.name,
        addresses: addresses.map_err(|message| wrong("addresses", message))?,
        advertise,
        namespace,
        insecure: config.get(&path("insecure")) == Some(&Value::Switch(true)),
    })
}

fn any_place(config: &Config, name: &str) -> Place {
    let prefix = listener_path(name, "");
    let mut places = config.entries.iter().filter(|(path, _)| path.starts_with(&prefix));
    let written = places.find(|(_, entry)| entry.at != Place::Default);
    written.map_or(Place::Default, |(_, entry)| entry.at.clone())
}

pub fn is_listener_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LISTENER_NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let bare = !host.is_empty() && !host.contains([':', ' ', '/', '[', ']']);
    (bracketed || bare) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// IP:PORT or localhost:PORT. Names are not looked up: what a name stands for may change between
/// the check whether it is loopback and the bind.
fn address(text: &str) -> Result<ListenAddress, String> {
    let written = text.to_owned();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress { written, ips: vec![address.ip()], port: address.port() });
    }
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| {
        format!("expected IP:PORT, [IPV6]:PORT or localhost:PORT, found {text:?}")
    })?;
    let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if sabir_net::listener::exists(v6) {
        ips.push(v6);
    }
    Ok(ListenAddress { written, ips, port })
}
