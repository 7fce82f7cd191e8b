//! Reads the schema notation, which `crates/kafka/schema/README.md` describes.

use anyhow::{Context, bail, ensure};

use super::model::{Api, Field, Side, Struct, Type, Versions};

/// A line that says something: its number, its indentation in steps of two spaces, its words.
struct Line<'a> {
    number: usize,
    depth: usize,
    words: Vec<&'a str>,
}

/// Parses one schema file.
pub fn parse(text: &str) -> anyhow::Result<Api> {
    let lines = lines(text)?;
    let mut parser = Parser {
        api: Api {
            key: -1,
            name: String::new(),
            versions: Versions { min: 0, max: -1 },
            flexible: None,
            structs: Vec::new(),
        },
        lines: &lines,
    };
    while let Some(line) = parser.lines.first() {
        let number = line.number;
        parser.block().with_context(|| format!("line {number}"))?;
    }
    check(&parser.api)?;
    parser.api.structs.sort_by_key(|one| !one.top);
    Ok(parser.api)
}

fn lines(text: &str) -> anyhow::Result<Vec<Line<'_>>> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or_default().trim_end();
        let words: Vec<&str> = said.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let indent = said.len() - said.trim_start().len();
        ensure!(indent % 2 == 0, "line {}: indent by two spaces", index + 1);
        lines.push(Line { number: index + 1, depth: indent / 2, words });
    }
    Ok(lines)
}

struct Parser<'a> {
    api: Api,
    lines: &'a [Line<'a>],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> anyhow::Result<&'a Line<'a>> {
        let (line, rest) = self.lines.split_first().context("the file ends too early")?;
        self.lines = rest;
        Ok(line)
    }

    /// A line at the margin, and what is indented below it.
    fn block(&mut self) -> anyhow::Result<()> {
        let line = self.next()?;
        ensure!(line.depth == 0, "this line is indented too far");
        let versions = self.api.versions;
        match line.words.as_slice() {
            ["api", key, name] => {
                self.api.key = key.parse()?;
                self.api.name = (*name).to_owned();
            }
            ["versions", range] => self.api.versions = range_of(range, i16::MAX)?,
            ["flexible", "none"] => self.api.flexible = None,
            ["flexible", first] => {
                let first = first.strip_suffix('+').context("write `flexible 3+` or `none`")?;
                self.api.flexible = Some(first.parse()?);
            }
            ["request"] => {
                let name = format!("{}Request", self.api.name);
                self.structure(name, Side::Request, true, versions, 1)?;
            }
            ["response"] => {
                let name = format!("{}Response", self.api.name);
                self.structure(name, Side::Response, true, versions, 1)?;
            }
            ["struct", name] => {
                self.structure((*name).to_owned(), Side::Both, false, versions, 1)?;
            }
            words => bail!("unknown line {words:?}"),
        }
        Ok(())
    }

    /// A struct whose fields are the lines at `depth` from here on.
    fn structure(
        &mut self,
        name: String,
        side: Side,
        top: bool,
        versions: Versions,
        depth: usize,
    ) -> anyhow::Result<()> {
        ensure!(versions.max >= versions.min, "`versions` comes before the messages");
        let place = self.api.structs.len();
        self.api.structs.push(Struct { name, side, top, versions, fields: Vec::new() });
        while self.lines.first().is_some_and(|line| line.depth == depth) {
            let line = self.next()?;
            let field = self
                .field(line, side, versions, depth)
                .with_context(|| format!("line {}", line.number))?;
            self.api.structs[place].fields.extend(field);
        }
        Ok(())
    }

    /// A field and the struct below it, if any; none if no version in use has it.
    fn field(
        &mut self,
        line: &Line<'_>,
        side: Side,
        context: Versions,
        depth: usize,
    ) -> anyhow::Result<Option<Field>> {
        let [name, ty, versions, options @ ..] = line.words.as_slice() else {
            bail!("a field has a name, a type and versions");
        };
        let top = self.api.versions.max;
        let versions = range_of(versions, top)?;
        let ty = type_of(ty)?;
        let mut field = Field {
            name: (*name).to_owned(),
            ty,
            versions,
            nullable: None,
            tag: None,
            default: None,
        };
        let mut words = options.iter().copied().peekable();
        while let Some(word) = words.next() {
            match word {
                "nullable" => {
                    let range =
                        words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()));
                    field.nullable = Some(range.map_or(Ok(versions), |word| range_of(word, top))?);
                }
                "tag" => field.tag = Some(words.next().context("tag of what number?")?.parse()?),
                "default" => {
                    let value = words.next().context("default of what value?")?;
                    field.default = Some(value.to_owned());
                }
                other => bail!("unknown option {other:?}"),
            }
        }
        let here = versions.and(context);
        if self.lines.first().is_some_and(|below| below.depth == depth + 1) {
            let name = struct_name(&field.ty).context("only a struct has fields")?.to_owned();
            // Fields of a struct that no version in use has are read and dropped.
            let kept = self.api.structs.len();
            self.structure(name, side, false, here.unwrap_or(context), depth + 1)?;
            if here.is_none() {
                self.api.structs.truncate(kept);
            }
        }
        Ok(here.map(|_| field))
    }
}

fn struct_name(ty: &Type) -> Option<&str> {
    match ty {
        Type::Struct(name) => Some(name),
        Type::Array(element) => struct_name(element),
        _ => None,
    }
}

/// `3`, `3-7` or `3+`, the latter up to `top`.
fn range_of(text: &str, top: i16) -> anyhow::Result<Versions> {
    let (min, max) = if let Some(min) = text.strip_suffix('+') {
        (min.parse()?, top)
    } else if let Some((min, max)) = text.split_once('-') {
        (min.parse()?, max.parse()?)
    } else {
        (text.parse()?, text.parse()?)
    };
    Ok(Versions { min, max })
}

fn type_of(text: &str) -> anyhow::Result<Type> {
    if let Some(element) = text.strip_prefix("[]") {
        return Ok(Type::Array(Box::new(type_of(element)?)));
    }
    Ok(match text {
        "bool" => Type::Bool,
        "int8" => Type::I8,
        "int16" => Type::I16,
        "uint16" => Type::U16,
        "int32" => Type::I32,
        "uint32" => Type::U32,
        "int64" => Type::I64,
        "float64" => Type::F64,
        "uuid" => Type::Uuid,
        "string" => Type::Str,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name if name.starts_with(|first: char| first.is_ascii_uppercase()) => {
            Type::Struct(name.to_owned())
        }
        other => bail!("unknown type {other:?}"),
    })
}

/// What the generator relies on.
fn check(api: &Api) -> anyhow::Result<()> {
    ensure!(api.key >= 0, "the file lacks `api KEY NAME`");
    ensure!(api.structs.iter().filter(|one| one.top).count() == 2, "a request and a response");
    for (place, one) in api.structs.iter().enumerate() {
        let name = &one.name;
        ensure!(!api.structs[..place].iter().any(|other| other.name == *name), "two {name}");
        for field in &one.fields {
            let context = format!("{name}.{}", field.name);
            check_field(api, one, field).context(context)?;
        }
        for (place, field) in one.tagged().iter().enumerate() {
            ensure!(field.tag == u32::try_from(place).ok(), "{name}: tags count from 0");
        }
    }
    Ok(())
}

fn check_field(api: &Api, one: &Struct, field: &Field) -> anyhow::Result<()> {
    if let Some(name) = struct_name(&field.ty) {
        let used = api.structs.iter().find(|other| other.name == name);
        let used = used.with_context(|| format!("no struct {name}"))?;
        let here = field.versions.and(one.versions).context("a dead field")?;
        ensure!(used.versions.covers(here), "{name} does not occur in all these versions");
    }
    if let Type::Array(element) = &field.ty {
        ensure!(!matches!(**element, Type::Array(_) | Type::Records), "array of arrays or records");
        for version in one.versions.min..=one.versions.max {
            if field.versions.contains(version) {
                ensure!(api.smallest(element, version) > 0, "elements without bytes");
            }
        }
    }
    if field.tag.is_some() {
        let first = api.flexible.context("a tagged field in an API that is never flexible")?;
        ensure!(field.versions.min >= first, "a tagged field before the flexible versions");
    }
    let nullable = !matches!(
        field.ty,
        Type::Str | Type::Bytes | Type::Records | Type::Array(_) | Type::Struct(_)
    );
    ensure!(field.nullable.is_none() || !nullable, "this type cannot be null");
    ensure!(one.side != Side::Both || field.ty != Type::Records, "records in a shared struct");
    Ok(())
}
