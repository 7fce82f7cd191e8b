//! `cargo xtask tidy`: the rules of the house as one test.
//!
//! Every tracked file is read once; each rule is a function over what was read and says what to
//! write instead. What rustfmt and clippy can hold (form, types) is left to them.

mod calls;
mod crates;
mod dead;
mod limits;
mod source;
#[cfg(test)]
mod tests;
mod text;

use anyhow::Context;
use source::Source;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a rule found.
struct Finding {
    /// The rule's short name, in brackets in the report.
    rule: &'static str,
    path: String,
    /// From 1; 0 means the file as a whole.
    line: usize,
    message: String,
}

/// Everything that is tracked, sorted by path.
struct Tree {
    files: Vec<Source>,
}

impl Tree {
    fn file(&self, path: &str) -> Option<&Source> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(at)
    }

    fn rust(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

/// Where rules leave what they found.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// `line` counts from 0, as the rules do; `None` means the file as a whole.
    fn add(&mut self, rule: &'static str, path: &str, line: Option<usize>, message: String) {
        let line = line.map_or(0, |line| line + 1);
        self.0.push(Finding { rule, path: path.to_owned(), line, message });
    }
}

/// Checks every tracked file. Options: none.
///
/// # Errors
/// When a rule is broken, after every finding has been printed, or when files cannot be listed.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(args.is_empty(), "takes no options");
    let tree = read(&root()?)?;
    let findings = check(&tree);
    for Finding { rule, path, line, message } in &findings {
        let place = if *line == 0 { path.clone() } else { format!("{path}:{line}") };
        println!("{place}: [{rule}] {message}");
    }
    anyhow::ensure!(
        findings.is_empty(),
        "{} findings in {} files",
        findings.len(),
        tree.files.len()
    );
    println!("tidy: {} files, nothing found", tree.files.len());
    Ok(())
}

/// Every rule over every file; findings sorted by place.
fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Findings::default();
    for file in &tree.files {
        text::check(file, tree, &mut findings);
        if file.is_rust() {
            calls::check(file, &mut findings);
        }
    }
    crates::check(tree, &mut findings);
    limits::check(tree, &mut findings);
    dead::check(tree, &mut findings);
    findings.0.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
    findings.0
}

/// The root of the repository: the folder above this package.
fn root() -> anyhow::Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().context("xtask lies in no workspace")?.to_owned())
}

/// Reads what git tracks or would track; what is not text is left out.
fn read(root: &Path) -> anyhow::Result<Tree> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    let mut paths = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout)?.split_terminator('\0').map(str::to_owned).collect()
        }
        _ => walk(root)?, // a source archive has no repository
    };
    paths.sort();
    paths.dedup();
    let read = |path: String| {
        let text = std::fs::read_to_string(root.join(&path)).ok()?;
        Some(Source::new(path, text))
    };
    Ok(Tree { files: paths.into_iter().filter_map(read).collect() })
}

/// Lists the files below `root`, without hidden and built ones.
fn walk(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || ["target", "node_modules", "sabir-data"].contains(&&*name) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if let Ok(path) = entry.path().strip_prefix(root) {
                paths.push(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(paths)
}
