//! Writes what lists all APIs: the modules, the keys, and the enums over all messages.

use std::fmt::Write;

use super::HEAD;
use super::model::{Api, Side};

/// `generated.rs`.
pub fn module(apis: &[Api]) -> String {
    let mut out = format!(
        "//! The messages of every served API and version, generated from `schema/`.\n{HEAD}\n\
         #![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]\n\
         #![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]\n\n"
    );
    let mut modules: Vec<String> = apis.iter().map(Api::module).collect();
    modules.extend(["api_key".to_owned(), "message".to_owned()]);
    modules.sort();
    for module in modules {
        let _ = writeln!(out, "#[rustfmt::skip]\npub mod {module};");
    }
    out
}

/// `generated/api_key.rs`.
pub fn keys(apis: &[Api]) -> String {
    let mut out = format!(
        "//! The keys of the served APIs, and their versions.\n{HEAD}\n\
         use crate::api::ApiInfo;\n\n\
         /// An API that is served.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum ApiKey {{\n"
    );
    for api in apis {
        let _ = writeln!(out, "    {},", api.name);
    }
    out.push_str("}\n\nimpl ApiKey {\n    /// All of them, by rising number.\n");
    let _ = writeln!(out, "    pub const ALL: [Self; {}] = [", apis.len());
    for api in apis {
        let _ = writeln!(out, "        Self::{},", api.name);
    }
    out.push_str(
        "    ];\n\n    /// The API with this number on the wire, if it is served.\n    \
         pub const fn from_number(number: i16) -> Option<Self> {\n        Some(match number {\n",
    );
    for api in apis {
        let _ = writeln!(out, "            {} => Self::{},", api.key, api.name);
    }
    out.push_str(
        "            _ => return None,\n        })\n    }\n\n    \
         /// Its number, name and versions.\n    \
         pub const fn info(self) -> ApiInfo {\n        match self {\n",
    );
    for api in apis {
        let flexible = match api.flexible {
            Some(first) => format!("Some({first})"),
            None => "None".to_owned(),
        };
        let _ = writeln!(
            out,
            "            Self::{} => ApiInfo::new({}, {:?}, {}, {}, {flexible}),",
            api.name, api.key, api.name, api.versions.min, api.versions.max
        );
    }
    out.push_str("        }\n    }\n}\n");
    out
}

/// `generated/message.rs`.
pub fn messages(apis: &[Api]) -> String {
    let mut out = format!(
        "//! Any request and any response, for code that handles all of them alike.\n{HEAD}\n\
         use crate::api::ApiKey;\nuse crate::codec::{{DecodeError, Message, Reader, Writer}};\n\n"
    );
    for api in apis {
        let _ = writeln!(
            out,
            "use super::{}::{{{}Request, {}Response}};",
            api.module(),
            api.name,
            api.name
        );
    }
    for (side, name) in [(Side::Request, "Request"), (Side::Response, "Response")] {
        enumeration(apis, side, name, &mut out);
    }
    out
}

fn enumeration(apis: &[Api], side: Side, name: &str, out: &mut String) {
    let what = name.to_lowercase();
    let _ = write!(
        out,
        "\n/// A {what} of any API.\n#[derive(Debug, Clone, PartialEq)]\npub enum {name}<'a> {{\n"
    );
    for api in apis {
        let one = api.structs.iter().find(|one| one.top && one.side == side);
        let one = one.expect("the parser checked that both are there");
        let _ = writeln!(out, "    {}({}),", api.name, api.rust_struct(&one.name, "'a"));
    }
    let _ = write!(
        out,
        "}}\n\nimpl<'a> {name}<'a> {{\n    /// Decodes the {what} of one API.\n    \
         pub fn decode(\n        key: ApiKey,\n        reader: &mut Reader<'a>,\n        \
         version: i16,\n    \
         ) -> Result<Self, DecodeError> {{\n        Ok(match key {{\n"
    );
    for api in apis {
        let _ = writeln!(
            out,
            "            ApiKey::{0} => Self::{0}({0}{name}::decode(reader, version)?),",
            api.name
        );
    }
    let _ = write!(
        out,
        "        }})\n    }}\n\n    /// Encodes it, as [`Message::encode`] does.\n    \
         pub fn encode(&self, writer: &mut Writer, version: i16) {{\n        match self {{\n"
    );
    for api in apis {
        let _ = writeln!(
            out,
            "            Self::{}(message) => message.encode(writer, version),",
            api.name
        );
    }
    let _ = write!(
        out,
        "        }}\n    }}\n\n    /// The API it belongs to.\n    \
         pub const fn key(&self) -> ApiKey {{\n        match self {{\n"
    );
    for api in apis {
        let _ = writeln!(out, "            Self::{0}(_) => ApiKey::{0},", api.name);
    }
    out.push_str("        }\n    }\n}\n");
}
