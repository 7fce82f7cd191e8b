//! Any settings file: reading it never panics, and what is accepted makes settings, and reads back
//! the same from the document that shows what is in effect. Input: the file's text, or where its
//! first byte says so the text of one variable of the environment.

#![no_main]
#![allow(dead_code, reason = "the rest of these modules belongs to the server")]

use libfuzzer_sys::fuzz_target;
// The target links the counting allocator like all others.
use sabir_fuzz as _;

use server::config::{Config, Inputs, document, settings::Settings};
use server::{config, kafka, memory, protocols};

/// The server is a binary: its settings are compiled in from where they stand.
#[path = "../../crates/server/src"]
mod server {
    pub mod config;
    pub mod kafka;
    pub mod memory;
    pub mod protocols;
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut inputs = Inputs::default();
    let file = match text.strip_prefix('\u{1}').map(|text| text.split_once('=')) {
        None => Some(text),
        Some(Some((name, value))) => {
            inputs.environment.push((format!("SABIR_{name}"), value.to_owned()));
            None
        }
        Some(None) => {
            inputs.listen.push(text[1..].to_owned());
            None
        }
    };
    match Config::from_text("fuzz.toml", file, &inputs) {
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            assert!(!problems.to_string().is_empty());
        }
        Ok(config) => {
            let settings = Settings::new(&config);
            let _parts = (settings.broker(), settings.kafka());
            let shown = document::effective(&config);
            let again = Config::from_text("shown.toml", Some(&shown), &Inputs::default());
            let again = again.unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
            let values = |config: &Config| -> Vec<_> {
                let values = config.entries.iter().map(|(path, entry)| (path, &entry.value));
                values.map(|(path, value)| (path.clone(), value.clone())).collect()
            };
            assert_eq!(values(&again), values(&config), "{shown}");
        }
    }
});
