//! House numbers: lengths of functions and files, and how often storage and broker assert.
//!
//! The lists under `xtask/tidy/` hold what was allowed to exceed them. An entry states the length
//! as it is, so growth shows in review and shrinking is written down at once.

use super::source::Source;
use super::{Findings, Tree};
use std::collections::BTreeMap;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const LONG_FUNCTIONS: &str = "xtask/tidy/long_functions.txt";
const LONG_FILES: &str = "xtask/tidy/long_files.txt";

/// Crates whose code must assert, how often, and from which size on the number means something.
const ASSERTING: &[&str] = &["storage", "broker"];
const ASSERTIONS_PER_1000_MIN: usize = 5;
const ASSERTING_LINES_MIN: usize = 500;

pub fn check(tree: &Tree, findings: &mut Findings) {
    functions(tree, findings);
    files(tree, findings);
    assertions(tree, findings);
}

/// Lines of a list without comments, with their numbers from 0.
fn entries<'a>(tree: &'a Tree, list: &str) -> Vec<(usize, &'a str)> {
    let text = tree.file(list).map_or("", |file| &file.text);
    let used = |(_, line): &(usize, &str)| !line.is_empty() && !line.starts_with('#');
    text.lines().map(str::trim).enumerate().filter(used).collect()
}

/// Functions outside of tests and generated code.
fn functions(tree: &Tree, findings: &mut Findings) {
    let mut allowed: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (number, line) in entries(tree, LONG_FUNCTIONS) {
        match line.rsplit_once(' ').map(|(name, length)| (name, length.parse())) {
            Some((name, Ok(length))) => drop(allowed.insert(name.to_owned(), (length, number))),
            _ => {
                let message = "write `path function lines`".to_owned();
                findings.add("long-function", LONG_FUNCTIONS, Some(number), message);
            }
        }
    }
    for file in tree.rust().filter(|file| !file.is_generated()) {
        for function in file.functions() {
            if function.length <= FUNCTION_LINES_MAX || file.is_test_line(function.line) {
                continue;
            }
            let name = format!("{} {}", file.path, function.name);
            let message = match allowed.remove(&name) {
                Some((length, _)) if length == function.length => continue,
                Some((length, _)) if length > function.length => format!(
                    "`{}` shrank to {} lines: lower its entry in {LONG_FUNCTIONS}",
                    function.name, function.length
                ),
                _ => format!(
                    "`{}` has {} lines: split it below {FUNCTION_LINES_MAX}",
                    function.name, function.length
                ),
            };
            findings.add("long-function", &file.path, Some(function.line), message);
        }
    }
    for (name, (_, number)) in allowed {
        let message = format!("`{name}` is not long or not there any more: remove the entry");
        findings.add("long-function", LONG_FUNCTIONS, Some(number), message);
    }
}

/// An entry names a file, or a folder with `/` at its end.
fn files(tree: &Tree, findings: &mut Findings) {
    let allowed = entries(tree, LONG_FILES);
    let covers = |entry: &str, file: &Source| {
        entry == file.path || (entry.ends_with('/') && file.path.starts_with(entry))
    };
    for file in tree.rust() {
        let length = file.length();
        if length > FILE_LINES_MAX && !allowed.iter().any(|(_, entry)| covers(entry, file)) {
            let message = format!(
                "{length} lines without tests: split it below {FILE_LINES_MAX}; a catalogue or \
                 generated file is named in {LONG_FILES}"
            );
            findings.add("long-file", &file.path, None, message);
        }
    }
    for (number, entry) in allowed {
        let long = |file: &Source| covers(entry, file) && file.length() > FILE_LINES_MAX;
        if !tree.rust().any(long) {
            let message = format!("`{entry}` is not long or not there any more: remove the entry");
            findings.add("long-file", LONG_FILES, Some(number), message);
        }
    }
}

fn assertions(tree: &Tree, findings: &mut Findings) {
    for krate in ASSERTING {
        let (mut lines, mut asserted) = (0, 0);
        for file in tree.rust().filter(|file| file.krate() == Some(krate) && !file.is_test_file()) {
            lines += file.length();
            let code = file.code.lines().enumerate();
            asserted += code.filter(|(at, line)| asserts(line) && !file.is_test_line(*at)).count();
        }
        if lines >= ASSERTING_LINES_MIN && asserted * 1000 < lines * ASSERTIONS_PER_1000_MIN {
            let message = format!(
                "{asserted} assertions in {lines} lines: assert the invariants of its types before \
                 each write and after each read, at least {ASSERTIONS_PER_1000_MIN} per 1,000 lines"
            );
            findings.add("assertions", &format!("crates/{krate}/Cargo.toml"), None, message);
        }
    }
}

fn asserts(line: &str) -> bool {
    ["assert!(", "assert_eq!(", "assert_ne!("].iter().any(|name| line.contains(name))
}
