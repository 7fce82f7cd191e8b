//! Writes the `read` functions: bytes to struct.

use std::fmt::Write;

use super::model::{Api, Field, Struct, Type};
use super::{message, names};

/// The functions that read `one`, inside its `impl` block.
pub fn functions(api: &Api, one: &Struct) -> String {
    let mut out = String::new();
    if !one.top {
        smallest(api, one, &mut out);
    }
    let body = body(api, one);
    let version = message::version_parameter(&body);
    let lifetime = if api.borrows(one) { "a" } else { "_" };
    let _ = write!(
        out,
        "    fn read(r: &mut Reader<'{lifetime}>, {version}: i16) -> Result<Self, DecodeError> {{\n\
         {body}    }}\n",
    );
    out
}

/// The fewest bytes the struct takes, which bounds how many an array can hold.
fn smallest(api: &Api, one: &Struct, out: &mut String) {
    let sizes: Vec<(i16, usize)> = (one.versions.min..=one.versions.max)
        .map(|version| (version, api.smallest_struct(one, version)))
        .collect();
    let runs: Vec<&[(i16, usize)]> = sizes.chunk_by(|left, right| left.1 == right.1).collect();
    let body = match runs.as_slice() {
        [run] => format!("        {}\n", run[0].1),
        runs => {
            let mut arms = String::new();
            for (place, run) in runs.iter().enumerate() {
                let (first, last) = (run[0].0, run[run.len() - 1].0);
                let pattern = match run.len() {
                    _ if place + 1 == runs.len() => "_".to_owned(),
                    1 => first.to_string(),
                    _ => format!("{first}..={last}"),
                };
                let _ = writeln!(arms, "            {pattern} => {},", run[0].1);
            }
            format!("        match version {{\n{arms}        }}\n")
        }
    };
    let version = message::version_parameter(&body);
    let _ = write!(out, "    fn smallest({version}: i16) -> usize {{\n{body}    }}\n\n");
}

fn body(api: &Api, one: &Struct) -> String {
    let mut out = message::flexible_line(api, one);
    for field in one.fields.iter().filter(|field| field.tag.is_none()) {
        let name = names::field(&field.name);
        let read = format!("{}?", read(api, one, field));
        let _ = match field.versions.condition(one.versions) {
            None => writeln!(out, "        let {name} = {read};"),
            Some(condition) => {
                let default = message::default_value(api, field);
                let line = format!(
                    "        let {name} = if {condition} {{ {read} }} else {{ {default} }};"
                );
                if line.len() <= 100 {
                    writeln!(out, "{line}")
                } else {
                    writeln!(
                        out,
                        "        let {name} = if {condition} {{\n            {read}\n        }} \
                         else {{\n            {default}\n        }};"
                    )
                }
            }
        };
    }
    tags(api, one, &mut out);
    let fields: Vec<String> = one.fields.iter().map(|field| names::field(&field.name)).collect();
    let line = format!("        Ok(Self {{ {} }})", fields.join(", "));
    if line.len() <= 100 {
        let _ = writeln!(out, "{}", line.replace("{  }", "{}"));
    } else {
        out.push_str("        Ok(Self {\n");
        for field in fields {
            let _ = writeln!(out, "            {field},");
        }
        out.push_str("        })\n");
    }
    out
}

/// The tagged fields at the end of a struct.
fn tags(api: &Api, one: &Struct, out: &mut String) {
    let Some(flexible) = message::flexible(api, one) else { return };
    let tagged = one.tagged();
    let (open, close) = if flexible == "true" {
        ("        ", "")
    } else {
        ("        if flexible {\n            ", "        }\n")
    };
    let step = if flexible == "true" { "" } else { "    " };
    if tagged.is_empty() {
        let _ = write!(out, "{open}r.skip_tags()?;\n{close}");
        return;
    }
    for field in &tagged {
        let name = names::field(&field.name);
        let _ = writeln!(out, "        let mut {name} = {};", message::default_value(api, field));
    }
    let _ = writeln!(out, "{open}r.tags(|r, tag| {{");
    let _ = writeln!(out, "{step}            match tag {{");
    for field in tagged {
        let first = api.flexible.unwrap_or(0).max(one.versions.min);
        let guard = match field.versions.min {
            min if min > first => format!(" if version >= {min}"),
            _ => String::new(),
        };
        let read = read(api, one, field);
        let _ = writeln!(
            out,
            "{step}                {}{guard} => {} = {read}?,",
            field.tag.expect("a tagged field"),
            names::field(&field.name)
        );
    }
    let _ = write!(
        out,
        "{step}                _ => r.skip_rest(),\n{step}            }}\n\
         {step}            Ok(())\n{step}        }})?;\n{close}"
    );
}

/// An expression that reads a field that is there: a `Result`.
fn read(api: &Api, one: &Struct, field: &Field) -> String {
    let flexible = message::flexible_in(api, one, field);
    let nullable = field.nullable_condition(one.versions);
    match (&field.ty, nullable) {
        (Type::Str | Type::Bytes | Type::Records, None) => element(one, &field.ty, flexible),
        (Type::Str, Some(nullable)) => format!("r.string_opt({flexible}, {nullable})"),
        (Type::Bytes, Some(nullable)) => format!("r.bytes_opt({flexible}, {nullable})"),
        (Type::Records, Some(nullable)) => {
            let read = format!("r.bytes_opt({flexible}, {nullable})");
            if message::owns_records(one) {
                format!("{read}.map(|records| records.map(Records::Slice))")
            } else {
                read
            }
        }
        (Type::Array(_), _) if message::is_few(api, field) => {
            format!("r.few_structs({flexible}, version)")
        }
        (Type::Array(ty), nullable) => array(api, ty, flexible, nullable),
        (Type::Struct(_), Some(nullable)) => {
            format!("r.struct_opt({nullable}, |r| {})", element(one, &field.ty, flexible))
        }
        (ty, _) => element(one, ty, flexible),
    }
}

/// An expression that reads an array: a `Result`.
fn array(api: &Api, ty: &Type, flexible: &str, nullable: Option<String>) -> String {
    let opt = if nullable.is_some() { "_opt" } else { "" };
    let mut arguments = vec![flexible.to_owned()];
    arguments.extend(nullable);
    if matches!(ty, Type::Struct(_)) {
        return format!("r.structs{opt}({}, version)", arguments.join(", "));
    }
    arguments.push(smallest_of(api, ty, flexible));
    arguments.push(match ty {
        Type::Str => format!("|r| r.string({flexible})"),
        Type::Bytes => format!("|r| r.bytes({flexible})"),
        ty => format!("Reader::{}", message::method(ty)),
    });
    format!("r.array{opt}({})", arguments.join(", "))
}

/// An expression that reads a value that cannot be null: a `Result`.
fn element(one: &Struct, ty: &Type, flexible: &str) -> String {
    match ty {
        Type::Str => format!("r.string({flexible})"),
        Type::Bytes => format!("r.bytes({flexible})"),
        Type::Records if message::owns_records(one) => {
            format!("r.bytes({flexible}).map(Records::Slice)")
        }
        Type::Records => format!("r.bytes({flexible})"),
        Type::Struct(name) => format!("{name}::read(r, version)"),
        ty => format!("r.{}()", message::method(ty)),
    }
}

fn smallest_of(api: &Api, ty: &Type, flexible: &str) -> String {
    match (ty, flexible) {
        (Type::Str | Type::Bytes, "true") => "1".to_owned(),
        (Type::Str, "false") => "2".to_owned(),
        (Type::Bytes, "false") => "4".to_owned(),
        (Type::Str, _) => "if flexible { 1 } else { 2 }".to_owned(),
        (Type::Bytes, _) => "if flexible { 1 } else { 4 }".to_owned(),
        (ty, _) => api.smallest(ty, 0).to_string(),
    }
}
