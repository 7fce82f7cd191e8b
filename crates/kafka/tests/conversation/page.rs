//! The compatibility page: its tables are those of the code.

use std::fmt::Write;
use std::path::Path;

use sabir_broker::group::GroupSettings;
use sabir_broker::topic::Effective;
use sabir_kafka::config::{Accepts, Form, KEYS, Kept, Rule, broker};
use sabir_kafka::{SERVED, Settings};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocols/kafka.md");

#[test]
fn the_tables_of_the_page_are_those_of_the_code() {
    let page = std::fs::read_to_string(PAGE).expect("the page is in the repository");
    let mut wanted = page.clone();
    replace(&mut wanted, "requests", &requests());
    replace(&mut wanted, "topic-configs", &topic_configs());
    replace(&mut wanted, "broker-configs", &broker_configs());
    if page != wanted {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka.md");
        std::fs::write(&path, wanted).expect("the folder is there for this");
        panic!("the page is out of date: cp {} docs/protocols/kafka.md", path.display());
    }
}

fn replace(page: &mut String, table: &str, text: &str) {
    let begin = format!("<!-- begin generated: {table} -->\n");
    let from = page.find(&begin).expect("the table has its place") + begin.len();
    let len = page[from..].find("<!-- end").expect("and its end");
    page.replace_range(from..from + len, text);
}

fn requests() -> String {
    let mut served: Vec<_> = SERVED.iter().map(|key| key.info()).collect();
    served.sort_by_key(|info| info.number);
    let mut table = "| key | request | versions |\n|---|---|---|\n".to_owned();
    for info in served {
        let (min, max) = (info.version_min, info.version_max);
        writeln!(table, "| {} | {} | {min}–{max} |", info.number, info.name).expect("memory");
    }
    table
}

fn topic_configs() -> String {
    let mut table = "| config | type | default | accepted | what it does |\n".to_owned();
    table.push_str("|---|---|---|---|---|\n");
    for (key, entry) in KEYS.iter().zip(Kept::default().describe(&Effective::default())) {
        let default = code(entry.value.as_deref().unwrap_or("null"));
        let (kind, accepts) = (key.kind.name().to_lowercase(), accepted(&key.rule));
        writeln!(table, "| `{}` | {kind} | {default} | {accepts} | {} |", key.name, key.about)
            .expect("memory");
    }
    table
}

fn accepted(rule: &Rule) -> String {
    match rule {
        Rule::Field(field) => match &field.form {
            Form::Number { min, .. } => format!("from {min}"),
            Form::Word(words) => {
                words.iter().map(|(word, _)| code(word)).collect::<Vec<_>>().join(", ")
            }
        },
        Rule::Holds { accepts: Accepts::Only(all, why), .. } => {
            let all: Vec<_> = all.iter().map(|value| code(value)).collect();
            format!("{}: {why}", all.join(", "))
        }
        Rule::Holds { accepts: Accepts::Between(min, max), .. } if max.is_finite() => {
            format!("{min} to {max}")
        }
        Rule::Holds { accepts: Accepts::Between(min, _) | Accepts::Durable(min), .. } => {
            format!("from {min}")
        }
    }
}

fn broker_configs() -> String {
    let (settings, defaults) = (Settings::default(), Effective::default());
    let view = broker::View {
        settings: &settings,
        defaults: &defaults,
        groups: &GroupSettings::default(),
        advertised: ("127.0.0.1", 9092),
    };
    let mut table = "| config | type | default | set by |\n|---|---|---|---|\n".to_owned();
    for entry in broker::describe(&view) {
        let default = code(entry.value.as_deref().unwrap_or("null"));
        let setting = broker::setting(entry.name).map_or("–".to_owned(), code);
        let kind = entry.kind.name().to_lowercase();
        writeln!(table, "| `{}` | {kind} | {default} | {setting} |", entry.name).expect("memory");
    }
    table
}

fn code(text: &str) -> String {
    if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") }
}
