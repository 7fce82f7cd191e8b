//! What Rust code may not call or name in which crate, each with what to write instead.

use super::Findings;
use super::crates::{LIBRARIES, PROTOCOLS};
use super::source::{Source, line_of, words};

/// Files that may hold `unsafe`; everything else goes without.
const UNSAFE_FILES: &[&str] = &[
    "crates/server/src/allocations.rs",
    "crates/storage/src/aligned.rs",
    "fuzz/src/lib.rs",
    "xtask/src/torture/sys.rs",
];

/// Where a rule holds.
#[derive(Clone, Copy)]
enum Scope {
    /// Every Rust file.
    Everywhere,
    /// Every crate that is not a program.
    Libraries,
    /// The protocol crates and the named ones.
    Protocols(&'static [&'static str]),
    /// The named crates.
    Crates(&'static [&'static str]),
}

/// One thing that may not be written.
struct Banned {
    /// Matched as whole words in code, never inside comments or literals.
    what: &'static str,
    scope: Scope,
    /// Whether tests may write it.
    tests_may: bool,
    instead: &'static str,
}

const fn banned(what: &'static str, scope: Scope, instead: &'static str) -> Banned {
    Banned { what, scope, tests_may: true, instead }
}

const fn banned_in_tests_too(what: &'static str, scope: Scope, instead: &'static str) -> Banned {
    Banned { what, scope, tests_may: false, instead }
}

const CORE: Scope = Scope::Protocols(&["broker"]);
const CORE_AND_STORAGE: Scope = Scope::Protocols(&["broker", "storage"]);
const NO_FILES: Scope = Scope::Protocols(&["broker", "net"]);
const HASHED: Scope = Scope::Crates(&["broker", "storage"]);

const TIME: &str = "time is lent: take `Now` from the `Step` or as an argument";
const CHANCE: &str = "randomness is lent: take `&mut dyn Random` as an argument";
const WAIT: &str = "wait for a condition or a deadline, never for time to pass";
const BOUND: &str = "every queue has a bound: use a bounded channel and say what happens when full";
const PRINT: &str = "a library does not print: return the value, or use `tracing`";
const HASHER: &str = "its order differs from run to run: use `hashbrown` with a hasher seeded from \
                      `Random`, or a BTreeMap";
const FILES: &str = "only `storage` touches files: ask it through the broker";
const SOCKETS: &str = "only `net` and `server` touch sockets: take bytes, give bytes";
const RUNTIME: &str = "no async runtime below `net`: write a state machine that is stepped";
const THREADS: &str = "threads belong to `storage` and `server`: write a state machine";
const FINISH: &str = "finish it, or leave the branch out and return an error that says so";

const BANNED: &[Banned] = &[
    banned("Instant::now", CORE, TIME),
    banned("SystemTime::now", CORE, TIME),
    banned("thread::sleep", Scope::Libraries, WAIT),
    banned("rand", CORE_AND_STORAGE, CHANCE),
    banned("getrandom", CORE_AND_STORAGE, CHANCE),
    banned_in_tests_too("unbounded_channel", Scope::Everywhere, BOUND),
    banned_in_tests_too("channel::unbounded", Scope::Everywhere, BOUND),
    banned("mpsc::channel()", Scope::Libraries, BOUND),
    banned("println!", Scope::Libraries, PRINT),
    banned("eprintln!", Scope::Libraries, PRINT),
    banned("print!", Scope::Libraries, PRINT),
    banned("eprint!", Scope::Libraries, PRINT),
    banned_in_tests_too("dbg!", Scope::Everywhere, "remove it"),
    banned(".unwrap()", Scope::Everywhere, "say why it cannot fail: `.expect(\"…\")`, or use `?`"),
    banned_in_tests_too("todo!", Scope::Everywhere, FINISH),
    banned_in_tests_too("unimplemented!", Scope::Everywhere, FINISH),
    banned_in_tests_too("#[ignore", Scope::Everywhere, "mend the test or delete it"),
    banned("RandomState", HASHED, HASHER),
    banned("std::fs", NO_FILES, FILES),
    banned("File::open", NO_FILES, FILES),
    banned("File::create", NO_FILES, FILES),
    banned("TcpListener", CORE_AND_STORAGE, SOCKETS),
    banned("TcpStream", CORE_AND_STORAGE, SOCKETS),
    banned("UdpSocket", CORE_AND_STORAGE, SOCKETS),
    banned("tokio", Scope::Crates(&["broker", "storage", "kafka", "mqtt", "stomp"]), RUNTIME),
    banned("thread::spawn", CORE, THREADS),
    banned("process::exit", Scope::Libraries, "return an error; only a program ends itself"),
];

pub fn check(file: &Source, findings: &mut Findings) {
    for banned in BANNED {
        if !holds(banned.scope, file) {
            continue;
        }
        for at in words(&file.code, banned.what) {
            let line = line_of(&file.code, at);
            if !(banned.tests_may && file.is_test_line(line)) {
                let message = format!("`{}`: {}", banned.what, banned.instead);
                findings.add("banned", &file.path, Some(line), message);
            }
        }
    }
    if holds(HASHED, file) {
        standard_maps(file, findings);
    }
    if !UNSAFE_FILES.contains(&&*file.path) {
        unsafe_code(file, findings);
    }
}

fn holds(scope: Scope, file: &Source) -> bool {
    let Some(krate) = file.krate() else { return matches!(scope, Scope::Everywhere) };
    match scope {
        Scope::Everywhere => true,
        Scope::Libraries => LIBRARIES.contains(&krate) || PROTOCOLS.contains(&krate),
        Scope::Protocols(others) => PROTOCOLS.contains(&krate) || others.contains(&krate),
        Scope::Crates(crates) => crates.contains(&krate),
    }
}

fn unsafe_code(file: &Source, findings: &mut Findings) {
    let allowed = words(&file.code, "unsafe").chain(words(&file.code, "allow(unsafe_code)"));
    for at in allowed {
        let message = format!("`unsafe` stands in {} only: use those", UNSAFE_FILES.join(", "));
        findings.add("unsafe", &file.path, Some(line_of(&file.code, at)), message);
    }
}

/// The standard maps, imported or named by path, seed themselves.
fn standard_maps(file: &Source, findings: &mut Findings) {
    for at in words(&file.code, "std::collections::") {
        let rest = &file.code[at + "std::collections::".len()..];
        let list = rest.strip_prefix('{').and_then(|list| list.split('}').next());
        let named = list.unwrap_or_else(|| {
            rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
        });
        let line = line_of(&file.code, at);
        for map in ["HashMap", "HashSet"] {
            if words(named, map).next().is_some() && !file.is_test_line(line) {
                let message = format!("`std::collections::{map}`: {HASHER}");
                findings.add("banned", &file.path, Some(line), message);
            }
        }
    }
}
