//! The four hard rules: which crate may see which, how deep, what each may name, how it is called.

use super::source::Source;
use super::{Findings, Tree};
use std::collections::BTreeMap;

/// The protocol crates; none sees another.
pub const PROTOCOLS: &[&str] = &["kafka", "amqp091", "amqp10", "mqtt", "stomp", "aws", "pubsub"];

/// Crates that are not programs and not protocols.
pub const LIBRARIES: &[&str] = &["storage", "broker", "net", "sim"];

/// Crates that know no protocol.
const BLIND: &[&str] = &["storage", "broker", "net"];

/// Longest chain of workspace crates.
const DEPTH_MAX: usize = 5;

/// Names that say nothing, and so draw in everything.
const NOTHING_NAMES: &[&str] = &["common", "util", "utils", "types", "shared", "helpers"];

/// Protocols and their peers, as the start of a word.
const PROTOCOL_WORDS: &[&str] =
    &["kafka", "amqp", "mqtt", "stomp", "sqs", "sns", "pubsub", "rabbit", "jms"];

/// A member of the workspace and the members it depends on.
struct Package<'a> {
    name: String,
    manifest: &'a Source,
    needs: Vec<String>,
}

pub fn check(tree: &Tree, findings: &mut Findings) {
    let packages = packages(tree);
    for package in &packages {
        names(package, findings);
        directions(package, findings);
        lints(package, findings);
    }
    depth(&packages, findings);
    for file in &tree.files {
        if file.krate().is_some_and(|krate| BLIND.contains(&krate)) {
            protocol_names(file, findings);
        }
    }
    recorded(tree, findings);
}

/// How far up a crate stands; `None` for one that has no place yet.
fn level(name: &str) -> Option<usize> {
    match name {
        "storage" => Some(1),
        "broker" => Some(2),
        "net" => Some(3),
        name if PROTOCOLS.contains(&name) => Some(4),
        "server" | "sim" | "bench" | "xtask" => Some(5),
        _ => None,
    }
}

fn packages(tree: &Tree) -> Vec<Package<'_>> {
    let member = |file: &&Source| {
        let folder = file.path.strip_suffix("/Cargo.toml").unwrap_or_default();
        folder.starts_with("crates/") || folder == "bench" || folder == "xtask"
    };
    tree.files.iter().filter(member).filter_map(package).collect()
}

/// Reads a manifest: its package's name and the members under any heading of dependencies.
fn package(manifest: &Source) -> Option<Package<'_>> {
    let mut heading = "";
    let mut name = None;
    let mut needs = Vec::new();
    let short = |name: &str| name.strip_prefix("sabir-").unwrap_or(name).to_owned();
    for line in manifest.text.lines().map(str::trim) {
        if line.starts_with('[') {
            heading = line.trim_matches(['[', ']']);
            if let Some((_, package)) = heading.rsplit_once("dependencies.") {
                needs.push(package.to_owned());
            }
        } else if heading == "package" && line.starts_with("name") {
            name = line.split('"').nth(1).map(short);
        } else if heading.ends_with("dependencies") {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
            needs.push(key.to_owned());
        }
    }
    needs.retain(|need| need.starts_with("sabir-") || need == "xtask");
    let needs = needs.iter().map(|need| short(need)).collect();
    Some(Package { name: name?, manifest, needs })
}

fn names(package: &Package<'_>, findings: &mut Findings) {
    let empty = package.name.split('-').find(|part| NOTHING_NAMES.contains(part));
    if let Some(part) = empty {
        let message = format!("a crate named `{part}` becomes everybody's: name what it does");
        findings.add("crate-name", &package.manifest.path, None, message);
    } else if level(&package.name).is_none() {
        let message = format!(
            "`{}` has no place in the layers: record the decision, then give it a level in \
             xtask/src/tidy/crates.rs",
            package.name
        );
        findings.add("crate-name", &package.manifest.path, None, message);
    }
}

fn directions(package: &Package<'_>, findings: &mut Findings) {
    for need in &package.needs {
        let protocol = |name: &String| PROTOCOLS.contains(&&**name);
        let message = if protocol(&package.name) && protocol(need) {
            format!("depends on `{need}`, another protocol: meet in the verbs of `broker`")
        } else if level(need) >= level(&package.name) {
            format!(
                "depends on `{need}`, which stands above or beside it: dependencies point down, \
                 server → protocols → net → broker → storage"
            )
        } else {
            continue;
        };
        findings.add("direction", &package.manifest.path, None, message);
    }
}

/// Members take lints from the workspace, or half of the fence is down for them.
fn lints(package: &Package<'_>, findings: &mut Findings) {
    if !package.manifest.text.contains("[lints]\nworkspace = true") {
        let message = "does not take the workspace's lints: add `[lints]`, `workspace = true`";
        findings.add("lints", &package.manifest.path, None, message.to_owned());
    }
}

fn depth(packages: &[Package<'_>], findings: &mut Findings) {
    let needs: BTreeMap<&str, &Package<'_>> =
        packages.iter().map(|package| (package.name.as_str(), package)).collect();
    for package in packages {
        // A circle is longer than any limit, so the search may stop just above it.
        let chain = longest(&package.name, &needs, DEPTH_MAX + 1);
        if chain > DEPTH_MAX {
            let message = format!("a chain of more than {DEPTH_MAX} crates: merge or move one");
            findings.add("depth", &package.manifest.path, None, message);
        }
    }
}

fn longest(name: &str, packages: &BTreeMap<&str, &Package<'_>>, bound: usize) -> usize {
    if bound == 0 {
        return 0;
    }
    let needs = packages.get(name).map_or(&[][..], |package| &package.needs);
    1 + needs.iter().map(|need| longest(need, packages, bound - 1)).max().unwrap_or(0)
}

/// A protocol's name below the protocols, outside a comment that cites a decision.
fn protocol_names(file: &Source, findings: &mut Findings) {
    let comments: Vec<&str> = file.comments.lines().collect();
    let code: Vec<&str> = file.code.lines().collect();
    let lines: Vec<&str> = file.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let Some(name) = protocol_word(line) else { continue };
        let only_comment = comments.get(number).is_some_and(|comment| {
            let outside = line.replace(comment.trim(), "");
            !comment.trim().is_empty() && protocol_word(&outside).is_none()
        });
        if only_comment && cites(&comments, &code, number) {
            continue;
        }
        let message = format!(
            "names `{name}`: say it without a protocol, or cite docs/decisions/ in the comment"
        );
        findings.add("protocol", &file.path, Some(number), message);
    }
}

/// Whether the comment around this line cites a decision.
fn cites(comments: &[&str], code: &[&str], number: usize) -> bool {
    let pure = |at: usize| code[at].trim().is_empty() && !comments[at].trim().is_empty();
    let mut first = number;
    while first > 0 && pure(first - 1) {
        first -= 1;
    }
    let mut last = number;
    while last + 1 < comments.len().min(code.len()) && pure(last + 1) {
        last += 1;
    }
    comments[first..=last].iter().any(|comment| comment.contains("docs/decisions/"))
}

/// The first protocol named in a line, as the start of a word in any spelling of names.
fn protocol_word(line: &str) -> Option<&'static str> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        let starts = !c.is_alphabetic() || (c.is_uppercase() && before.is_lowercase());
        if starts && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphabetic(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    // `pub sub: u64` is a visible field of a row's key, no protocol.
    let field = line.trim_start().starts_with("pub ");
    let pair = !field && words.windows(2).any(|pair| pair[0] == "pub" && pair[1] == "sub");
    let named = |name: &&&str| words.iter().any(|word| word.starts_with(**name));
    PROTOCOL_WORDS.iter().find(named).copied().or(pair.then_some("pubsub"))
}

/// Every dependency of the workspace has its line in the record of dependencies.
fn recorded(tree: &Tree, findings: &mut Findings) {
    const RECORD: &str = "docs/decisions/dependencies.md";
    let Some(manifest) = tree.file("Cargo.toml") else { return };
    let record = tree.file(RECORD).map_or("", |record| &record.text);
    let mut inside = false;
    for (number, line) in manifest.text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            continue;
        }
        let name = line.split(['=', ' ', '.']).next().unwrap_or_default();
        if !inside
            || name.is_empty()
            || name.starts_with(['#', '}', ']'])
            || line.contains("path =")
        {
            continue;
        }
        if !record.contains(&format!("`{name}`")) {
            let message =
                format!("`{name}` has no line in {RECORD}: say what for and why a library");
            findings.add("dependency", "Cargo.toml", Some(number), message);
        }
    }
}
