//! Reads JUnit XML reports, as pytest and Maven's surefire write them. Not a general XML reader:
//! elements, attributes, character data and the five named entities plus numeric ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// One test with its verdict.
#[derive(Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub verdict: Verdict,
}

/// How a test ended; the text is the first line of the reason.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// The cases of every `*.xml` file in a folder, in the order of the files' names.
pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "xml"))
        .collect();
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        cases.extend(read(&text).with_context(|| format!("{} is cut off", path.display()))?);
    }
    Ok(cases)
}

/// The cases of one report; `None` when it ends inside a tag or without its closing tag.
fn read(text: &str) -> Option<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut rest = text;
    let mut closed = false;
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        if let Some(end_of) = opaque_end(rest) {
            rest = &rest[rest.find(end_of)? + end_of.len()..];
            continue;
        }
        let end = tag_end(rest)?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        let name = tag.split([' ', '\n', '\t', '/']).next().unwrap_or_default();
        match name {
            "testcase" => {
                let attributes = attributes(tag);
                cases.push(Case { name: full_name(&attributes), verdict: Verdict::Passed });
            }
            "failure" | "error" | "skipped" => {
                let why = reason(&attributes(tag), rest);
                let case = cases.last_mut()?;
                case.verdict = match name {
                    "skipped" => Verdict::Skipped(why),
                    _ => Verdict::Failed(why),
                };
            }
            _ => closed |= tag.starts_with("/testsuite"),
        }
    }
    (closed || cases.is_empty()).then_some(cases)
}

/// What ends a part that holds no tags of ours, if such a part begins here.
fn opaque_end(text: &str) -> Option<&'static str> {
    [("<![CDATA[", "]]>"), ("<!--", "-->"), ("<?", "?>")]
        .into_iter()
        .find_map(|(begin, end)| text.starts_with(begin).then_some(end))
}

/// The place of the `>` that ends the tag `text` begins with; quoted ones do not count.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (place, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(place),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

fn attributes(tag: &str) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    let mut rest = tag;
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals].trim().rsplit([' ', '\n', '\t']).next().unwrap_or_default();
        let Some(quote) = rest[equals + 1..].chars().next().filter(|c| matches!(c, '"' | '\''))
        else {
            break;
        };
        let value = &rest[equals + 2..];
        let Some(end) = value.find(quote) else { break };
        found.insert(name, unescape(&value[..end]));
        rest = &value[end + 1..];
    }
    found
}

/// The file or class, without the folders before it, and the test.
fn full_name(attributes: &BTreeMap<&str, String>) -> String {
    let class = attributes.get("classname").map_or("", |name| name.as_str());
    let test = attributes.get("name").map_or("?", |name| name.as_str());
    format!("{}::{test}", class.rsplit('.').next().unwrap_or_default())
}

/// The first line of the message, or of the stack trace that surefire writes instead of one.
fn reason(attributes: &BTreeMap<&str, String>, after: &str) -> String {
    let trace = || {
        let text = after.strip_prefix("<![CDATA[")?;
        let line = text.lines().next()?.split("]]>").next()?;
        Some(
            line.rsplit("Exception: ").next()?.trim_start_matches("Assumption failed: ").to_owned(),
        )
    };
    let text = attributes.get("message").cloned().or_else(trace);
    let text = text.or_else(|| attributes.get("type").cloned()).unwrap_or_default();
    text.trim().lines().next().unwrap_or("no reason given").chars().take(300).collect()
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some(end) = rest.find(';') else { break };
        match entity(&rest[1..end]) {
            Some(character) => out.push(character),
            None => out.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(xml: &str, wanted: &[(&str, Verdict)]) {
        let found = read(xml).expect("the report is whole");
        let found: Vec<_> = found.iter().map(|case| (case.name.as_str(), &case.verdict)).collect();
        let wanted: Vec<_> = wanted.iter().map(|(name, verdict)| (*name, verdict)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn pytest() {
        check(
            r#"<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="0">
               <testcase classname="librdkafka.test_a" name="test_x[a&gt;b]" time="0.1" />
               <testcase classname="librdkafka.test_a" name="test_y" time="0.1">
               <failure message="assert 1 &lt; 0&#10; + where">a &lt; b</failure></testcase>
               <testcase classname="test_a" name="test_z"><skipped type="pytest.skip"
                 message="not 'owned'">x</skipped></testcase></testsuite></testsuites>"#,
            &[
                ("test_a::test_x[a>b]", Verdict::Passed),
                ("test_a::test_y", Verdict::Failed("assert 1 < 0".into())),
                ("test_a::test_z", Verdict::Skipped("not 'owned'".into())),
            ],
        );
    }

    #[test]
    fn surefire() {
        check(
            r#"<testsuite tests="2"><properties><property name="a" value="<testcase>"/>
               </properties><testcase name="one" classname="sabir.Test" time="1"/>
               <testcase name="two" classname="sabir.Test"><system-out><![CDATA[
               <testcase name="fake">]]></system-out><error type="java.lang.Error">at x</error>
               </testcase><testcase name="three" classname="sabir.Test"><skipped
               type="a.AbortedException"><![CDATA[a.AbortedException: Assumption failed: no
               at x]]></skipped></testcase></testsuite>"#,
            &[
                ("Test::one", Verdict::Passed),
                ("Test::two", Verdict::Failed("java.lang.Error".into())),
                ("Test::three", Verdict::Skipped("no".into())),
            ],
        );
    }

    #[test]
    fn a_report_that_is_cut_off_is_no_report() {
        for xml in ["<testsuite><testcase name=\"a\"/>", "<testsuite><testcase name=\"a"] {
            assert_eq!(read(xml), None, "{xml}");
        }
    }
}
