//! Log lines on standard error: for people on a terminal, JSON elsewhere or when asked.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::settings::LogFormat;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics of all threads since the start.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Changes the level of a running log.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    pub fn set(&self, level: Level) {
        // Fails only once the subscriber is gone, and with it the log.
        let _ = self.0.reload(LevelFilter::from_level(level));
    }
}

/// Starts logging. Also sends panics there, each once and with its place.
pub fn start(format: LogFormat, level: Level) -> LogLevel {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !terminal,
    };
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let lines: Box<dyn Layer<_> + Send + Sync> = match json {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.boxed(),
    };
    // A second start can only happen in tests; the first one stays.
    let _ = Registry::default().with(filter).with(lines).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        PANICS.fetch_add(1, Ordering::Relaxed);
        tracing::error!(place, message, "panic");
    }));
    LogLevel(handle)
}
