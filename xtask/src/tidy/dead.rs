//! No dead files: each Rust file is a root of a crate or declared by a `mod` on the way from one.

use super::source::{Source, words};
use super::{Findings, Tree};
use std::collections::BTreeSet;

pub fn check(tree: &Tree, findings: &mut Findings) {
    let mut alive: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<String> =
        tree.rust().map(|file| file.path.clone()).filter(|path| is_root(path)).collect();
    waiting.extend(named_roots(tree));
    let mut roots: BTreeSet<String> = waiting.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let Some(file) = tree.file(&path) else { continue };
        if alive.insert(path.clone()) {
            let root = roots.contains(&path);
            waiting.extend(declared(file, root));
            for included in included(file) {
                roots.insert(included.clone());
                waiting.push(included);
            }
        }
    }
    for file in tree.rust().filter(|file| !alive.contains(&file.path)) {
        let message = "no `mod` declares this file: declare it or delete it".to_owned();
        findings.add("dead-file", &file.path, None, message);
    }
}

/// Files that Cargo finds by their place.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "build.rs"] | [.., "src", "lib.rs" | "main.rs"] => true,
        [.., "src", "bin", name] => name.ends_with(".rs"),
        [.., "tests" | "benches" | "examples" | "bin", _, "main.rs"] => true,
        [head @ .., "tests" | "benches" | "examples", _] => !head.contains(&"src"),
        _ => false,
    }
}

/// Files that a manifest names.
fn named_roots(tree: &Tree) -> Vec<String> {
    let manifests = tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let named = |manifest: &Source| -> Vec<String> {
        let folder = manifest.path.trim_end_matches("Cargo.toml").to_owned();
        let paths = manifest.text.lines().filter(|line| line.starts_with("path"));
        let quoted = paths.filter_map(|line| line.split('"').nth(1));
        quoted.filter(|path| path.ends_with(".rs")).map(|path| format!("{folder}{path}")).collect()
    };
    manifests.flat_map(named).collect()
}

/// Both places where each `mod name;` of a file may lie, and what `#[path]` says.
fn declared(file: &Source, root: bool) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let beside = root || name == "mod.rs";
    let base = if beside {
        folder.to_owned()
    } else {
        format!("{folder}/{}", name.trim_end_matches(".rs"))
    };
    let mut found = Vec::new();
    for at in words(&file.code, "mod") {
        let rest = file.code[at + 3..].trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if end == 0 || !rest[end..].trim_start().starts_with(';') {
            continue;
        }
        let inline: String =
            inline_modules(&file.code[..at]).iter().map(|name| format!("/{name}")).collect();
        let module = &rest[..end];
        found.push(format!("{base}{inline}/{module}.rs"));
        found.push(format!("{base}{inline}/{module}/mod.rs"));
        found.extend(path_attribute(file, at).map(|path| format!("{folder}/{path}")));
    }
    found
}

/// The inline modules that are open where `before` ends.
fn inline_modules(before: &str) -> Vec<&str> {
    let mut open: Vec<Option<&str>> = Vec::new();
    let mut since = 0;
    for (at, byte) in before.bytes().enumerate() {
        match byte {
            b'{' => {
                let head = before[since..at].trim();
                let named = words(head, "mod").last().map(|at| head[at + 3..].trim());
                open.push(named);
                since = at + 1;
            }
            b'}' => {
                open.pop();
                since = at + 1;
            }
            b';' => since = at + 1,
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

/// The file in a `#[path = "…"]` directly in front of the `mod` at `at`.
fn path_attribute(file: &Source, at: usize) -> Option<&str> {
    let line_start = file.text[..at].rfind('\n')?;
    let before = file.text[..line_start].lines().next_back()?;
    before.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")
}

/// Files that `include!` puts in.
fn included(file: &Source) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let of = |at: usize| file.text[at..].split('"').nth(1).map(|path| format!("{folder}/{path}"));
    words(&file.code, "include!").filter_map(of).collect()
}
