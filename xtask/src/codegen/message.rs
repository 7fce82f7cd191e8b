//! Writes the Rust file of one API: its structs, their defaults, and the codec functions.

use std::fmt::Write;

use super::model::{Api, Field, Side, Struct, Type};
use super::{HEAD, decode, encode, names};

/// The whole file.
pub fn file(api: &Api) -> String {
    let mut body = String::new();
    for one in &api.structs {
        structure(api, one, &mut body);
        default(api, one, &mut body);
        functions(api, one, &mut body);
    }
    let mut uses = vec!["DecodeError"];
    if body.contains("Few<") {
        uses.push("Few");
    }
    uses.push("Message");
    if body.contains("Part<") {
        uses.push("Part");
    }
    uses.push("Reader");
    if body.contains("Records<") || body.contains("Records::") {
        uses.push("Records");
    }
    uses.push("Writer");
    let flexible = api
        .flexible
        .map_or("never flexible".to_owned(), |first| format!("flexible from version {first}"));
    format!(
        "//! {} (key {}), versions {} to {}, {flexible}.\n{HEAD}\n\
         use crate::api::ApiKey;\nuse crate::codec::{{{}}};\n{body}",
        api.name,
        api.key,
        api.versions.min,
        api.versions.max,
        uses.join(", ")
    )
}

fn structure(api: &Api, one: &Struct, out: &mut String) {
    let derive = if derives_default(one) { "Default, " } else { "" };
    let copies = if one.top || api.borrows(one) || has_vec(one) { "" } else { "Copy, " };
    let _ = write!(
        out,
        "\n{}#[derive(Debug, Clone, {copies}{derive}PartialEq)]\npub struct {} {{\n",
        about(api, one),
        api.rust_struct(&one.name, "'a")
    );
    for field in &one.fields {
        let mut notes = Vec::new();
        notes.extend(field.versions.describe(one.versions).map(|text| format!("In {text}.")));
        if let Some(nullable) = field.nullable
            && let Some(text) =
                nullable.describe(field.versions.and(one.versions).unwrap_or(nullable))
        {
            notes.push(format!("Null only in {text}."));
        }
        notes.extend(field.tag.map(|tag| format!("Tagged field {tag}.")));
        if !notes.is_empty() {
            let _ = writeln!(out, "    /// {}", notes.join(" "));
        }
        let _ =
            writeln!(out, "    pub {}: {},", names::field(&field.name), rust_type(api, one, field));
    }
    out.push_str("}\n");
}

/// The docstring of a struct.
fn about(api: &Api, one: &Struct) -> String {
    if one.top {
        let what = if one.side == Side::Request { "request" } else { "response" };
        return format!("/// The {} {what}.\n", api.name);
    }
    let users: Vec<String> = api
        .structs
        .iter()
        .filter(|other| {
            other.fields.iter().any(|field| match &field.ty {
                Type::Struct(name) => *name == one.name,
                Type::Array(element) => **element == Type::Struct(one.name.clone()),
                _ => false,
            })
        })
        .map(|other| format!("[`{}`]", other.name))
        .collect();
    format!("/// Part of {}.\n", users.join(" and "))
}

fn has_vec(one: &Struct) -> bool {
    // A nested struct may hold a vector itself: those are not copied either.
    one.fields.iter().any(|field| matches!(field.ty, Type::Array(_) | Type::Struct(_)))
}

/// Arrays on the hot path, which nearly always have one element: no allocation for that one.
const FEW: [(&str, &[&str]); 2] = [
    ("Produce", &["TopicData", "PartitionData", "Responses", "PartitionResponses"]),
    ("Fetch", &["Topics", "Partitions", "Responses"]),
];

/// Whether the array is kept in place as long as it has one element.
pub fn is_few(api: &Api, field: &Field) -> bool {
    let listed = FEW.iter().any(|(name, fields)| {
        *name == api.name && fields.iter().any(|few| names::snake(few) == names::snake(&field.name))
    });
    let structs = matches!(&field.ty, Type::Array(ty) if matches!(**ty, Type::Struct(_)));
    listed && structs && field.nullable.is_none() && field.tag.is_none()
}

fn rust_type(api: &Api, one: &Struct, field: &Field) -> String {
    if is_few(api, field)
        && let Type::Array(element) = &field.ty
    {
        return format!("Few<{}>", plain_type(api, one, element));
    }
    let plain = plain_type(api, one, &field.ty);
    if field.nullable.is_some() { format!("Option<{plain}>") } else { plain }
}

fn plain_type(api: &Api, one: &Struct, ty: &Type) -> String {
    match ty {
        Type::Uuid => "[u8; 16]".to_owned(),
        Type::Str => "&'a str".to_owned(),
        Type::Records if owns_records(one) => "Records<'a>".to_owned(),
        Type::Bytes | Type::Records => "&'a [u8]".to_owned(),
        Type::Array(element) => format!("Vec<{}>", plain_type(api, one, element)),
        Type::Struct(name) => api.rust_struct(name, "'a"),
        ty => method(ty).to_owned(),
    }
}

/// Records of a response come from the log and are spliced; those of a request are borrowed.
pub fn owns_records(one: &Struct) -> bool {
    one.side == Side::Response
}

/// Name of the reader's and writer's method, for the types whose Rust type has the same name.
pub fn method(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::I8 => "i8",
        Type::I16 => "i16",
        Type::U16 => "u16",
        Type::I32 => "i32",
        Type::U32 => "u32",
        Type::I64 => "i64",
        Type::F64 => "f64",
        Type::Uuid => "uuid",
        other => unreachable!("{other:?} takes more than a method"),
    }
}

/// The value of a field where there is none, as Rust.
pub fn default_value(api: &Api, field: &Field) -> String {
    if field.default.as_deref() == Some("null") || (is_null_by_default(field)) {
        return "None".to_owned();
    }
    let plain = match (&field.ty, &field.default) {
        (Type::Bool, default) => default.as_deref().unwrap_or("false").to_owned(),
        (Type::Uuid, _) => "[0; 16]".to_owned(),
        (Type::Str, default) => format!("{:?}", default.as_deref().unwrap_or("")),
        (Type::Bytes, _) => "&[][..]".to_owned(),
        (Type::Records, _) => "Default::default()".to_owned(),
        (Type::Array(_), _) if is_few(api, field) => "Few::new()".to_owned(),
        (Type::Array(_), _) => "Vec::new()".to_owned(),
        (Type::Struct(name), _) => format!("{name}::default()"),
        (Type::F64, default) => default.as_deref().unwrap_or("0.0").to_owned(),
        (_, Some(number)) if number == "2147483647" => "i32::MAX".to_owned(),
        (_, Some(number)) if number == "-2147483648" => "i32::MIN".to_owned(),
        (_, Some(number)) if number == "9223372036854775807" => "i64::MAX".to_owned(),
        (_, Some(number)) => number.clone(),
        (_, None) => "0".to_owned(),
    };
    if field.nullable.is_some() { format!("Some({plain})") } else { plain }
}

/// A field that may be null wherever it occurs, and is not tagged, is null unless said otherwise.
fn is_null_by_default(field: &Field) -> bool {
    field.default.is_none()
        && field.tag.is_none()
        && field.nullable.is_some_and(|nullable| nullable.covers(field.versions))
}

fn derives_default(one: &Struct) -> bool {
    one.fields.iter().all(|field| {
        if field.nullable.is_some() {
            is_null_by_default(field) || field.default.as_deref() == Some("null")
        } else {
            field.default.is_none()
        }
    })
}

fn default(api: &Api, one: &Struct, out: &mut String) {
    if derives_default(one) {
        return;
    }
    let _ = write!(
        out,
        "\nimpl Default for {} {{\n    fn default() -> Self {{\n        Self {{\n",
        api.rust_struct(&one.name, "'_")
    );
    for field in &one.fields {
        let value = default_value(api, field);
        let _ = writeln!(out, "            {}: {value},", names::field(&field.name));
    }
    out.push_str("        }\n    }\n}\n");
}

fn functions(api: &Api, one: &Struct, out: &mut String) {
    let name = api.rust_struct(&one.name, "'a");
    let read = decode::functions(api, one);
    let write = encode::function(api, one);
    let (generics, lifetime) = if api.borrows(one) { ("<'a>", "<'a>") } else { ("", "<'_>") };
    let (of, key) = if one.top {
        ("Message", format!("    const KEY: ApiKey = ApiKey::{};\n\n", api.name))
    } else {
        ("Part", String::new())
    };
    let _ = write!(out, "\nimpl{generics} {of}{lifetime} for {name} {{\n{key}{read}\n{write}}}\n");
}

/// How `flexible` is known inside the functions of `one`: always, by a variable, or (none) never.
pub fn flexible(api: &Api, one: &Struct) -> Option<&'static str> {
    let first = api.flexible.filter(|first| *first <= one.versions.max)?;
    Some(if first <= one.versions.min { "true" } else { "flexible" })
}

/// The same for one field, as an argument.
pub fn flexible_in(api: &Api, one: &Struct, field: &Field) -> &'static str {
    let here = field.versions.and(one.versions).unwrap_or(one.versions);
    match api.flexible {
        Some(first) if field.tag.is_some() || first <= here.min => "true",
        Some(first) if first <= here.max => "flexible",
        _ => "false",
    }
}

/// The line that works out `flexible`, if it is needed.
pub fn flexible_line(api: &Api, one: &Struct) -> String {
    match (flexible(api, one), api.flexible) {
        (Some("flexible"), Some(first)) => format!("        let flexible = version >= {first};\n"),
        _ => String::new(),
    }
}

/// The name of the version parameter of a function with this body.
pub fn version_parameter(body: &str) -> &'static str {
    let mut words = body.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    if words.any(|word| word == "version") { "version" } else { "_version" }
}
