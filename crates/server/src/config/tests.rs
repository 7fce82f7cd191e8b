//! Settings: what is refused, with which words, and who wins.

use super::settings::Settings;
use super::value::Value;
use super::{Config, Inputs, document};

/// What loading `text` as the file f.toml complains about.
fn problems(text: &str) -> String {
    match Config::from_text("f.toml", Some(text), &Inputs::default()) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_file_in_the_repository_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sabir.toml");
    let kept = std::fs::read_to_string(path).unwrap();
    let fresh = document::defaults();
    assert!(kept == fresh, "run `sabir config show --default > sabir.toml`");
}

#[test]
fn every_default_is_what_the_file_says() {
    let from_file = Config::from_text("f", Some(&document::defaults()), &Inputs::default());
    let (from_file, none) = (from_file.unwrap(), Config::load(&Inputs::default()).unwrap());
    assert_eq!(Settings::new(&from_file), Settings::new(&none));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("", ""),
        ("[kafka]\ndefault_partitions = 3\n", ""),
        ("[kafka]\n[log]\n[listeners.kafka]\n", ""),
        ("data_dir = \"x\n", "f.toml:1:14: invalid basic string, expected `\"`"),
        ("a = 1\na = 2\n", "f.toml:2:1: duplicate key"),
        (
            "[kafka]\n\n  default_partition = 3\n",
            "f.toml:3:3: unknown key \"kafka.default_partition\"; \
             did you mean \"kafka.default_partitions\"?",
        ),
        (
            "default_partitions = 3\n",
            "f.toml:1:1: unknown key \"default_partitions\"; \
             did you mean \"kafka.default_partitions\"?",
        ),
        (
            "[kafak]\nidle_ms = 5000\n",
            "f.toml:2:1: unknown key \"kafak.idle_ms\"; did you mean \"kafka.idle_ms\"?",
        ),
        (
            "[kafka]\nteapot = 1\n",
            "f.toml:2:1: unknown key \"kafka.teapot\"; `sabir config show` lists them all",
        ),
        ("[teapot]\n", "f.toml:1:2: unknown key \"teapot\"; `sabir config show` lists them all"),
        (
            "[listeners.kafka]\ninsecur = true\n",
            "f.toml:2:1: unknown key \"listeners.kafka.insecur\"; \
             did you mean \"listeners.kafka.insecure\"?",
        ),
        (
            "[kafka]\nauto_create_topics = 1\n",
            "f.toml:2:22: kafka.auto_create_topics: expected true or false, found 1",
        ),
        (
            "kafka.default_partitions = 0\n",
            "f.toml:1:28: kafka.default_partitions: expected a number from 1 to 10000, found 0",
        ),
        (
            "kafka.default_partitions = \"3\"\n",
            "f.toml:1:28: kafka.default_partitions: expected a number from 1 to 10000, \
             found \"3\"",
        ),
        (
            "kafka.default_partitions = 99999999999999999999\n",
            "f.toml:1:28: kafka.default_partitions: expected a number from 1 to 10000, \
             found a number beyond 64 bits",
        ),
        (
            "wal.linger_ms = 0.5\n",
            "f.toml:1:17: wal.linger_ms: expected a number from 0 to 1000, found a fraction",
        ),
        (
            "memory.budget = \"10 MB\"\n",
            "f.toml:1:17: memory.budget: expected \"auto\" or bytes, at least 67108864, \
             found \"10 MB\"",
        ),
        (
            "[log]\nformat = \"xml\"\nlevel = \"loud\"\n",
            "f.toml:2:10: log.format: expected one of \"auto\", \"human\", \"json\", \
             found \"xml\"\n\
             f.toml:3:9: log.level: expected one of \"error\", \"warn\", \"info\", \"debug\", \
             \"trace\", found \"loud\"",
        ),
        ("kafka = 1\n", "f.toml:1:1: unknown key \"kafka\"; `sabir config show` lists them all"),
        (
            "[kafka]\nmessage_max_bytes = \"32 MiB\"\n",
            "f.toml:2:21: kafka.message_max_bytes: 33554432 does not fit into \
             kafka.request_max_bytes = 33554432",
        ),
        (
            "[kafka]\nrequest_max_bytes = 65536\n",
            "f.toml:2:21: kafka.message_max_bytes: 1048588 does not fit into \
             kafka.request_max_bytes = 65536",
        ),
        (
            "[listeners.kafka]\naddresses = [\"example.com:9092\"]\n",
            "f.toml:2:13: listeners.kafka.addresses: expected IP:PORT, [IPV6]:PORT or \
             localhost:PORT, found \"example.com:9092\"",
        ),
        (
            "[listeners.kafka]\naddresses = []\n",
            "f.toml:2:13: listeners.kafka.addresses: expected at least one address",
        ),
        (
            "[listeners.kafka]\nadvertise = \"example.com\"\n",
            "f.toml:2:13: listeners.kafka.advertise: expected HOST:PORT, found \"example.com\"",
        ),
        ("[listeners.kafka]\nnamespace = \"orders\"\n", ""),
        ("[listeners.kafka]\nnamespace = \"/\"\n", ""),
        (
            "[listeners.kafka]\nnamespace = \"sabir.x\"\n",
            "f.toml:2:13: listeners.kafka.namespace: names that begin with sabir. or amq. are \
             reserved",
        ),
        (
            "[listeners.http]\nnamespace = \"orders\"\n",
            "f.toml:2:13: listeners.http.namespace: the admin API serves all of them",
        ),
        (
            "[listeners.edge]\naddresses = [\"127.0.0.1:1\"]\n",
            "f.toml:2:13: listeners.edge.protocol: no protocol \"edge\"; there are kafka, http",
        ),
        (
            "[listeners.edge]\nprotocol = \"kafka\"\n",
            "f.toml:2:12: listeners.edge.addresses: expected at least one address",
        ),
        (
            "[listeners.\"a b\"]\nprotocol = \"kafka\"\n",
            "f.toml:2:12: a listener's name has 1 to 64 letters, digits, - or _",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(problems(text), want, "of {text:?}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let path = "kafka.default_partitions";
    let file = Some("[kafka]\ndefault_partitions = 2\n");
    let mut inputs = Inputs::default();
    let check = |file: Option<&str>, inputs: &Inputs, value: i64, at: &str| {
        let config = Config::from_text("f.toml", file, inputs).unwrap();
        assert_eq!(config.get(path), Some(&Value::Number(value)));
        assert_eq!(config.at(path).to_string(), at);
        assert_eq!(Settings::new(&config).kafka.default_partitions, value as u32);
    };
    check(None, &inputs, 1, "default");
    check(file, &inputs, 2, "f.toml:2:22");
    inputs.environment = vec![("SABIR_KAFKA_DEFAULT_PARTITIONS".into(), "3".into())];
    check(file, &inputs, 3, "environment SABIR_KAFKA_DEFAULT_PARTITIONS");
    inputs.flags = vec![("--set".into(), path.into(), "4".into())];
    check(file, &inputs, 4, "flag --set");
}

#[test]
fn mistakes_outside_of_the_file_name_their_place() {
    let environment = vec![("SABIR_WAL_LINGER_MS".to_owned(), "soon".to_owned())];
    let flags = vec![("--set".to_owned(), "wal.linger".to_owned(), "1".to_owned())];
    let listen = owned(&["kafka:1", "teapot=127.0.0.1:1"]);
    let inputs = Inputs { environment, flags, listen, ..Inputs::default() };
    let problems = Config::load(&inputs).unwrap_err().to_string();
    let want = "environment SABIR_WAL_LINGER_MS: wal.linger_ms: expected a number from 0 to 1000, \
                found \"soon\"\n\
                flag --set: unknown key \"wal.linger\"; did you mean \"wal.linger_ms\"?\n\
                flag --listen: expected NAME=ADDRESS, found \"kafka:1\"";
    assert_eq!(problems, want);
    let missing = Inputs { file: Some("/nowhere/f.toml".into()), ..Inputs::default() };
    let problems = Config::load(&missing).unwrap_err().to_string();
    assert!(problems.starts_with("flag --config: cannot read /nowhere/f.toml: "), "{problems}");
}

#[test]
fn names_of_the_environment_that_are_no_settings_are_told_not_refused() {
    let name = |name: &str| (name.to_owned(), "tcp://10.0.0.1:9092".to_owned());
    let environment = vec![name("SABIR_PORT"), name("SABIR_SERVER"), name("PATH")];
    let config = Config::load(&Inputs { environment, ..Inputs::default() }).unwrap();
    assert_eq!(config.ignored, ["SABIR_PORT"]);
}

/// (listener, protocol, addresses as written, advertised, insecure)
type Row = (String, String, Vec<String>, Option<String>, bool);

fn listeners(text: &str, inputs: &Inputs) -> Vec<Row> {
    let config = Config::from_text("f.toml", Some(text), inputs).unwrap();
    let row = |listener: &super::settings::ListenerSettings| {
        let addresses = listener.addresses.iter().map(|address| address.written.clone());
        let advertise = listener.advertise.as_deref().map(str::to_owned);
        let (name, protocol) = (listener.name.to_string(), listener.protocol.to_owned());
        (name, protocol, addresses.collect(), advertise, listener.insecure)
    };
    Settings::new(&config).listeners.iter().map(row).collect()
}

fn row(name: &str, protocol: &str, addresses: &[&str]) -> Row {
    (name.to_owned(), protocol.to_owned(), owned(addresses), None, false)
}

#[test]
fn the_file_adds_to_the_default_listeners_and_a_flag_replaces_them() {
    let none = Inputs::default();
    let (kafka, http) = ("localhost:9092", "localhost:15672");
    let (kafka, http) = (row("kafka", "kafka", &[kafka]), row("http", "http", &[http]));
    assert_eq!(listeners("", &none), [http.clone(), kafka.clone()]);
    let edge = "[listeners.edge]\nprotocol = \"kafka\"\naddresses = [\"127.0.0.1:1\"]\n";
    let edge_row = row("edge", "kafka", &["127.0.0.1:1"]);
    assert_eq!(listeners(edge, &none), [edge_row, http.clone(), kafka]);
    assert_eq!(listeners("[listeners.kafka]\nenabled = false\n", &none), [http]);

    let flags = Inputs {
        listen: owned(&["kafka=127.0.0.1:0", "kafka=[::1]:0"]),
        advertise: owned(&["kafka=broker.example:19092"]),
        insecure: owned(&["kafka"]),
        ..Inputs::default()
    };
    let mut want = row("kafka", "kafka", &["127.0.0.1:0", "[::1]:0"]);
    (want.3, want.4) = (Some("broker.example:19092".to_owned()), true);
    assert_eq!(listeners(edge, &flags), std::slice::from_ref(&want));

    let environment = [
        ("SABIR_LISTEN", "kafka=127.0.0.1:0, kafka=[::1]:0"),
        ("SABIR_ADVERTISE", "kafka=broker.example:19092"),
        ("SABIR_INSECURE", "kafka"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let named = Inputs { environment: environment.into(), ..Inputs::default() };
    assert_eq!(listeners(edge, &named), [want]);
    let both = Inputs { listen: owned(&["http=127.0.0.1:7"]), ..named };
    assert_eq!(listeners(edge, &both), [row("http", "http", &["127.0.0.1:7"])]);
}

#[test]
fn sizes_take_units() {
    let sizes = [
        ("1048576", 1 << 20),
        ("\"1048576\"", 1 << 20),
        ("\"1048576 B\"", 1 << 20),
        ("\"3MiB\"", 3 << 20),
        ("\"1 GiB\"", 1 << 30),
        ("\"2 MB\"", 2_000_000),
    ];
    for (written, bytes) in sizes {
        let text = format!("topic.segment_bytes = {written}\n");
        let config = Config::from_text("f", Some(&text), &Inputs::default());
        let read = config.map(|config| Settings::new(&config).topic.segment_bytes);
        // Text without a unit is a mistake in a file, where numbers have their own form.
        let want = if written == "\"1048576\"" { None } else { Some(bytes) };
        assert_eq!(read.ok(), want, "{written}");
    }
}

#[test]
fn settings_reach_the_broker() {
    let check = |text: &str, want: [usize; 5]| {
        let config = Config::from_text("f", Some(text), &Inputs::default()).unwrap();
        let settings = Settings::new(&config);
        let broker = settings.broker();
        let (keeper, wal) = (broker.keeper, broker.wal);
        let delay = broker.groups.initial_delay_ms as usize;
        let memory = [keeper.tail_bytes, wal.fresh_max, keeper.bundle_bytes, keeper.blocks_bytes];
        let got = [memory.map(|bytes| bytes >> 20).as_slice(), &[delay]].concat();
        assert_eq!(got, want, "{text}");
        assert!(wal.fresh_max <= keeper.tail_bytes && keeper.bundle_bytes * 2 < wal.fresh_max);
        assert!(keeper.tail_bytes + keeper.blocks_bytes < settings.memory_budget_bytes as usize);
    };
    check("", [96, 96, 32, 64, 3000]);
    let small = "memory.budget = \"64 MiB\"\nkafka.group_initial_rebalance_delay_ms = 7\n";
    check(small, [24, 24, 8, 16, 7]);
    check("memory.budget = \"4 GiB\"\n", [1536, 96, 32, 1024, 3000]);
}
