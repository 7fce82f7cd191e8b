//! Each rule beside what it flags and what it lets pass, as data.

use super::source::{Function, Source};
use super::{Tree, check as run_rules};

/// Checks a repository of these files; returns the rules that found something, sorted.
fn found(files: &[(&str, &str)]) -> Vec<&'static str> {
    let mut files: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source::new((*path).to_owned(), (*text).to_owned()))
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut rules: Vec<&str> = run_rules(&Tree { files }).iter().map(|found| found.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Flags the first repository by exactly this rule; lets the second pass.
#[track_caller]
fn check(rule: &str, bad: &[(&str, &str)], good: &[(&str, &str)]) {
    assert_eq!(found(bad), [rule], "the bad one: {bad:?}");
    assert_eq!(found(good), [""; 0], "the good one: {good:?}");
}

/// The same for one file of a crate, without its first line, as the only file of its place.
#[track_caller]
fn check_code(rule: &str, path: &str, bad: &str, good: &str) {
    let [bad, good] = [bad, good].map(|code| format!("//! A file.\n{code}\n"));
    check(rule, &[(path, &bad)], &[(path, &good)]);
}

const BROKER: &str = "crates/broker/src/lib.rs";
const STORAGE: &str = "crates/storage/src/lib.rs";
const NET: &str = "crates/net/src/lib.rs";
const KAFKA: &str = "crates/kafka/src/lib.rs";
const SERVER: &str = "crates/server/src/main.rs";

fn manifest(name: &str, dependencies: &str) -> String {
    format!("[package]\nname = \"{name}\"\n\n[lints]\nworkspace = true\n\n{dependencies}")
}

#[test]
fn first_line() {
    check("first-line", &[(BROKER, "struct A;\n")], &[(BROKER, "//! The core.\nstruct A;\n")]);
    check("first-line", &[(BROKER, "// The core.\n")], &[(BROKER, "//! The core.\n")]);
}

#[test]
fn banned_calls() {
    for (path, bad, good) in [
        (BROKER, "fn f() { Instant::now(); }", "fn f(now: Instant) { now; } // Instant::now"),
        (KAFKA, "fn f() { std::time::SystemTime::now(); }", "const A: &str = \"SystemTime::now\";"),
        (STORAGE, "fn f() { std::thread::sleep(T); }", "fn f() { condition.wait(T); }"),
        (BROKER, "use rand::Rng;", "use crate::random::Random; struct Brand;"),
        (NET, "fn f() { mpsc::unbounded_channel(); }", "fn f() { mpsc::channel(8); }"),
        (NET, "fn f() { mpsc::channel(); }", "fn f() { mpsc::sync_channel(8); }"),
        (NET, "fn f() { println!(); }", "fn f() { writeln!(out, \"println!\"); }"),
        (NET, "fn f() { eprintln!(); }", "#[test] fn f() { eprintln!(); }"),
        (SERVER, "fn f() { a.unwrap(); }", "fn f() { a.unwrap_or(1); a.expect(\"set above\"); }"),
        (SERVER, "fn f() { todo!() }", "fn f() { r#\"todo!()\"#; }"),
        (SERVER, "fn f() { unimplemented!() }", "/* unimplemented! /* twice */ todo! */ fn f() {}"),
        (SERVER, "#[ignore = \"slow\"] fn f() {}", "fn f() { \"#[ignore\"; }"),
        (STORAGE, "use std::collections::HashMap;", "use std::collections::BTreeMap;"),
        (
            BROKER,
            "use std::collections::{BTreeMap,\nHashSet};",
            "use hashbrown::{HashMap, HashSet};",
        ),
        (BROKER, "fn f() { RandomState::new(); }", "fn f() { FixedState::with_seed(1); }"),
        (BROKER, "use std::fs;", "fn f() { my_std::fs_like(); }"),
        (NET, "fn f() { std::fs::read(p); }", "#[cfg(test)]\nmod t { use std::fs; }"),
        (KAFKA, "fn f() { File::open(p); }", "fn f() { file.open(p); }"),
        (BROKER, "use std::net::TcpStream;", "use std::net::IpAddr;"),
        (STORAGE, "async fn f() { tokio::spawn(g()); }", "fn f() { pool.spawn(g); }"),
        (BROKER, "fn f() { std::thread::spawn(g); }", "fn f(wake: Wake) { wake.later(); }"),
        (NET, "fn f() { std::process::exit(1); }", "fn f() -> Result<(), Error> { Err(e) }"),
    ] {
        check_code("banned", path, bad, good);
    }
}

#[test]
fn tests_may_do_some_of_it_and_never_the_rest() {
    let good = "#[cfg(test)]\nmod tests {\n fn f() { a.unwrap(); Instant::now(); }\n}";
    check_code("banned", BROKER, "#[cfg(test)]\nmod tests { fn f() { todo!() } }", good);
    check_code("banned", BROKER, "#[cfg(not(test))]\nfn f() { a.unwrap(); }", good);
    let after = format!("{good}\nfn g() {{ a.unwrap(); }}");
    check_code("banned", BROKER, &after, "#[test]\nfn f() { a.unwrap(); }");
    check_code("banned", "bench/src/main.rs", "fn f() { a.unwrap(); }", "fn f() { println!(); }");
    let in_folder = "crates/broker/tests/all.rs";
    check_code("banned", in_folder, "fn f() { dbg!(1); }", "fn f() { a.unwrap(); }");
}

#[test]
fn unsafe_only_in_the_named_modules() {
    check_code("unsafe", STORAGE, "unsafe fn f() {}", "fn f() { unsafe_looking(); } // unsafe");
    check_code("unsafe", STORAGE, "#![allow(unsafe_code)]", "#![deny(unsafe_code)]");
    let named = [(STORAGE, "//! A.\nmod aligned;\n"), ("crates/storage/src/aligned.rs", UNSAFE)];
    assert_eq!(found(&named), [""; 0]);
}

const UNSAFE: &str = "//! B.\n#![allow(unsafe_code)]\nfn f() { unsafe { g() } }\n";

#[test]
fn no_protocol_below_the_protocols() {
    for (bad, good) in [
        ("struct KafkaBatch;", "struct Batch;"),
        ("fn amqp091_name() {}", "fn name() {} struct CustomPolicy; // customplace"),
        ("const A: &str = \"mqtt\";", "const A: &str = \"the protocol\";"),
        ("/// As in RabbitMQ.", "/// As in RabbitMQ, see docs/decisions/0001-batches.md."),
        ("fn f() {} // sqs", "// Read by sqs too:\n// see docs/decisions/0001-batches.md"),
        ("struct PubSub;", "struct Public; struct Subject;"),
        ("fn kafka() {} // docs/decisions/", "fn f() {} // docs/decisions/0001 for Kafka"),
    ] {
        for path in [STORAGE, BROKER, NET] {
            check_code("protocol", path, bad, good);
        }
        let everywhere = format!("//! A file.\n{bad}\n");
        assert_eq!(found(&[(KAFKA, &everywhere)]), [""; 0]);
    }
}

#[test]
fn dependencies_point_down() {
    let member = |name: &str, needs: &str| {
        (format!("crates/{name}/Cargo.toml"), manifest(&format!("sabir-{name}"), needs))
    };
    for (rule, bad, good) in [
        (
            "direction",
            member("broker", "[dependencies]\nsabir-net.workspace = true\n"),
            member("broker", "[dependencies]\nsabir-storage.workspace = true\n"),
        ),
        (
            "direction",
            member("kafka", "[dev-dependencies]\nsabir-mqtt = { workspace = true }\n"),
            member("kafka", "[dev-dependencies]\nsabir-net = { workspace = true }\n"),
        ),
        (
            "direction",
            member("sim", "[dependencies.sabir-server]\nworkspace = true\n"),
            member("sim", "[dependencies.sabir-kafka]\nworkspace = true\n"),
        ),
        ("crate-name", member("wire-utils", ""), member("mqtt", "")),
        ("crate-name", member("common", ""), member("net", "")),
        ("crate-name", member("cache", ""), member("storage", "")),
    ] {
        check(rule, &[(&bad.0, &bad.1)], &[(&good.0, &good.1)]);
    }
    let without = manifest("sabir-net", "").replace("[lints]\nworkspace = true", "");
    check(
        "lints",
        &[("crates/net/Cargo.toml", &without)],
        &[("crates/net/Cargo.toml", &manifest("sabir-net", ""))],
    );
}

#[test]
fn chains_have_five_crates_at_most() {
    let chain = |names: &[&str]| -> Vec<(String, String)> {
        let need = |below: &str| format!("[dependencies]\nsabir-{below}.workspace = true\n");
        let member = |(at, name): (usize, &&str)| {
            let needs = if at == 0 { String::new() } else { need(names[at - 1]) };
            (format!("crates/{name}/Cargo.toml"), manifest(&format!("sabir-{name}"), &needs))
        };
        names.iter().enumerate().map(member).collect()
    };
    let found_in = |names: &[&str]| {
        let files = chain(names);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        found(&files)
    };
    assert_eq!(found_in(&["storage", "broker", "net", "kafka", "server"]), [""; 0]);
    // The sixth stands beside the fifth, so the direction is wrong as well.
    let six = found_in(&["storage", "broker", "net", "kafka", "sim", "server"]);
    assert_eq!(six, ["depth", "direction"]);
}

#[test]
fn dependencies_are_recorded() {
    let root = "[workspace.dependencies]\nsabir-net = { path = \"a\" }\n# why\nbytes = \"1\"\n";
    let record = "docs/decisions/dependencies.md";
    check(
        "dependency",
        &[("Cargo.toml", root), (record, "- `byte`: no\n")],
        &[("Cargo.toml", root), (record, "- `bytes`: buffers\n")],
    );
}

#[test]
fn long_functions() {
    let function = |lines: usize| format!("fn f() {{{}}}", "\n".repeat(lines - 1));
    let list = "xtask/tidy/long_functions.txt";
    check_code("long-function", SERVER, &function(71), &function(70));
    check_code("long-function", SERVER, &function(71), &format!("#[test]\n{}", function(90)));
    let text = format!("//! A.\n{}\n", function(80));
    let entry = format!("{SERVER} f");
    check(
        "long-function",
        &[(SERVER, &text), (list, &format!("{entry} 79\n"))],
        &[(SERVER, &text), (list, &format!("# comment\n{entry} 80\n"))],
    );
    let shrunk = [(SERVER, text.as_str()), (list, &format!("{entry} 81\n"))];
    assert_eq!(found(&shrunk), ["long-function"]);
    assert_eq!(found(&[(list, "crates/a.rs gone 90\n")]), ["long-function"]);
    assert_eq!(found(&[(list, "no number\n")]), ["long-function"]);
}

#[test]
fn long_files() {
    let lines = |count: usize| format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(count - 1));
    let list = "xtask/tidy/long_files.txt";
    check("long-file", &[(SERVER, &lines(801))], &[(SERVER, &lines(800))]);
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(700), "\n".repeat(200));
    check("long-file", &[(SERVER, &lines(901))], &[(SERVER, &tested)]);
    check(
        "long-file",
        &[(SERVER, &lines(801)), (list, "crates/kafka/src/generated/\n")],
        &[(SERVER, &lines(801)), (list, "crates/server/src/\n")],
    );
    assert_eq!(found(&[(SERVER, &lines(9)), (list, SERVER)]), ["long-file"]);
}

#[test]
fn assertions() {
    let code = |asserts: usize| {
        let text = format!("//! A.\n{}{}", "\n".repeat(599), "assert!(a);\n".repeat(asserts));
        format!("{text}#[cfg(test)]\nmod t {{\nassert!(b);\nassert!(b);\n}}\n")
    };
    check("assertions", &[(STORAGE, &code(2))], &[(STORAGE, &code(4))]);
    assert_eq!(found(&[(NET, &code(0))]), [""; 0]);
}

#[test]
fn dead_files() {
    let a = "crates/net/src/a.rs";
    let lone = "//! A.\n";
    check("dead-file", &[(NET, lone), (a, lone)], &[(NET, "//! A.\nmod a;\n"), (a, lone)]);
    let b = "crates/net/src/a/b.rs";
    for (root, alive) in [
        ("//! A.\nmod a;\n", "//! A.\npub(crate) mod b;\n"),
        ("//! A.\nmod a { mod b; }\n", lone),
        ("//! A.\n#[path = \"a/b.rs\"]\nmod c;\n", lone),
    ] {
        let declared = if alive == lone {
            found(&[(NET, root), (b, lone)])
        } else {
            found(&[(NET, root), (a, alive), (b, lone)])
        };
        assert_eq!(declared, [""; 0], "{root}");
    }
    let closed = "//! A.\nmod c { fn f() {} }\nmod a;\n";
    assert_eq!(found(&[(NET, closed), (a, lone)]), [""; 0]);
    let only_said = "//! A.\n// mod a;\nconst A: &str = \"mod a;\";\n";
    assert_eq!(found(&[(NET, only_said), (a, lone)]), ["dead-file"]);
    let target = "fuzz/fuzz_targets/wal.rs";
    let named = "[[bin]]\nname = \"wal\"\npath = \"fuzz_targets/wal.rs\"\n";
    check("dead-file", &[(target, lone)], &[(target, lone), ("fuzz/Cargo.toml", named)]);
}

#[test]
fn words_that_belong_elsewhere() {
    let path = "docs/a.md";
    for (bad, good) in [
        (concat!("see /wo", "rk/notes\n"), "see work/notes\n"),
        (concat!("in ../sha", "red/tools\n"), "in ../share/tools\n"),
        (concat!("a helper ag", "ent\n"), "a helper\n"),
        (concat!("TO", "DO: more\n"), "To do\n"),
        (concat!("FIX", "ME\n"), "fix me\n"),
        (concat!("XX", "X\n"), "XXXX\n"),
    ] {
        check("word", &[(path, bad)], &[(path, good)]);
    }
}

#[test]
fn columns() {
    let path = "docs/a.md";
    let wide = |text: &str| format!("{text}{}\n", "é".repeat(101 - text.len()));
    check("columns", &[(path, &wide(""))], &[(path, &wide("| a"))]);
    check("columns", &[(path, &wide(""))], &[(path, &wide("https://"))]);
    check("columns", &[(path, &wide(""))], &[("docs/proof/a.md", &wide(""))]);
    check_code("columns", SERVER, &wide("// "), "// short");
    check_code("columns", SERVER, &wide("// "), &format!("// Generated by a.\n{}", wide("// ")));
}

#[test]
fn white_space() {
    let path = "docs/a.md";
    check("white-space", &[(path, "a \nb\n")], &[(path, "a\n\nb\n")]);
    check("white-space", &[(path, "a")], &[(path, "a\n")]);
    check("white-space", &[(path, "<<<<<<< HEAD\n")], &[(path, "> quoted\n")]);
}

#[test]
fn links() {
    let path = "docs/decisions/a.md";
    let other = ("docs/b.md", "b\n");
    check(
        "link",
        &[(path, "[b](../c.md)\n"), other],
        &[(path, "[b](../b.md#part) [w](https://a.b/c) [d](../) `x`\n"), other],
    );
    check("link", &[(path, "[b](c)\n")], &[(path, "```\n[b](c)\n```\n")]);
    check("link", &[(path, "```\n```\n[b](c)\n")], &[(path, "```\n```\n[b](a.md)\n")]);
}

#[test]
fn the_scanner_measures_functions() {
    let text = "//! A.\nfn a<'a>(x: &'a [u8; 3]) -> char {\n    '{'\n}\ntrait T { fn none(); }\n\
                fn b() {\n    let f: fn(u8) = |_| {};\n    \"}\"; r#\"}\"#; '\\''; b'}';\n\n}\n";
    let expected = [("a", 1, 3), ("b", 5, 5)].map(|(name, line, length)| Function {
        name: name.to_owned(),
        line,
        length,
    });
    assert_eq!(Source::new(NET.to_owned(), text.to_owned()).functions(), expected);
}

#[test]
fn the_scanner_survives_any_end() {
    let text = "//! A.\nfn a() { '\\'' b\"\\\"\" r##\"x\"##  /* é /* */ */ 'é' } // é\n";
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let source = Source::new(NET.to_owned(), text[..end].to_owned());
        assert_eq!((source.code.len(), source.comments.len()), (end, end));
    }
}
