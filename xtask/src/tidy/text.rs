//! Rules over the text of one file: words, line lengths, white space, links, first lines.

use super::source::{Source, words};
use super::{Findings, Tree};

/// Columns of a line of Rust or Markdown.
const COLUMNS_MAX: usize = 100;

/// Words that must not appear, and what to do. Put together here so that this file may hold them.
const WORDS: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine: write it relative to the repository"),
    (concat!("../sha", "red"), "the repository stands alone: put what is needed inside it"),
    (concat!(" helper ag", "ent"), "say what the code does, not who wrote it"),
    (concat!("TO", "DO"), "do it now, or describe the limit in a sentence"),
    (concat!("FIX", "ME"), "mend it now, or describe the limit in a sentence"),
    (concat!("XX", "X"), "write what is wrong in a sentence, or mend it"),
];

pub fn check(file: &Source, tree: &Tree, findings: &mut Findings) {
    if file.path == "Cargo.lock" || file.path == "LICENSE" {
        return;
    }
    forbidden_words(file, findings);
    let markdown = file.path.ends_with(".md");
    if markdown {
        links(file, tree, findings);
    }
    if markdown || file.is_rust() {
        line_lengths(file, findings);
    }
    if markdown || file.is_rust() || file.path.ends_with(".toml") {
        white_space(file, findings);
    }
    if file.is_rust() && !file.text.starts_with("//! ") {
        let message = "starts without a `//!` line: say what this file is, and what it is not";
        findings.add("first-line", &file.path, None, message.to_owned());
    }
}

fn forbidden_words(file: &Source, findings: &mut Findings) {
    for (word, instead) in WORDS {
        if !file.text.contains(word) {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            if words(line, word).next().is_some() {
                findings.add("word", &file.path, Some(number), format!("`{word}`: {instead}"));
            }
        }
    }
}

/// Tables, addresses, generated code and recorded output under `docs/proof` may be wider.
fn line_lengths(file: &Source, findings: &mut Findings) {
    if file.path.starts_with("docs/proof/") || file.is_generated() {
        return;
    }
    for (number, line) in file.text.lines().enumerate() {
        let address = line.split_whitespace().find(|word| word.contains("://"));
        let width = line.chars().count() - address.map_or(0, |word| word.chars().count());
        if width > COLUMNS_MAX && !line.starts_with('|') {
            let message = format!("{width} columns: break the line at {COLUMNS_MAX}");
            findings.add("columns", &file.path, Some(number), message);
        }
    }
}

fn white_space(file: &Source, findings: &mut Findings) {
    for (number, line) in file.text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            let message = "white space at the end of the line: remove it".to_owned();
            findings.add("white-space", &file.path, Some(number), message);
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            let message = "mark of a merge conflict: resolve it".to_owned();
            findings.add("white-space", &file.path, Some(number), message);
        }
    }
    if !file.text.ends_with('\n') {
        let message = "the file is empty or its last line is not ended".to_owned();
        findings.add("white-space", &file.path, None, message);
    }
}

/// Relative links must lead to a tracked file or folder.
fn links(file: &Source, tree: &Tree, findings: &mut Findings) {
    let mut fenced = false;
    for (number, line) in file.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target: &str = line[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains(':') {
                continue;
            }
            let path = resolve(&file.path, target);
            let folder = format!("{path}/");
            let leads = tree.file(&path).is_some()
                || tree.files.iter().any(|other| other.path.starts_with(&folder));
            if !leads {
                let message = format!("the link to `{target}` leads nowhere: mend or remove it");
                findings.add("link", &file.path, Some(number), message);
            }
        }
    }
}

/// The path that `link` means inside the file `from`.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
