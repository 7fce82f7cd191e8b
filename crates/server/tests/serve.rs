//! The binary as a whole: start, exposure, signals, admin API, commands.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(20);

/// A directory of its own for one test, removed afterwards.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("sabir-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sabir(dir: &Dir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sabir"));
    command.args(args).current_dir(&dir.0).stdin(Stdio::null());
    let foreign = std::env::vars_os().map(|(name, _)| name);
    for name in foreign.filter(|name| name.to_string_lossy().starts_with("SABIR_")) {
        command.env_remove(name);
    }
    command
}

/// A running server; killed if a test fails.
struct Server {
    child: Child,
    ready: serde_json::Value,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(dir: &Dir, args: &[&str]) -> Server {
    let file = dir.path("ready.json");
    let mut command = sabir(dir, &["serve", "--ready-file", "ready.json"]);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    until("the ready file", || file.exists() || child.try_wait().unwrap().is_some());
    if let Some(status) = child.try_wait().unwrap() {
        let output = child.wait_with_output().unwrap();
        panic!("ended with {status}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let ready = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    Server { child, ready }
}

impl Server {
    fn address(&self, listener: &str) -> String {
        self.ready["listeners"][listener].as_str().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end; returns the exit code and what was said.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut code = None;
        until("the end of the server", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        let text = |from: &mut dyn Read| {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        };
        let said = text(&mut self.child.stdout.take().unwrap());
        let logged = text(&mut self.child.stderr.take().unwrap());
        (code.unwrap().code(), said, logged)
    }
}

fn until(what: &str, mut met: impl FnMut() -> bool) {
    let limit = Instant::now() + WAIT_MAX;
    while !met() {
        assert!(Instant::now() < limit, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The whole answer to one request.
fn get(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const FREE: [&str; 4] = ["--listen", "kafka=127.0.0.1:0", "--listen", "http=127.0.0.1:0"];

#[test]
fn starts_tells_where_and_stops_when_told() {
    let dir = Dir::new("start");
    let server = start(&dir, &FREE);
    for listener in ["kafka", "http"] {
        TcpStream::connect(server.address(listener)).unwrap();
    }
    let (kafka, http) = (server.address("kafka"), server.address("http"));
    assert!(dir.path("sabir-data").is_dir());
    let began = Instant::now();
    server.signal("TERM");
    let (code, said, logged) = server.end();
    assert_eq!(code, Some(0), "{logged}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["listener", "protocol", "address", "tls"]);
    assert_eq!(rows[1][..4], ["http", "http", &http, "no"]);
    assert_eq!(rows[2][..4], ["kafka", "kafka", &kafka, "no"]);
    assert_eq!(rows[2][4..].join(" "), "anyone on this machine");
    assert_eq!(rows[3][..1], ["sabir"]);
    assert!(said.contains(" ready in "), "{said}");
}

#[test]
fn only_named_listeners_start_and_interrupt_stops_too() {
    let dir = Dir::new("named");
    let server = start(&dir, &["--listen", "http=127.0.0.1:0"]);
    assert_eq!(server.ready["listeners"].as_object().unwrap().len(), 1);
    server.signal("INT");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_taken_port_is_explained() {
    let dir = Dir::new("taken");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("kafka={address}");
    let output = sabir(&dir, &["serve", "--listen", &listen]).output().unwrap();
    let message = failure(&output);
    let (port, pid) = (address.port(), std::process::id());
    let begin =
        format!("sabir: cannot listen on {address} (listener kafka): port {port} is taken by ");
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.contains(&format!("(pid {pid})")), "{message}");
    assert!(message.contains("--listen kafka=IP:PORT"), "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_open_address_needs_leave() {
    let dir = Dir::new("open");
    let open = ["serve", "--listen", "kafka=0.0.0.0:0"];
    let message = failure(&sabir(&dir, &open).output().unwrap());
    assert!(message.starts_with("sabir: listener kafka would be reachable"), "{message}");
    assert!(!dir.path("sabir-data").exists(), "nothing is made before the refusal");
}

#[test]
fn config_commands() {
    let dir = Dir::new("config");
    std::fs::write(dir.path("good.toml"), "[kafka]\ndefault_partitions = 3\n").unwrap();
    std::fs::write(dir.path("bad.toml"), "[kafka]\ndefault_partition = 3\n").unwrap();
    std::fs::write(dir.path("open.toml"), "listeners.http.addresses = [\"0.0.0.0:1\"]\n").unwrap();
    let run = |args: &[&str]| sabir(&dir, args).output().unwrap();
    let good = run(&["config", "check", "good.toml"]);
    assert_eq!(String::from_utf8_lossy(&good.stdout), "good.toml: nothing wrong\n");
    let bad = failure(&run(&["config", "check", "bad.toml"]));
    assert!(bad.starts_with("sabir: bad.toml:2:1: unknown key"), "{bad}");
    let open = failure(&run(&["config", "check", "open.toml"]));
    assert!(open.contains("listener http would be reachable"), "{open}");
    let served = failure(&run(&["serve", "--config", "bad.toml"]));
    assert_eq!(served, bad);
    let shown = run(&["config", "show", "--config", "good.toml", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let want = serde_json::json!({"value": 3, "origin": "file", "where": "good.toml:2:22"});
    assert_eq!(shown["kafka.default_partitions"], want);
    assert_eq!(shown["kafka.idle_ms"]["origin"], "default");
}

#[test]
fn hangup_takes_over_what_it_can() {
    let dir = Dir::new("reload");
    let file = dir.path("sabir.toml");
    std::fs::write(&file, "log.level = \"warn\"\n").unwrap();
    let mut args = vec!["--config", "sabir.toml", "--log-format", "json"];
    args.extend(FREE);
    let mut server = start(&dir, &args);
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let mut hear = |what: &str| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the log ended before {what:?}");
        }
        line
    };
    std::fs::write(&file, "log.level = \"info\"\nkafka.default_partitions = 2\n").unwrap();
    server.signal("HUP");
    let line = hear("at the next start");
    assert!(line.contains("\"key\":\"kafka.default_partitions\""), "{line}");
    hear("setting reloaded");
    std::fs::write(&file, "log.level = 7\n").unwrap();
    server.signal("HUP");
    let line = hear("the old ones stay");
    assert!(line.contains("sabir.toml:1:13: log.level: expected one of"), "{line}");
    server.signal("TERM");
    hear("stopped");
}

#[test]
fn a_second_signal_stops_at_once() {
    let dir = Dir::new("second");
    let server = start(&dir, &FREE);
    // A request that never ends keeps the drain waiting.
    let mut stuck = TcpStream::connect(server.address("http")).unwrap();
    write!(stuck, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ").unwrap();
    until("the request", || {
        get(&server.address("http"), "/metrics", "host: localhost\r\n")
            .contains("sabir_connections_open{listener=\"http\"} 2")
    });
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    server.signal("TERM");
    let (code, _, _) = server.end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn the_admin_api_is_for_this_machine_only() {
    let dir = Dir::new("admin");
    let server = start(&dir, &FREE);
    let address = server.address("http");
    let own = format!("host: {address}\r\n");
    let cases = [
        ("/healthz", own.clone(), "200 OK"),
        ("/readyz", own.clone(), "200 OK"),
        ("/metrics", own.clone(), "200 OK"),
        ("/v1/stats", own.clone(), "200 OK"),
        ("/v1/openapi.json", own.clone(), "200 OK"),
        ("/teapot", own.clone(), "404 Not Found"),
        ("/v1/stats", String::new(), "403 Forbidden"),
        ("/v1/stats", "host: example.com\r\n".to_owned(), "403 Forbidden"),
        ("/metrics", format!("{own}origin: http://example.com\r\n"), "403 Forbidden"),
        ("/metrics", format!("{own}origin: http://{address}\r\n"), "200 OK"),
    ];
    for (path, headers, want) in cases {
        let answer = get(&address, path, &headers);
        let want = format!("HTTP/1.1 {want}\r\n");
        assert!(answer.starts_with(&want), "{path} {headers:?}: {answer}");
    }
    let metrics = get(&address, "/metrics", &own);
    assert!(metrics.contains("\nsabir_connections_open{listener=\"http\"} 1\n"), "{metrics}");
}

#[test]
fn commands_ask_the_server() {
    let dir = Dir::new("commands");
    let server = start(&dir, &FREE);
    let url = format!("http://{}", server.address("http"));
    let run = |args: &[&str]| sabir(&dir, args).env("SABIR_SERVER", &url).output().unwrap();
    let stats = run(&["stats"]);
    let text = String::from_utf8(stats.stdout).unwrap();
    assert!(text.starts_with("version ") && text.contains("\nLISTENER  "), "{text}");
    let stats = run(&["stats", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!(json["listeners"].as_array().unwrap().len(), 2);
    let made = run(&["topic", "create", "t", "--partitions", "3"]);
    assert!(made.status.success(), "{made:?}");
    std::fs::write(dir.0.join("lines"), "one\ntwo\n").unwrap();
    let published = run(&["publish", "t", "lines", "--partition", "1", "--header", "a=b"]);
    let text = String::from_utf8(published.stdout).unwrap();
    assert_eq!(text, "PARTITION  RECORDS  FIRST  LAST\n        1        2      0     1\n");
    let whole = run(&["publish", "t", "lines", "--partition", "1", "--whole", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(json["records"][0]["offset"], 2);
    let none = failure(&run(&["publish", "t", "lines", "--partition", "3"]));
    assert!(none.contains("no partition 3: the topic has 3 (not_found)"), "{none}");
    let nowhere = sabir(&dir, &["stats", "--server", "http://127.0.0.1:1"]).output().unwrap();
    let message = failure(&nowhere);
    assert!(message.starts_with("sabir: cannot reach http://127.0.0.1:1: "), "{message}");
}

/// The answer to a Metadata request (version 1) for all topics.
fn metadata(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    // Length; key 3, version 1, correlation id 7; no client id; null for the topics.
    stream.write_all(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255]).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn a_listener_serves_its_namespace_which_is_made_at_the_start() {
    let dir = Dir::new("namespaces");
    let config = "\
[listeners.kafka]
addresses = [\"127.0.0.1:0\"]
[listeners.http]
addresses = [\"127.0.0.1:0\"]
[listeners.edge]
protocol = \"kafka\"
namespace = \"orders\"
addresses = [\"127.0.0.1:0\"]
";
    std::fs::write(dir.path("sabir.toml"), config).unwrap();
    let server = start(&dir, &["--config", "sabir.toml"]);
    let run = |server: &Server, args: &[&str]| {
        let url = format!("http://{}", server.address("http"));
        sabir(&dir, args).env("SABIR_SERVER", &url).output().unwrap()
    };
    let text = |output: Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let row = |text: &str, cells: &[&str]| {
        text.lines().any(|line| line.split_whitespace().eq(cells.iter().copied()))
    };
    let shown = text(run(&server, &["exposure"]));
    assert!(shown.contains("\nedge      kafka of orders  127.0.0.1:"), "{shown}");
    text(run(&server, &["topic", "create", "inside", "--namespace", "orders"]));
    text(run(&server, &["topic", "create", "outside"]));
    let limited = text(run(&server, &["namespace", "quota", "orders", "--set", "topics=1"]));
    assert!(row(&limited, &["topics", "1", "1"]), "{limited}");
    let full = failure(&run(&server, &["topic", "create", "b", "--namespace", "orders"]));
    assert_eq!(full, "sabir: the quota of the namespace allows 1 topics (too_large)\n");
    let check = |server: &Server| {
        let has = |listener: &str, topic: &str| {
            let answer = metadata(&server.address(listener));
            answer.windows(topic.len()).any(|part| part == topic.as_bytes())
        };
        assert_eq!([has("kafka", "outside"), has("kafka", "inside")], [true, false]);
        assert_eq!([has("edge", "outside"), has("edge", "inside")], [false, true]);
    };
    check(&server);
    let kept = failure(&run(&server, &["namespace", "delete", "orders"]));
    assert!(kept.contains("delete them first (conflict)"), "{kept}");
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));

    std::fs::remove_file(dir.path("ready.json")).unwrap();
    let server = start(&dir, &["--config", "sabir.toml"]);
    check(&server);
    let listed = text(run(&server, &["topic", "list", "--namespace", "orders"]));
    assert!(listed.contains("\ninside ") && !listed.contains("outside"), "{listed}");
    text(run(&server, &["topic", "delete", "inside", "--namespace", "orders"]));
    assert_eq!(text(run(&server, &["namespace", "delete", "orders"])), "deleted orders\n");
    let listed = text(run(&server, &["namespace", "list"]));
    assert!(listed.contains("\ndefault ") && !listed.contains("orders"), "{listed}");
    let made = text(run(&server, &["namespace", "create", "b", "--quota", "requests=9"]));
    assert!(made.starts_with("namespace b\n") && row(&made, &["requests", "9", "-"]), "{made}");
}

#[test]
fn the_ready_file_is_never_half_written() {
    let dir = Dir::new("ready");
    let server = start(&dir, &FREE);
    let left: Vec<_> =
        std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    let names: Vec<_> = left.iter().filter_map(|path: &PathBuf| path.file_name()).collect();
    assert!(names.iter().all(|name| *name == "ready.json" || *name == "sabir-data"), "{names:?}");
    drop(server);
    let missing = Path::new("missing/ready.json").to_str().unwrap();
    let mut args = vec!["serve", "--ready-file", missing];
    args.extend(FREE);
    let message = failure(&sabir(&dir, &args).output().unwrap());
    assert!(
        message.starts_with("sabir: cannot write the ready file missing/ready.json: "),
        "{message}"
    );
}

#[test]
fn inspect_waits_for_the_server_and_names_damage() {
    let dir = Dir::new("inspect");
    let server = start(&dir, &FREE);
    let run = |args: &[&str]| sabir(&dir, args).output().unwrap();
    let message = failure(&run(&["inspect", "sabir-data"]));
    assert!(message.contains("a broker is running") && message.contains("--force"), "{message}");
    let forced = run(&["inspect", "--force", "sabir-data"]);
    assert!(forced.status.success(), "{forced:?}");
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));

    let intact = run(&["inspect", "sabir-data"]);
    let text = String::from_utf8(intact.stdout).unwrap();
    assert!(text.starts_with("FILE ") && text.ends_with("\n3 files, all intact\n"), "{text}");
    let json = run(&["inspect", "--json", "sabir-data", "sabir-data/wal"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["files"][0]["path"], "wal/0000000000000001.wal");
    let frames = json["files"][0]["parts"].as_array().unwrap();
    assert_eq!((&frames[0]["frame"], &frames[0]["generation"]), (&1.into(), &1.into()));

    let path = dir.path("sabir-data/IDENT");
    let mut ident = std::fs::read(&path).unwrap();
    ident[33] ^= 4;
    std::fs::write(&path, ident).unwrap();
    let damaged = run(&["inspect", "sabir-data"]);
    let text = String::from_utf8(damaged.stdout.clone()).unwrap();
    assert!(text.contains("\nDAMAGED: IDENT, bytes 0..48: "), "{text}");
    assert_eq!(failure(&damaged), "sabir: sabir-data is damaged: IDENT\n");
    let foreign = failure(&run(&["inspect", "."]));
    assert!(foreign.contains("no data directory"), "{foreign}");
}
