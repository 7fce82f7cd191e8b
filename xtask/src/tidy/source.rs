//! One file as the rules see it: its text, and for Rust the code without comments and strings.
//!
//! Not a parser: a scanner that knows strings, comments, braces and attributes. Every view keeps
//! the byte positions and line breaks of the text, so a place found in one is a place in all.

use std::ops::Range;

/// A tracked text file.
pub struct Source {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// Rust only: the text with comments and the insides of literals blanked.
    pub code: String,
    /// Rust only: the text with everything but comments blanked.
    pub comments: String,
    /// Rust only: lines (from 0) that belong to tests inside this file.
    test_lines: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Line of the `fn`, from 0.
    pub line: usize,
    /// Lines from the `fn` to the closing brace.
    pub length: usize,
}

impl Source {
    pub fn new(path: String, text: String) -> Source {
        let mut source =
            Source { path, text, code: String::new(), comments: String::new(), test_lines: vec![] };
        if source.is_rust() {
            (source.code, source.comments) = split(&source.text);
            source.test_lines = test_lines(&source.code);
        }
        source
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The folder below `crates/` that holds this file; `None` outside of `crates/`.
    pub fn krate(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Whether the whole file is test code by its place.
    pub fn is_test_file(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }

    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file() || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Lines without test modules inside the file; a file of tests counts whole.
    pub fn length(&self) -> usize {
        let inside: usize = self.test_lines.iter().map(ExactSizeIterator::len).sum();
        self.text.lines().count().saturating_sub(inside)
    }

    /// All functions with a body, in order of their first line.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for at in words(&self.code, "fn") {
            let name: String = self.code[at + 2..]
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if name.is_empty() {
                continue; // a function pointer, `fn(u8) -> u8`
            }
            if let Some(end) = body_end(&self.code, at) {
                let line = line_of(&self.code, at);
                let length = line_of(&self.code, end) - line + 1;
                functions.push(Function { name, line, length });
            }
        }
        functions
    }
}

/// Places where `word` stands in `text` as a whole word.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let (starts, ends) = (part(word.chars().next()), part(word.chars().next_back()));
        let before = starts && part(text[..*at].chars().next_back());
        let after = ends && part(text[at + word.len()..].chars().next());
        !(before || after)
    })
}

/// The line, from 0, that holds the byte `at`.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// The closing brace (or the `;`) of the item that starts at `from`; `None` where it has no body.
fn body_end(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return closing(code, at),
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Lines of the items under `#[cfg(test)]` (also `any(test, …)`) or `#[test]`.
fn test_lines(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices("#[") {
        let Some(length) = code[start..].find(']') else { continue };
        let attribute = &code[start + 2..start + length];
        let negated = attribute.contains("not(");
        let is_test = attribute == "test"
            || (attribute.starts_with("cfg(")
                && !negated
                && words(attribute, "test").next().is_some());
        let first = line_of(code, start);
        if !is_test || found.last().is_some_and(|last| last.contains(&first)) {
            continue;
        }
        let after = start + length + 1;
        let end = body_end(code, after).or_else(|| code[after..].find(';').map(|at| after + at));
        let last = end.map_or(first, |end| line_of(code, end));
        found.push(first..last + 1);
    }
    found
}

/// What the scanner is inside of.
enum Inside {
    Code,
    LineComment,
    BlockComment(u32),
    Text,
    RawText(usize),
}

/// Splits Rust text into its code and its comments, each with the rest blanked.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = blank(text);
    let mut comments = code.clone();
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < bytes.len() {
        let (next, step) = match inside {
            Inside::Code => from_code(bytes, at),
            Inside::LineComment if bytes[at] == b'\n' => (Inside::Code, 1),
            Inside::LineComment => (Inside::LineComment, 1),
            Inside::BlockComment(depth) => from_block(bytes, at, depth),
            Inside::Text if bytes[at] == b'\\' => (Inside::Text, 2),
            Inside::Text if bytes[at] == b'"' => (Inside::Code, 1),
            Inside::Text => (Inside::Text, 1),
            Inside::RawText(hashes) => from_raw(bytes, at, hashes),
        };
        let end = (at + step).min(bytes.len());
        let comment =
            |state: &Inside| matches!(state, Inside::LineComment | Inside::BlockComment(_));
        if comment(&inside) || comment(&next) {
            comments[at..end].copy_from_slice(&bytes[at..end]);
        } else if matches!(inside, Inside::Code) && !is_char(bytes, at) {
            code[at..end].copy_from_slice(&bytes[at..end]);
        }
        inside = next;
        at = end;
    }
    let text_of = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text_of(code), text_of(comments))
}

/// As many bytes as `text`, all blank but the line breaks.
fn blank(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte == b'\n' { b'\n' } else { b' ' }).collect()
}

/// Where one step from code leads, and its length in bytes.
fn from_code(bytes: &[u8], at: usize) -> (Inside, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return (Inside::LineComment, 2);
    }
    if rest.starts_with(b"/*") {
        return (Inside::BlockComment(1), 2);
    }
    if rest[0] == b'"' {
        return (Inside::Text, 1);
    }
    let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let prefix = if rest.starts_with(b"br") || rest.starts_with(b"cr") { 2 } else { 1 };
    if starts_word && rest[prefix - 1] == b'r' {
        let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(prefix + hashes) == Some(&b'"') {
            return (Inside::RawText(hashes), prefix + hashes + 1);
        }
    }
    (Inside::Code, char_length(bytes, at).unwrap_or(1))
}

fn is_char(bytes: &[u8], at: usize) -> bool {
    char_length(bytes, at).is_some()
}

/// Length of the character literal at `at`; `None` for anything else, a lifetime included.
fn char_length(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at] != b'\'' {
        return None;
    }
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes.get(at + 3..)?.iter().position(|byte| *byte == b'\'')?;
        return Some(close + 4);
    }
    let first = *bytes.get(at + 1)?;
    let width = match first {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(width + 2)
}

fn from_block(bytes: &[u8], at: usize, depth: u32) -> (Inside, usize) {
    if bytes[at..].starts_with(b"/*") {
        return (Inside::BlockComment(depth + 1), 2);
    }
    if bytes[at..].starts_with(b"*/") {
        return if depth == 1 { (Inside::Code, 2) } else { (Inside::BlockComment(depth - 1), 2) };
    }
    (Inside::BlockComment(depth), 1)
}

fn from_raw(bytes: &[u8], at: usize, hashes: usize) -> (Inside, usize) {
    let closes = bytes[at] == b'"'
        && bytes.len() > at + hashes
        && bytes[at + 1..=at + hashes].iter().all(|byte| *byte == b'#');
    if closes { (Inside::Code, hashes + 1) } else { (Inside::RawText(hashes), 1) }
}
