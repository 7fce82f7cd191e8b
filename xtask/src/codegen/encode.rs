//! Writes the `write` functions: struct to bytes.

use std::fmt::Write;

use super::model::{Api, Field, Struct, Type};
use super::{message, names};

/// The field that says how long a client is held back, in every response that has it.
const THROTTLE: &str = "throttle_time_ms";

/// The function that writes `one`, inside its `impl` block.
pub fn function(api: &Api, one: &Struct) -> String {
    let body = body(api, one);
    let version = message::version_parameter(&body);
    let writer = if body.contains("w.") { "w" } else { "_w" };
    format!("    fn write(&self, {writer}: &mut Writer, {version}: i16) {{\n{body}    }}\n")
}

fn body(api: &Api, one: &Struct) -> String {
    let mut out = message::flexible_line(api, one);
    for field in one.fields.iter().filter(|field| field.tag.is_none()) {
        let write = write_field(api, one, field);
        let _ = match field.versions.condition(one.versions) {
            None => writeln!(out, "        {write};"),
            Some(condition) => {
                writeln!(out, "        if {condition} {{\n            {write};\n        }}")
            }
        };
    }
    tags(api, one, &mut out);
    out
}

/// The tagged fields at the end of a struct: those that differ from their default.
fn tags(api: &Api, one: &Struct, out: &mut String) {
    let Some(flexible) = message::flexible(api, one) else { return };
    let tagged = one.tagged();
    let step = if flexible == "true" { "        " } else { "            " };
    if flexible != "true" {
        out.push_str("        if flexible {\n");
    }
    if tagged.is_empty() {
        let _ = writeln!(out, "{step}w.no_tags();");
    } else {
        let first = api.flexible.unwrap_or(0).max(one.versions.min);
        let mut present = Vec::new();
        for field in &tagged {
            let differs = differs_from_default(field);
            let condition = if field.versions.min > first {
                format!("version >= {} && {differs}", field.versions.min)
            } else {
                differs
            };
            let _ = writeln!(out, "{step}let has_{} = {condition};", field.name);
            present.push(format!("has_{}", field.name));
        }
        let _ = writeln!(out, "{step}w.tag_count(&[{}]);", present.join(", "));
        for field in &tagged {
            let _ = writeln!(
                out,
                "{step}if has_{} {{\n{step}    w.tag({}, |w| {});\n{step}}}",
                field.name,
                field.tag.expect("a tagged field"),
                write_field(api, one, field)
            );
        }
    }
    if flexible != "true" {
        out.push_str("        }\n");
    }
}

fn differs_from_default(field: &Field) -> String {
    let name = format!("self.{}", names::field(&field.name));
    match (&field.ty, &field.default) {
        (_, Some(default)) if default == "null" => format!("{name}.is_some()"),
        (Type::Array(_), _) if field.nullable.is_some() => {
            format!("{name}.as_ref().is_none_or(|values| !values.is_empty())")
        }
        (Type::Str | Type::Bytes, _) if field.nullable.is_some() => {
            format!("{name} != Some(Default::default())")
        }
        (Type::Array(_) | Type::Str | Type::Bytes | Type::Records, _) => {
            format!("!{name}.is_empty()")
        }
        (Type::Bool, None) => name,
        (Type::Bool, Some(_)) => format!("!{name}"),
        (Type::Uuid, _) => format!("{name} != [0; 16]"),
        (Type::Struct(of), _) => format!("{name} != {of}::default()"),
        (_, Some(default)) => format!("{name} != {default}"),
        (_, None) => format!("{name} != 0"),
    }
}

/// An expression that writes a field that is there.
fn write_field(api: &Api, one: &Struct, field: &Field) -> String {
    let flexible = message::flexible_in(api, one, field);
    let name = format!("self.{}", names::field(&field.name));
    match (&field.ty, field.nullable_condition(one.versions)) {
        (Type::Str, Some(nullable)) => format!("w.string_opt({flexible}, {nullable}, {name})"),
        (Type::Bytes, Some(nullable)) => format!("w.bytes_opt({flexible}, {nullable}, {name})"),
        (Type::Records, Some(nullable)) if message::owns_records(one) => {
            format!("w.records_opt({flexible}, {nullable}, {name}.as_ref())")
        }
        (Type::Records, Some(nullable)) => format!("w.bytes_opt({flexible}, {nullable}, {name})"),
        (Type::Array(ty), nullable) => array(ty, &name, flexible, nullable),
        (Type::Struct(_), Some(nullable)) => {
            format!("w.struct_opt({nullable}, {name}.as_ref(), |w, one| one.write(w, version))")
        }
        (Type::Struct(_), None) => format!("{name}.write(w, version)"),
        (Type::Str, None) => format!("w.string({flexible}, {name})"),
        (Type::Bytes, None) => format!("w.bytes({flexible}, {name})"),
        (Type::Records, None) if message::owns_records(one) => {
            format!("w.records({flexible}, &{name})")
        }
        (Type::Records, None) => format!("w.bytes({flexible}, {name})"),
        // The one field that is not the message's own: see `Writer::throttle_time_ms`.
        (Type::I32, None) if field.name == THROTTLE => format!("w.{THROTTLE}({name})"),
        (ty, _) => format!("w.{}({name})", message::method(ty)),
    }
}

/// An expression that writes an array.
fn array(ty: &Type, name: &str, flexible: &str, nullable: Option<String>) -> String {
    let (opt, value) = match nullable {
        Some(_) => ("_opt", format!("{name}.as_deref()")),
        None => ("", format!("&{name}")),
    };
    let mut arguments = vec![flexible.to_owned()];
    arguments.extend(nullable);
    if matches!(ty, Type::Struct(_)) {
        arguments.extend(["version".to_owned(), value]);
        return format!("w.structs{opt}({})", arguments.join(", "));
    }
    arguments.push(value);
    arguments.push(match ty {
        Type::Str => format!("|w, one| w.string({flexible}, one)"),
        Type::Bytes => format!("|w, one| w.bytes({flexible}, one)"),
        ty => format!("|w, one| w.{}(*one)", message::method(ty)),
    });
    format!("w.array{opt}({})", arguments.join(", "))
}
