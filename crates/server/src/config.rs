//! Settings: where they come from and which one wins. Flag before environment before file before
//! default. What they mean to the parts of the server is in `settings`.

pub mod document;
mod file;
pub mod keys;
mod nearest;
mod parts;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;

use keys::{Key, Kind};
use value::{Raw, Value};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Default,
    File { name: String, line: usize, column: usize },
    Environment(String),
    Flag(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Default => f.write_str("default"),
            Place::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Place::Environment(name) => write!(f, "environment {name}"),
            Place::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub at: Place,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What was written outside of the file.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub file: Option<PathBuf>,
    /// The process's environment; only names that begin with SABIR_ count.
    pub environment: Vec<(String, String)>,
    /// (flag as typed, key, value).
    pub flags: Vec<(String, String, String)>,
    /// NAME=ADDR of every `--listen`.
    pub listen: Vec<String>,
    /// NAME=HOST:PORT of every `--advertise`.
    pub advertise: Vec<String>,
    /// NAME of every `--insecure`.
    pub insecure: Vec<String>,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Value,
    pub at: Place,
}

/// All values in effect, by path.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub entries: BTreeMap<String, Entry>,
    /// Names of the environment that look like settings and are none.
    pub ignored: Vec<String>,
}

/// Names of the environment that are no settings but are used.
const OTHER_NAMES: &[&str] = &["SABIR_CONFIG", "SABIR_SERVER", "SABIR_USER", "SABIR_PASSWORD"];
/// What the environment calls the flags of listeners; several values stand between commas.
const LISTEN: &str = "SABIR_LISTEN";
const ADVERTISE: &str = "SABIR_ADVERTISE";
const INSECURE: &str = "SABIR_INSECURE";

impl Config {
    /// Reads everything and says everything that is wrong.
    pub fn load(inputs: &Inputs) -> Result<Config, Problems> {
        let text = match &inputs.file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                let at = Place::Flag("--config".to_owned());
                let message = format!("cannot read {}: {error}", path.display());
                Problems(vec![Problem { at, message }])
            })?),
            None => None,
        };
        let name = inputs.file.as_ref().map(|path| path.display().to_string());
        Config::from_text(name.as_deref().unwrap_or(""), text.as_deref(), inputs)
    }

    /// As `load`, with the file's text given.
    pub fn from_text(name: &str, text: Option<&str>, inputs: &Inputs) -> Result<Config, Problems> {
        let mut loader = Loader::default();
        loader.defaults();
        if let Some(text) = text {
            loader.file(name, text);
        }
        loader.environment(&inputs.environment);
        for (flag, key, value) in &inputs.flags {
            loader.plain(key, value, &Place::Flag(flag.clone()));
        }
        let flag = |name: &str| Place::Flag(name.to_owned());
        loader.listen(&inputs.listen, &flag("--listen"));
        loader.advertise(&inputs.advertise, &flag("--advertise"));
        loader.insecure(&inputs.insecure, &flag("--insecure"));
        if loader.problems.is_empty() {
            settings::relations(&loader.config, &mut loader.problems);
        }
        match loader.problems.is_empty() {
            true => Ok(loader.config),
            false => Err(Problems(loader.problems)),
        }
    }

    pub fn get(&self, path: &str) -> Option<&Value> {
        self.entries.get(path).map(|entry| &entry.value)
    }

    pub fn at(&self, path: &str) -> Place {
        self.entries.get(path).map_or(Place::Default, |entry| entry.at.clone())
    }

    /// Names of the listeners, with and without their own entry in the file.
    pub fn listener_names(&self) -> Vec<String> {
        let names = self.entries.keys().filter_map(|path| {
            path.strip_prefix("listeners.")?.split_once('.').map(|(name, _)| name.to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.dedup();
        names
    }
}

#[derive(Default)]
struct Loader {
    config: Config,
    problems: Vec<Problem>,
}

impl Loader {
    fn put(&mut self, path: &str, value: Value, at: &Place) {
        self.config.entries.insert(path.to_owned(), Entry { value, at: at.clone() });
    }

    fn wrong(&mut self, at: &Place, message: String) {
        self.problems.push(Problem { at: at.clone(), message });
    }

    fn defaults(&mut self) {
        let text = document::defaults();
        let items = file::read("defaults", &text).expect("the generated document is TOML");
        for item in items {
            let path = item.path.join(".");
            let kind = self.kind(&item.path).expect("the generated document has known keys");
            let raw = item.raw.expect("the generated document has no empty tables");
            let value = kind.check(&raw).expect("a default is what its setting may be");
            self.put(&path, value, &Place::Default);
        }
    }

    fn file(&mut self, name: &str, text: &str) {
        let items = match file::read(name, text) {
            Ok(items) => items,
            Err(problem) => return self.problems.push(problem),
        };
        for item in items {
            let path = item.path.join(".");
            match (self.kind(&item.path), &item.raw) {
                (Some(kind), Some(raw)) => match kind.check(raw) {
                    Ok(value) => self.put(&path, value, &item.value_at),
                    Err(message) => self.wrong(&item.value_at, format!("{path}: {message}")),
                },
                (_, None) if is_table(&item.path) => {}
                _ => self.wrong(&item.name_at, nearest::unknown(&path)),
            }
        }
    }

    fn kind(&self, path: &[String]) -> Option<Kind> {
        match path {
            [listeners, _, name] if listeners == "listeners" => {
                keys::find_in_listener(name).map(|key| key.kind)
            }
            _ => keys::find(&path.join(".")).map(|key| key.kind),
        }
    }

    fn environment(&mut self, environment: &[(String, String)]) {
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("SABIR_")) {
            let at = Place::Environment(name.clone());
            let many = || value.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
            let known = |key: &&Key| keys::environment_name(key.path) == *name;
            if let Some(key) = keys::KEYS.iter().find(known) {
                self.plain(key.path, value, &at);
            } else if name == LISTEN {
                self.listen(&many(), &at);
            } else if name == ADVERTISE {
                self.advertise(&many(), &at);
            } else if name == INSECURE {
                self.insecure(&many(), &at);
            } else if !OTHER_NAMES.contains(&name.as_str()) {
                // Not refused: a container platform sets names like SABIR_PORT for a service
                // that is called sabir.
                self.config.ignored.push(name.clone());
            }
        }
    }

    fn plain(&mut self, path: &str, text: &str, at: &Place) {
        let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        match self.kind(&parts).map(|kind| kind.check(&Raw::Plain(text.to_owned()))) {
            Some(Ok(value)) => self.put(path, value, at),
            Some(Err(message)) => self.wrong(at, format!("{path}: {message}")),
            None => self.wrong(at, nearest::unknown(path)),
        }
    }

    /// Where any listener is named, only the named start.
    fn listen(&mut self, listen: &[String], at: &Place) {
        if listen.is_empty() {
            return;
        }
        for name in self.config.listener_names() {
            self.put(&listener_path(&name, "enabled"), Value::Switch(false), at);
        }
        let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in listen {
            match self.pair(entry, "NAME=ADDRESS", at) {
                Some((name, address)) => addresses.entry(name).or_default().push(address),
                None => continue,
            }
        }
        for (name, list) in addresses {
            self.put(&listener_path(&name, "addresses"), Value::List(list), at);
            self.put(&listener_path(&name, "enabled"), Value::Switch(true), at);
        }
    }

    fn advertise(&mut self, advertise: &[String], at: &Place) {
        for entry in advertise {
            if let Some((name, address)) = self.pair(entry, "NAME=HOST:PORT", at) {
                self.put(&listener_path(&name, "advertise"), Value::Text(address), at);
            }
        }
    }

    fn insecure(&mut self, insecure: &[String], at: &Place) {
        for name in insecure {
            self.put(&listener_path(name, "insecure"), Value::Switch(true), at);
        }
    }

    fn pair(&mut self, entry: &str, form: &str, at: &Place) -> Option<(String, String)> {
        let split = entry.split_once('=').filter(|(name, _)| settings::is_listener_name(name));
        if split.is_none() {
            self.wrong(at, format!("expected {form}, found {entry:?}"));
        }
        split.map(|(name, rest)| (name.to_owned(), rest.to_owned()))
    }
}

fn listener_path(name: &str, key: &str) -> String {
    format!("listeners.{name}.{key}")
}

/// True for a table that may stand empty in a file.
fn is_table(path: &[String]) -> bool {
    match path {
        [listeners, _] if listeners == "listeners" => true,
        [one] => {
            one == "listeners"
                || keys::KEYS.iter().any(|key| key.path.starts_with(&format!("{one}.")))
        }
        _ => false,
    }
}

/// A setting whose value is another than before.
pub struct Change {
    pub path: String,
    pub reload: bool,
}

/// What is different between two configurations.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let paths: std::collections::BTreeSet<&String> =
        old.entries.keys().chain(new.entries.keys()).collect();
    paths
        .into_iter()
        .filter(|path| old.get(path) != new.get(path))
        .map(|path| Change {
            path: path.clone(),
            reload: keys::find(path).is_some_and(|key| key.reload),
        })
        .collect()
}
