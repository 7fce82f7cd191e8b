//! The ready file: tells whoever started the server where it listens. It appears whole or not at
//! all.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Writes `{"listeners":{NAME:ADDRESS,…}}`, the first address of each listener.
pub fn write(path: &Path, listeners: &[(&str, &str)]) -> io::Result<()> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, address) in listeners {
        first.entry(name).or_insert(address);
    }
    let text = serde_json::json!({ "listeners": first }).to_string();
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    fs::write(&unfinished, text + "\n")?;
    fs::rename(&unfinished, path)
}
