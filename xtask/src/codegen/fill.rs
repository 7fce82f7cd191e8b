//! Writes the value filler of the codec's tests: any message at any version, with values that
//! differ from the defaults.

use std::fmt::Write;

use super::model::{Api, Field, Struct, Type};
use super::{HEAD, message, names};

/// `tests/codec/fill.rs`.
pub fn file(apis: &[Api]) -> String {
    let mut out = format!(
        "//! Fills every message of every version with values.\n{HEAD}\n\
         use sabir_kafka::api::ApiKey;\n\
         use sabir_kafka::generated::message::{{Request, Response}};\n\
         use sabir_kafka::generated::*;\n\nuse crate::filler::Filler;\n"
    );
    for what in ["Request", "Response"] {
        let _ = write!(
            out,
            "\npub fn {}<'a>(f: &mut Filler, key: ApiKey, version: i16) -> {what}<'a> {{\n    \
             match key {{\n",
            what.to_lowercase()
        );
        for api in apis {
            let name = function(api, &format!("{}{what}", api.name));
            let _ =
                writeln!(out, "        ApiKey::{0} => {what}::{0}({name}(f, version)),", api.name);
        }
        out.push_str("    }\n}\n");
    }
    for api in apis {
        for one in &api.structs {
            structure(api, one, &mut out);
        }
    }
    out
}

fn function(api: &Api, name: &str) -> String {
    format!("{}__{}", api.module(), names::snake(name)).replace("__", "_of_")
}

fn structure(api: &Api, one: &Struct, out: &mut String) {
    let mut body = String::new();
    for field in &one.fields {
        let value = value(api, one, field);
        let value = match field.versions.condition(one.versions) {
            None => value,
            Some(condition) => {
                let default = message::default_value(api, field);
                let default = match &field.ty {
                    Type::Struct(_) => "Default::default()".to_owned(),
                    _ => default,
                };
                format!("if {condition} {{ {value} }} else {{ {default} }}")
            }
        };
        let _ = writeln!(body, "        {}: {value},", names::field(&field.name));
    }
    let filler = if body.contains("f.") || body.contains("(f,") { "f" } else { "_f" };
    let version = message::version_parameter(&body);
    let generics = if api.borrows(one) { "<'a>" } else { "" };
    let path = format!("{}::{}", api.module(), api.rust_struct(&one.name, "'a"));
    let _ = write!(
        out,
        "\nfn {}{generics}({filler}: &mut Filler, {version}: i16) -> {path} {{\n    \
         {}::{} {{\n{body}    }}\n}}\n",
        function(api, &one.name),
        api.module(),
        one.name,
    );
}

fn value(api: &Api, one: &Struct, field: &Field) -> String {
    let mut plain = plain(api, one, &field.ty);
    if message::is_few(api, field) {
        plain += ".into()";
    }
    match field.nullable_condition(one.versions) {
        None => plain,
        Some(nullable) => format!("f.option({nullable}, |f| {plain})")
            .replace(", |f| f.str())", ", Filler::str)")
            .replace(", |f| f.bytes())", ", Filler::bytes)")
            .replace(", |f| f.records())", ", Filler::records)"),
    }
}

fn plain(api: &Api, one: &Struct, ty: &Type) -> String {
    match ty {
        Type::Str => "f.str()".to_owned(),
        Type::Records if message::owns_records(one) => "f.records()".to_owned(),
        Type::Bytes | Type::Records => "f.bytes()".to_owned(),
        Type::Array(element) => match &**element {
            Type::Struct(_) => format!("f.array(|f| {})", plain(api, one, element)),
            Type::Str => "f.array(Filler::str)".to_owned(),
            Type::Bytes => "f.array(Filler::bytes)".to_owned(),
            element => format!("f.array(Filler::{})", message::method(element)),
        },
        Type::Struct(name) => format!("{}(f, version)", function(api, name)),
        ty => format!("f.{}()", message::method(ty)),
    }
}
